"""Files that survive a crash: written whole or not at all, and set aside when they are damaged."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

log = logging.getLogger(__name__)

UNFINISHED = ".tmp"
"""How the name of a file ends that is being written; the next start removes those left behind."""
_PIECE_BYTES = 1 << 20


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`. `OSError` if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + UNFINISHED)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)  # the new name too must outlive a power cut


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file, or to the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """BLAKE3 of a file's content, hex; in little memory, whatever its size."""
    digest = blake3()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def set_aside(path: Path, why: str) -> Path:
    """Move a damaged file out of the way, and say so."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.replace(aside)
    log.warning("%s is damaged (%s): kept as %s", path, why, aside.name)
    return aside
