"""What a `peer doctor` that was killed has left in the temporary folder, which others share."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

PREFIX = "murmuration-doctor-"
_NAME = re.compile(rf"{PREFIX}([0-9]{{1,9}})-\w+", re.ASCII)
"""Anybody can make folders of any name there: a number beyond all process ids is none of ours."""


def folders_of_killed(temporary: Path) -> Iterator[Path]:
    """This user's folders of doctors that run no more."""
    for path in sorted(temporary.glob(f"{PREFIX}*")):
        match = _NAME.fullmatch(path.name)
        if match is None or psutil.pid_exists(int(match[1])):
            continue
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            yield path
