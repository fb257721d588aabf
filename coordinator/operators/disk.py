"""Whether a folder's disk still takes what is written to it."""

from __future__ import annotations

import os
from pathlib import Path

PROBE = "disk_probe"
PROBE_BYTES = 4096


def disk_trouble(folder: Path) -> str | None:
    """Write a page to a file in `folder` and wait for the disk; a line if that fails, else None."""
    try:
        file = os.open(folder / PROBE, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, bytes(PROBE_BYTES), 0)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        return f"the disk of {folder} takes nothing: {error.strerror}"
    return None
