"""`deploy/Dockerfile` built by buildah, without an engine, on a Debian made by debootstrap."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
BASE, NAME = "localhost/murmuration-base", "localhost/murmuration"


PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
"""Where tools are: first those of Python packages, whose environment need not be active."""


def run(*command: str | Path, seconds: float = 60.0) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Buildah:
    """With images and containers in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._command = ("buildah", "--root", str(folder / "store"), "--runroot", str(folder / "r"))

    def __call__(self, *arguments: str | Path, seconds: float = 60.0) -> str:
        return run(*self._command, *arguments, seconds=seconds).strip()


@dataclass(frozen=True)
class Image:
    """A built image, mounted."""

    config: dict[str, Any]
    """Docker's, as `inspect` shows it."""
    history: list[dict[str, Any]]
    size: int
    """Bytes, unpacked."""
    base_size: int
    files: Path
    """What a container sees as its root."""


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    """Build the image for processors in `folder`, and remove all of it afterwards."""
    buildah = Buildah(folder)
    try:
        _debian(buildah, folder / "base")
        _build(buildah, folder)
        container = buildah("from", "--pull-never", NAME)
        inspected = json.loads(buildah("inspect", "--type", "image", NAME))
        sizes = json.loads(buildah("images", "--json"))
        base, image = (_bytes(next(it for it in sizes if _is(it, name))) for name in (BASE, NAME))
        yield Image(
            config=inspected["Docker"]["config"],
            history=inspected["Docker"]["history"],
            size=image,
            base_size=base,
            files=Path(buildah("mount", container)),
        )
    finally:
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")
        run("rm", "--recursive", "--force", folder, seconds=300)


def _debian(buildah: Buildah, folder: Path) -> None:
    """What is published as debian:bookworm-slim, nearly: the same packages."""
    run("debootstrap", "--variant=minbase", SUITE, folder, MIRROR, seconds=900)
    for leftover in ("var/cache/apt", "var/lib/apt/lists"):
        run("find", folder / leftover, "-type", "f", "-delete")
    container = buildah("from", "scratch")
    buildah("add", container, folder, "/", seconds=300)
    buildah("commit", "--rm", container, BASE, seconds=300)


def _build(buildah: Buildah, folder: Path) -> None:
    """With this machine's pip settings and wheels mounted, so that they get into no layer."""
    settings = _pip_settings()
    volumes = []
    if "cert" in settings:  # under another name: that one is Debian's to write
        volumes.append(f"{settings['cert']}:/run/ca.crt:ro")
        settings["cert"] = "/run/ca.crt"
    mounts = [Path(word.removeprefix("file://")) for it in settings.values() for word in it.split()]
    mounts = [it.parent if it.name == "simple" else it for it in mounts if it.is_dir()]
    conf = folder / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{key} = {it}\n" for key, it in settings.items()))
    volumes += [f"{conf}:/etc/pip.conf:ro", *(f"{it}:{it}:ro" for it in mounts)]
    buildah(
        *("build", "--isolation", "chroot", "--format", "docker", "--layers=false"),
        *("--pull-never", "--file", ROOT / "deploy/Dockerfile", "--tag", NAME),
        *("--build-arg", f"BASE={BASE}"),
        # PyTorch's own index is not reached from here; pip prefers the wheel that is mounted
        *("--build-arg", "TORCH_INDEX=https://pypi.org/simple"),
        *(it for volume in volumes for it in ("--volume", volume)),
        ROOT,
        seconds=1500,
    )


def _pip_settings() -> dict[str, str]:
    """Those of this machine; the environment's go before the files'."""
    found: dict[str, str] = {}
    for line in sorted(run(sys.executable, "-m", "pip", "config", "list").splitlines()):
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("find-links", "extra-index-url", "index-url", "cert"):
            found.setdefault(name, value.strip("'\""))
    return found


def _is(listed: dict[str, Any], name: str) -> bool:
    return f"{name}:latest" in (listed.get("names") or [])


def _bytes(listed: dict[str, Any]) -> int:
    """buildah says it rounded, "1.24 GB"."""
    number, unit = str(listed["size"]).split()
    return int(float(number) * {"MB": 10**6, "GB": 10**9}[unit])
