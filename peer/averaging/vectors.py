"""Vectors of the model's size, whose memory is used again.

Each round fills several of them. Fresh memory has to be fetched from the system and zeroed, page by
page: that took half of a round's processor time.
"""

from __future__ import annotations

import mmap
import weakref
from collections import defaultdict
from contextlib import suppress

import numpy as np

from peer.averaging.codecs import FlatVector

MOST_SPARE = 4
"""Vectors of one size that are kept for later."""
_PAGES_FROM = 1 << 20
"""Bytes; smaller vectors are the C library's business."""
_spare: defaultdict[int, list[mmap.mmap]] = defaultdict(list)


def empty_vector(values: int) -> FlatVector:
    """A vector of shape (values,) with anything in it. Its memory is kept when it is gone."""
    size = 4 * values
    if size < _PAGES_FROM:
        return np.empty(values, np.float32)
    try:
        memory = _spare[size].pop()
    except IndexError:
        memory = mmap.mmap(-1, size)
        with suppress(AttributeError, OSError):  # not on every system, nor in every kernel
            memory.madvise(mmap.MADV_HUGEPAGE)
    vector: FlatVector = np.frombuffer(memory, np.float32)
    # slices keep the vector alive, so nobody sees its memory once this is called
    weakref.finalize(vector, _keep, size, memory).atexit = False
    return vector


def _keep(size: int, memory: mmap.mmap) -> None:
    if len(_spare[size]) < MOST_SPARE:
        _spare[size].append(memory)
