"""How much of the disk a run may take here."""

from __future__ import annotations

import shutil
from pathlib import Path

from peer.limits.settings import Limits


def room(limits: Limits, folder: Path) -> int:
    """Bytes that a run may still take in its folder; `OSError` if that cannot be looked at."""
    left = shutil.disk_usage(folder).free - limits.disk_free
    if limits.disk is not None:
        left = min(left, limits.disk - taken_by(folder))
    return max(0, int(left))


def taken_by(folder: Path) -> int:
    """Bytes of the files in a folder, those with several names counted once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        try:
            about = path.lstat()
        except OSError:
            continue  # it has just been removed
        seen[about.st_dev, about.st_ino] = about.st_size
    return sum(seen.values())
