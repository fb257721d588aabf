"""Files that survive a crash: there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".tmp"
"""How the name of a file ends that is being written; a peer's next start removes what is left."""


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, private: bool = False) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`. `OSError` if not.

    A reader sees the old content or the new one. Each path has one writer at a time. A `private`
    file is its owner's alone to read, from its first moment on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + UNFINISHED)
    mode = 0o600 if private else 0o666  # less what the umask takes
    # no link is followed: root may write into the folder of a service that is not trusted
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if private:
                os.fchmod(descriptor, 0o600)  # a file that was there keeps its mode
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)  # the new name too must outlive a power cut


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at `path`, which its owner alone may read."""
    write_whole(path, lambda file: file.write(data), private=True)


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file, or to the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
