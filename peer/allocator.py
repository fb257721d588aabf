"""How this process keeps its memory.

A round works on vectors as large as the model and lets go of them. The C library would hand their
pages back to the system each time and fetch them again, zeroed, for the next round: that took
half of a round's processor time.
"""

from __future__ import annotations

import ctypes
import sys

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


def keep_freed_memory() -> None:
    """Use freed memory again instead of giving it back; does nothing but with glibc.

    The process stays as large as it was at its largest.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1)):
        mallopt(name, value)
