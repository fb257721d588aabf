"""Whether a file is what it was, and what becomes of a damaged one."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from blake3 import blake3

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 20


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
