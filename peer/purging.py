"""Everything of ours on this machine, and its removal: nothing else, and no link is followed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from peer.config import APPLICATION
from peer.doctor.leftovers import folders_of_killed
from peer.limits.usage import NAME as USAGE
from peer.local_runs import RUN_NAME, disk_bytes, has_marks, is_run_folder, run_folder
from peer.runtime import RuntimeFolder, open_to_us
from swarmpb.exits import Exit, UserError
from swarmpb.files import UNFINISHED

_PRIVATE = re.compile(r"murmuration-[0-9a-f]{8}")
"""As `peer.runtime` names private folders."""
_YOUNG_SECONDS = 60.0
"""A process that starts has a private folder before there is a socket in it."""


@dataclass(frozen=True)
class Item:
    """A file, a folder or a link to remove."""

    path: Path
    what: str
    bytes: int


def items_of_run(state_dir: Path, run_id: str) -> list[Item]:
    """What there is of one run."""
    folder = run_folder(state_dir, run_id)
    if folder.is_symlink() and has_marks(folder):
        return [Item(folder, f"a link; what it leads to stays: {folder.readlink()}", 0)]
    return [Item(folder, f"run {run_id}", disk_bytes(folder))] if is_run_folder(folder) else []


def run_ids(state_dir: Path) -> list[str]:
    """All runs of a state folder, those whose folder is elsewhere behind a link, too."""
    with open_to_us():
        entries = sorted((state_dir / "runs").glob("*"))
    return [it.name for it in entries if RUN_NAME.fullmatch(it.name) and has_marks(it)]


def items_of_all(state_dir: Path, settings: Path, now: float) -> list[Item]:
    """All that peers have put on this machine, but for services; now: unix seconds."""
    found = []
    for run_id in run_ids(state_dir):
        found += items_of_run(state_dir, run_id)
    for suffix in ("", "-wal", "-shm", "-journal"):
        path = state_dir / f"{USAGE}{suffix}"
        if os.path.lexists(path):
            found.append(Item(path, "data and energy used", disk_bytes(path)))
    for path in (settings, settings.with_name(settings.name + UNFINISHED)):
        if os.path.lexists(path):
            found.append(Item(path, "settings", disk_bytes(path)))
    temporary = Path(tempfile.gettempdir())
    for path in (*stale_folders(temporary, now), *folders_of_killed(temporary)):
        found.append(Item(path, "left by a process that was killed", disk_bytes(path)))
    return found


def stale_folders(temporary: Path, now: float) -> Iterator[Path]:
    """Private folders of this user's that no process uses any more; now: unix seconds."""
    for path in sorted(temporary.glob("murmuration-*")):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if ours and _PRIVATE.fullmatch(path.name) and not _in_use(path, now - found.st_mtime):
            yield path


def stays(state_dir: Path, settings: Path) -> list[str]:
    """What is not removed, in lines for a person."""
    lines = [
        "the run's coordinator and the other peers keep what was merged, and the receipts of it",
        "models that you exported stay where you put them",
        "the program itself: pip uninstall murmuration",
    ]
    coordinator = state_dir / "coordinator"
    if coordinator.is_dir():
        lines.append(f"this machine's coordinator, with its keys and runs: {coordinator}")
    owner = settings.with_name("owner.key")
    if owner.exists():
        lines.append(f"the key with which you own runs: {owner}")
    demos = user_cache_path(APPLICATION)
    if demos.is_dir():
        lines.append(f"what `coordinator demo` left, if anything: {demos}")
    return lines


def remove(items: Sequence[Item], state_dir: Path, claimed: Sequence[str]) -> None:
    """Remove these while no peer of the `claimed` runs can start, then folders that are empty.

    Raises `UserError` ALREADY_RUNNING before anything is touched, and STATE_FOLDER if something
    cannot be removed.
    """
    with ExitStack() as claims:
        for run_id in claimed:
            claim = RuntimeFolder.claim(run_folder(state_dir, run_id), f"a peer of run {run_id}")
            claims.callback(claim.close)
        for item in items:
            _remove(item.path)
    for folder in (state_dir / "runs", state_dir, *{it.path.parent for it in items}):
        _remove_if_ours_and_empty(folder)


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path)  # which does not follow links, whoever puts them there meanwhile
    except OSError as error:
        raise UserError(
            Exit.STATE_FOLDER, f"cannot remove {error.filename or path}: {error.strerror}"
        ) from error


def _remove_if_ours_and_empty(folder: Path) -> None:
    if folder.name not in (APPLICATION, "runs") or folder.is_symlink() or not folder.is_dir():
        return
    if not any(folder.iterdir()):
        folder.rmdir()


def _in_use(folder: Path, age: float) -> bool:
    sockets = [it for it in folder.glob("*.sock") if stat.S_ISSOCK(it.lstat().st_mode)]
    return any(map(_answers, sockets)) if sockets else age < _YOUNG_SECONDS


def _answers(path: Path) -> bool:
    """Whether a process listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # busy, or not ours to ask: rather leave it
    return True
