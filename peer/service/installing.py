"""Putting a peer into the hands of the machine's service manager, and taking it out again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peer.service import launchd, systemd
from peer.service.description import MARK, SYSTEM_CONFIG, Service
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private, write_whole

SYSTEMD_RUNS = Path("/run/systemd/system")
"""There while systemd is the machine's first process."""
SYSTEM_UNITS = Path("/etc/systemd/system")
SYSTEM_DAEMONS = Path("/Library/LaunchDaemons")
LINGERING = Path("/var/lib/systemd/linger")
HOMES = (Path("/home"), Path("/root"), Path("/Users"))
_SECONDS = 60.0
"""For one command of the service manager; `enable --now` waits until a peer has begun."""


@dataclass(frozen=True)
class Manager:
    """systemd or launchd, of this user or of the system."""

    system: bool
    apple: bool = field(default_factory=lambda: sys.platform == "darwin")

    @property
    def folder(self) -> Path:
        """Where its files are."""
        if self.apple:
            return SYSTEM_DAEMONS if self.system else Path.home() / "Library" / "LaunchAgents"
        if self.system:
            return SYSTEM_UNITS
        config = os.getenv("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "systemd" / "user"

    def path(self, run_id: str) -> Path:
        """The file of a run's service."""
        name = f"{launchd.label(run_id)}.plist" if self.apple else systemd.unit_name(run_id)
        return self.folder / name

    def content(self, service: Service) -> bytes:
        """Of its file; `UserError` SERVICE if a path cannot stand in it."""
        try:
            return launchd.agent(service) if self.apple else systemd.unit(service).encode()
        except ValueError as error:
            raise UserError(Exit.SERVICE, f"{error}: choose another path") from error

    def installed(self) -> dict[str, Path]:
        """The files that we wrote, by run."""
        before, after = str(self.path("*").name).split("*")
        found = {}
        for path in sorted(self.folder.glob(f"{before}*{after}")):
            if is_ours(path):
                found[path.name.removeprefix(before).removesuffix(after)] = path
        return found

    # ---- what is said to it -----------------------------------------------------------

    def to_start(self, run_id: str) -> list[list[str]]:
        """Commands that have it start a service now and from now on."""
        path = self.path(run_id)
        if self.apple:
            return [["launchctl", "bootstrap", self._domain, str(path)]]
        return [self.systemctl("daemon-reload"), self.systemctl("enable", "--now", path.name)]

    def to_stop(self, run_id: str) -> list[list[str]]:
        """Commands that have it stop a service and forget it, while its file is there."""
        path = self.path(run_id)
        if self.apple:
            return [["launchctl", "bootout", f"{self._domain}/{launchd.label(run_id)}"]]
        return [self.systemctl("disable", "--now", path.name)]

    def to_forget(self) -> list[list[str]]:
        """Commands for when files are gone."""
        return [] if self.apple else [self.systemctl("daemon-reload")]

    def systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *([] if self.system else ["--user"]), *words]

    @property
    def _domain(self) -> str:
        return "system" if self.system else f"gui/{os.getuid()}"

    def runs(self) -> bool:
        """Whether it can be asked for anything here."""
        if self.apple:
            return True
        if not SYSTEMD_RUNS.is_dir():
            return False
        return self.system or answer(self.systemctl("show-environment")) is not None


def program() -> tuple[str, ...]:
    """How `peer` of this installation is started."""
    script = Path(sys.executable).with_name("peer")
    if script.is_file() and os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-m", "peer")


def is_ours(path: Path) -> bool:
    """Whether `install` wrote this file."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(1000)
    except OSError:
        return False


def write(service: Service, manager: Manager) -> list[Path]:
    """Write the service's file, and a link with a secret for its eyes only; which files.

    `UserError` SERVICE if that fails, or somebody else's file is in the way.
    """
    path = manager.path(service.run_id)
    if path.exists() and not is_ours(path):
        raise UserError(Exit.SERVICE, f"{path} is not of `peer service install`: move it away")
    if service.system:
        for word in (service.program[0], sys.prefix, sys.executable):
            require_reach(Path(word))
    written = [path]
    try:
        if service.secret is not None:
            write_private(service.secret, str(service.link).encode())
            written.append(service.secret)
        if service.system and not service.config.exists():
            write_whole(service.config, lambda file: file.write(_SETTINGS))
            service.config.chmod(0o644)  # the service's own user reads it
            written.append(service.config)
        if not service.system:
            folder = service.state_dir / "runs" / service.run_id
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(manager.content(service)))
        path.chmod(0o644)
    except OSError as error:
        raise _cannot("write", error, manager) from error
    return written


_SETTINGS = (
    b"# Settings of the peers that are services of this system; `peer config get` names all.\n"
)


def remove(run_id: str, manager: Manager, secrets: Sequence[Path]) -> list[Path]:
    """Remove what `write` wrote for a run, and systemd's link to it; what was there.

    `UserError` SERVICE if that fails.
    """
    path = manager.path(run_id)
    link = path.parent / f"{'multi-user' if manager.system else 'default'}.target.wants" / path.name
    doomed = [path, *secrets, *([] if manager.apple else [link])]
    if manager.system and len(manager.installed()) <= 1 and _untouched(SYSTEM_CONFIG / "peer.toml"):
        doomed.append(SYSTEM_CONFIG / "peer.toml")
    removed = []
    try:
        for it in doomed:
            if os.path.lexists(it):
                it.unlink()
                removed.append(it)
        _remove_if_empty(link.parent, *(it.parent for it in secrets))
    except OSError as error:
        raise _cannot("remove", error, manager) from error
    return removed


def ask(commands: Sequence[Sequence[str]]) -> None:
    """Have the service manager do it; `UserError` SERVICE with its words if it does not."""
    for command in commands:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(Exit.SERVICE, f"`{shlex.join(command)}` failed: {error}") from error
        if done.returncode:
            words = " ".join((done.stderr or done.stdout).split())[:300]
            raise UserError(Exit.SERVICE, f"`{shlex.join(command)}` failed: {words}")


def answer(command: Sequence[str]) -> str | None:
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def lingers(user: str) -> bool:
    """Whether the user's services run while they are not logged in."""
    return (LINGERING / user).exists()


def require_reach(path: Path) -> None:
    """A service of the system has a user of its own: `UserError` SERVICE if it cannot run this."""
    advice = "install Murmuration under /opt, or leave --system away"
    for it in (path.resolve(), *path.resolve().parents, *path.absolute().parents):
        if it in HOMES:
            raise UserError(
                Exit.SERVICE,
                f"{path} is in somebody's home, which a service of the system does not see; "
                f"{advice}",
            )
        if it.exists() and not it.stat().st_mode & 0o001:
            raise UserError(
                Exit.SERVICE,
                f"{path} cannot be reached by a service of the system, which has a user of its "
                f"own: {it} is closed to others; {advice}",
            )


def _untouched(path: Path) -> bool:
    try:
        return path.read_bytes() == _SETTINGS
    except OSError:
        return False


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()


def _cannot(do: str, error: OSError, manager: Manager) -> UserError:
    hint = "; run it with sudo" if manager.system and isinstance(error, PermissionError) else ""
    return UserError(Exit.SERVICE, f"cannot {do} {error.filename}: {error.strerror}{hint}")
