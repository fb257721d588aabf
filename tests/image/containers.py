"""Containers as an engine makes them, by runc, which Docker and Kubernetes run, too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.processes import Lines
from tests.image.image import Image, run

SECCOMP = Path("/usr/share/containers/seccomp.json")
"""The profile that engines apply unless they are told otherwise, of Debian's package."""
_DEVICES = ("noexec", "nosuid", "nodev")
_ALWAYS: list[tuple[str, str, list[str]]] = [
    ("/proc", "proc", []),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", [*_DEVICES, "mode=1777", "size=65536k"]),  # noqa: S108  in the container
    ("/dev/mqueue", "mqueue", list(_DEVICES)),
    ("/sys", "sysfs", [*_DEVICES, "ro"]),
]


@dataclass(frozen=True)
class Wanted:
    """What a container is asked to be, besides what its image says."""

    command: Sequence[str]
    network: str
    """The name of a network namespace."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Addresses by name."""
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[tuple[Path, str, bool]] = ()
    """Folders here, where they appear, and whether they may be written."""
    temporary: Mapping[str, str] = field(default_factory=dict)
    """File systems in memory: their options by place."""
    memory: int | None = None
    """Bytes."""


class Container:
    """A running one: read-only, without a capability, under the engines' seccomp profile."""

    def __init__(self, folder: Path, name: str, image: Image, wanted: Wanted) -> None:
        """folder: of all containers; the name is its host's, too."""
        self.name = name
        self._id = f"{folder.name}-{name}"
        self._command = ("runc", "--root", str(folder / "runc"))
        self._image = image
        bundle = folder / "bundles" / name
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir(parents=True)
        hosts = {"localhost": "127.0.0.1", **wanted.hosts}
        (bundle / "hosts").write_text("".join(f"{ip} {it}\n" for it, ip in hosts.items()))
        (bundle / "config.json").write_text(json.dumps(_config(image, wanted, name, bundle)))
        self.process = subprocess.Popen(
            [*self._command, "run", "--bundle", str(bundle), self._id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def told(self) -> str:
        """Its last words, for a failed test."""
        return "\n".join([f"--- {self.name}", *self.out.all()[-15:], *self.err.all()[-15:]])

    def inside(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """What a command in it says, as its own user; `given` is what it reads."""
        return subprocess.run(
            [*self._command, "exec", self._id, *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def output(self, *command: str, given: str = "") -> str:
        """The same, of a command that must succeed."""
        done = self.inside(*command, given=given)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.told()}"
        return done.stdout

    def is_healthy(self) -> bool:
        """By the image's own check."""
        kind, *command = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.inside(*command).returncode == 0

    def stop(self, seconds: float) -> int:
        """Send its process 1 the image's signal to stop; the exit code, if it ends in time."""
        number = signal.Signals[self._image.config["StopSignal"]]
        run(*self._command, "kill", self._id, str(int(number)))
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"lives after {seconds:.0f} s\n{self.told()}") from None

    def remove(self) -> None:
        """Whatever it does, it is gone."""
        if self.process.poll() is None:
            subprocess.run(
                [*self._command, "delete", "--force", self._id], capture_output=True, check=False
            )
        self.process.wait(10)
        self.out.to_the_end()
        self.err.to_the_end()


def volume(folder: Path, image: Image, mounted_at: str) -> Path:
    """A new one: like the image's folder at that place, as engines make it."""
    folder.mkdir(parents=True)
    like = (image.files / mounted_at.lstrip("/")).stat()
    os.chown(folder, like.st_uid, like.st_gid)
    folder.chmod(like.st_mode & 0o7777)
    return folder


def _config(image: Image, wanted: Wanted, name: str, bundle: Path) -> dict[str, Any]:
    user, _, group = image.config["User"].partition(":")
    environment = [*image.config["Env"], *(f"{key}={it}" for key, it in wanted.environment.items())]
    mounts = [_mount(place, kind, options) for place, kind, options in _ALWAYS]
    mounts.append(_mount("/etc/hosts", "bind", ["bind", "ro"], bundle / "hosts"))
    for place, told in wanted.temporary.items():
        mounts.append(_mount(place, "tmpfs", [*_DEVICES, *told.split(",")]))
    for source, place, writable in wanted.volumes:
        mounts.append(_mount(place, "bind", ["bind", "rw" if writable else "ro"], source))
    kinds = ("pid", "ipc", "uts", "mount")
    network = {"type": "network", "path": f"/run/netns/{wanted.network}"}
    limits = {"pids": {"limit": 512}}
    if wanted.memory is not None:
        limits["memory"] = {"limit": wanted.memory}
    return {
        "ociVersion": "1.0.2",
        "hostname": name,
        "process": {
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*image.config["Entrypoint"], *wanted.command],
            "env": environment,
            "cwd": image.config["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(image.files), "readonly": True},
        "mounts": mounts,
        "linux": {
            "namespaces": [*({"type": kind} for kind in kinds), network],
            "seccomp": _seccomp(),
            "resources": limits,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }


def _mount(place: str, kind: str, options: list[str], source: Path | None = None) -> dict[str, Any]:
    told = str(source) if source is not None else kind
    return {"destination": place, "type": kind, "source": told, "options": options}


def _seccomp() -> dict[str, Any]:
    """The profile, as an engine resolves it for a process without capabilities on this machine."""
    profile = json.loads(SECCOMP.read_text(encoding="utf-8"))
    rules = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        arches = includes.get("arches", ["amd64"])
        if "caps" in includes or "amd64" not in arches or "amd64" in excludes.get("arches", []):
            continue
        kept = {key: rule[key] for key in ("names", "action", "args") if rule.get(key)}
        if rule.get("errnoRet"):
            kept["errnoRet"] = rule["errnoRet"]
        rules.append(kept)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }


class Network:
    """Machines that reach each other and nobody else: network namespaces on a bridge."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._hosts: dict[str, str] = {}

    def host(self, name: str) -> str:
        """The namespace of a machine, made when it is first asked for."""
        if name not in self._hosts:
            number = len(self._hosts) + 1
            self._hosts[name] = address = f"10.77.0.{number}"
            here, lan = self._namespace(name), self._namespace("lan")
            run("ip", "netns", "add", here)
            run(
                *("ip", "-n", lan, "link", "add", f"port{number}", "type", "veth"),
                *("peer", "name", "eth0", "netns", here),
            )
            run("ip", "-n", lan, "link", "set", f"port{number}", "master", "bridge", "up")
            run("ip", "-n", here, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", here, "link", "set", device, "up")
        return self._namespace(name)

    @property
    def hosts(self) -> dict[str, str]:
        """Addresses by name."""
        return dict(self._hosts)

    def _namespace(self, name: str) -> str:
        return f"{self._name}-{name}"

    def begin(self) -> None:
        lan = self._namespace("lan")
        run("ip", "netns", "add", lan)
        run("ip", "-n", lan, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", lan, "link", "set", "bridge", "up")

    def end(self) -> None:
        """Remove all of it."""
        for name in ("lan", *self._hosts):
            delete = ("ip", "netns", "delete", self._namespace(name))
            subprocess.run(delete, capture_output=True, check=False)


@contextmanager
def network(name: str) -> Iterator[Network]:
    it = Network(name)
    try:
        it.begin()
        yield it
    finally:
        it.end()
