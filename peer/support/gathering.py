"""What helps to find out what is wrong on a volunteer's machine; nothing is sent anywhere."""

from __future__ import annotations

import getpass
import json
import math
import os
import platform
import pwd
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peer.config import PeerConfig, known_keys
from peer.control import ask_status
from peer.hardware import this_machine
from peer.journal import newest
from peer.known_runs import known_runs
from peer.local_runs import run_folders
from peer.log_reading import parts
from peer.runtime import running
from peer.service.installing import Manager
from peer.service.looking import look
from peer.status_text import facts, values_of
from peer.support.hiding import Known
from swarmpb.endpoints import LinkError, parse_endpoint
from swarmpb.exits import UserError
from swarmpb.version import PROTOCOL_VERSION, SOFTWARE_VERSION

_PACKAGES = ("torch", "hivemind", "grpcio", "protobuf", "numpy", "cryptography", "psutil", "click")
_SECRET_FILES = ("identity.key", "certificate.bin", "link")
_MAX_SECRET = 65_536
_ROUNDS = 50
"""Of the journal, the newest."""
_LOOPBACK = ("localhost",)


@dataclass(frozen=True)
class Piece:
    """One file of a bundle: JSON values, or the text of a log."""

    name: str
    content: Any


def gather(config: PeerConfig, settings: Any, now: float) -> Iterator[Piece]:
    """Everything that goes into a bundle, with nothing hidden yet.

    settings: as `peer config get --json` shows them; now: unix seconds.
    """
    state = config.state_dir
    yield Piece("versions.json", _versions())
    yield Piece("settings.json", settings)
    yield Piece(
        "hardware.json",
        _tried(lambda: values_of(this_machine())),
    )
    yield Piece("runs.json", _tried(lambda: [it.facts() for it in known_runs(state, now)]))
    yield Piece("services.json", _tried(lambda: look(Manager(system=False))))
    yield Piece("checks.json", _tried(lambda: list(_checks(state))))
    for folder in run_folders(state):
        if running(folder) is not None:
            yield Piece(f"{folder.name}/status.json", _tried(partial(_status, folder)))
        yield Piece(f"{folder.name}/journal.json", _tried(partial(_journal, folder)))
        yield Piece(f"{folder.name}/files.json", _tried(partial(_files, folder)))
        for path in parts(folder):
            yield Piece(f"{folder.name}/{path.name}", _text(path))


def known_here(config: PeerConfig) -> Known:
    """By what this machine, its user and its coordinators could be told; all secrets it has."""
    folders = run_folders(config.state_dir)
    machines = {socket.gethostname(), socket.gethostname().partition(".")[0], platform.node()}
    machines |= set(_hosts(config, folders)) - set(_LOOPBACK)
    return Known(
        homes=tuple({str(Path.home()), str(Path.home().resolve())}),
        users=tuple(_users()),
        machines=tuple(it for it in machines if it),
        secrets=tuple(_secrets(folders)),
        plain=frozenset(it.name for it in folders) | _modules() | frozenset(known_keys()),
    )


# ---- what is gathered ------------------------------------------------------------------


def _tried(look_at: Callable[[], Any]) -> Any:
    """What was found, or why nothing was: a bundle is made where something is wrong."""
    try:
        return look_at()
    except (UserError, OSError, ValueError) as error:
        return {"not to be had": f"{type(error).__name__}: {error}"}


def _versions() -> dict[str, Any]:
    found = {"murmuration": SOFTWARE_VERSION, "protocol": PROTOCOL_VERSION}
    found |= {"python": platform.python_version(), "system": platform.system()}
    found |= {"release": platform.release(), "processor": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _status(folder: Path) -> dict[str, Any]:
    found = facts(ask_status(folder))
    found["digest"] = str(found.get("digest", ""))[:12]
    return {name: _rounded(value) for name, value in found.items()}


def _journal(folder: Path) -> dict[str, Any]:
    """How the last rounds ended."""
    count, rows = newest(folder / "journal.sqlite", _ROUNDS)
    told = []
    for row in rows:
        values = values_of(row)
        values.pop("digest", None)
        told.append({name: _rounded(value) for name, value in values.items()})
    return {"rows": count, "newest": told}


def _files(folder: Path) -> list[dict[str, Any]]:
    """Names, sizes and modes of what is in a run's folder and the folders in it."""
    found = [(path, path.lstat()) for path in sorted([*folder.glob("*"), *folder.glob("*/*")])]
    return [
        {
            "name": str(path.relative_to(folder)),
            "mode": stat.filemode(at.st_mode),
            "bytes": at.st_size,
            "changed": int(at.st_mtime),
        }
        for path, at in found
    ]


def _checks(state: Path) -> Iterator[dict[str, Any]]:
    """What can be told without asking anybody."""
    usage = shutil.disk_usage(_existing(state))
    yield {"check": "disk", "free_bytes": usage.free, "ok": usage.free > 1e9}
    yield {"check": "state folder is ours", "ok": _existing(state).stat().st_uid == os.getuid()}
    for folder in run_folders(state):
        for name in _SECRET_FILES:
            path = folder / name
            if path.exists():
                mode = stat.S_IMODE(path.stat().st_mode)
                yield {"check": f"{folder.name}/{name} is private", "ok": mode == 0o600}
        holder = running(folder)
        if holder is not None:
            mode = stat.S_IMODE((holder[1] / "control.sock").stat().st_mode)
            yield {"check": f"control socket of {folder.name} is private", "ok": mode == 0o600}


def _existing(path: Path) -> Path:
    return next(it for it in (path, *path.parents) if it.exists())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"


def _rounded(value: Any) -> Any:
    """A number with so many digits looks like a key."""
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value


# ---- what is hidden --------------------------------------------------------------------


def _users() -> Iterator[str]:
    names = []
    with suppress(KeyError, OSError):  # a container's user may have none
        entry = pwd.getpwuid(os.getuid())
        names += [entry.pw_name, entry.pw_gecos.partition(",")[0]]
    with suppress(KeyError, OSError):
        names.append(getpass.getuser())
    yield from filter(None, names)


def _hosts(config: PeerConfig, folders: list[Path]) -> Iterator[str]:
    """Names and addresses of coordinators and of the peers by which runs are joined."""
    yield parse_endpoint(config.coordinator).host
    for folder in folders:
        with suppress(UserError, LinkError):  # no peer runs there
            yield parse_endpoint(ask_status(folder).coordinator).host
        with suppress(OSError, ValueError, LookupError, TypeError):  # never joined, or damaged
            kept = json.loads((folder / "run.json").read_bytes())
            for address in kept["initial_peers"]:
                yield str(address).split("/")[2]


def _secrets(folders: list[Path]) -> Iterator[str]:
    """What is in this machine's private files, in the ways in which it could be written down."""
    for folder in folders:
        for name in _SECRET_FILES:
            try:
                with (folder / name).open("rb") as file:
                    data = file.read(_MAX_SECRET).strip()
            except OSError:
                continue  # there is none
            yield data.hex()
            if data.isascii():
                text = data.decode()
                yield text
                yield text.rpartition("/invite=")[2]


def _modules() -> frozenset[str]:
    """Names of this program's own modules, as they stand in logs."""
    root = Path(sys.modules["peer"].__path__[0])
    paths = (it.relative_to(root.parent).with_suffix("") for it in root.rglob("*.py"))
    return frozenset(".".join(it.parts) for it in paths)
