"""The runs that this machine knows: which folders they have, and what is in them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peer.runtime import open_to_us, running

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # as in `swarmpb.spec`
_MARKS = ("lock", "identity.key", "run.json")
"""A folder of a run has one of them: the lock from its first moment on."""
_BLOCK = 512
_SORTS = {
    "identity.key": "identity",
    "checkpoints": "checkpoints",
    "data": "data",
    "peer.log": "logs",
}
"""What a file or folder of a run counts as, by its name; the rest is `other`."""


def run_folder(state_dir: Path, run_id: str) -> Path:
    """Where a run's files are kept on this machine."""
    return state_dir / "runs" / run_id


def run_folders(state_dir: Path) -> list[Path]:
    """The folders of all runs, by name; links and folders of somebody else are none.

    `UserError` STATE_FOLDER if they are not for this user to see.
    """
    try:
        with open_to_us():
            entries = sorted((state_dir / "runs").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [it for it in entries if is_run_folder(it)]


def is_run_folder(path: Path) -> bool:
    """Whether a peer of a run made this folder."""
    with open_to_us():
        return bool(RUN_NAME.fullmatch(path.name)) and not path.is_symlink() and has_marks(path)


def has_marks(path: Path) -> bool:
    """Whether a folder, or what a link leads to, has what every run's folder has."""
    with open_to_us():
        return path.is_dir() and any(os.path.lexists(path / mark) for mark in _MARKS)


def running_folders(state_dir: Path) -> list[Path]:
    """Those on which a peer runs or rests now."""
    return [it for it in run_folders(state_dir) if running(it)]


@dataclass(frozen=True)
class Sizes:
    """Bytes on the disk."""

    identity: int = 0
    checkpoints: int = 0
    data: int = 0
    logs: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.identity + self.checkpoints + self.data + self.logs + self.other


def sizes_of(folder: Path) -> Sizes:
    """What a run's folder takes up; a file with two names counts once, links count as links."""
    found = dict.fromkeys(("identity", "checkpoints", "data", "logs", "other"), 0)
    seen: set[tuple[int, int]] = set()
    for entry in _entries(folder):
        name = "peer.log" if entry.name.startswith("peer.log.") else entry.name
        found[_SORTS.get(name, "other")] += disk_bytes(Path(entry.path), seen)
    return Sizes(**found)


def disk_bytes(path: Path, seen: set[tuple[int, int]] | None = None) -> int:
    """Of a file, or of a folder with all that is in it; what goes away meanwhile counts nothing.

    seen: files that were counted already, which this adds to.
    """
    seen = set() if seen is None else seen
    try:
        found = path.lstat()
    except OSError:
        return 0
    total = 0
    if (found.st_dev, found.st_ino) not in seen:
        seen.add((found.st_dev, found.st_ino))
        total = found.st_blocks * _BLOCK
    if stat.S_ISDIR(found.st_mode):
        total += sum(disk_bytes(Path(it.path), seen) for it in _entries(path))
    return total


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return  # gone, or nobody's to look into: both count nothing
