"""The shared memory between daemon and trainer: an outbox and an inbox of one flat vector each.

The memory has no name in any file system, so nothing is left behind whatever is killed: its
file descriptor is inherited by the trainer, and it is gone with the last process that maps it.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile

import numpy as np
import numpy.typing as npt

FlatVector = npt.NDArray[np.float32]


def create_memory() -> int:
    """An empty anonymous memory file's descriptor."""
    if sys.platform == "linux":
        return os.memfd_create("murmuration", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class SharedVectors:
    """`outbox` (trainer writes, daemon reads) and `inbox` (the other way), float32, shape (n,)."""

    def __init__(self, descriptor: int, parameters: int) -> None:
        size = max(1, 2 * parameters * 4)
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        self._map = mmap.mmap(descriptor, size)
        vectors = np.frombuffer(self._map, dtype=np.float32, count=2 * parameters)
        self.outbox: FlatVector = vectors[:parameters]
        self.inbox: FlatVector = vectors[parameters:]
