"""How Python itself behaves in a coordinator: what keeps reports waiting is made short or rare."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys

_M_ARENA_MAX = -8
"""As malloc.h has it."""
MOST_FILES = 65_536
SWITCH_SECONDS = 0.0005
"""How long one thread keeps another waiting: the event loop only hands on, often and little at a
time, while the service's thread works. Python's own is ten times that."""
GARBAGE_THRESHOLDS = 20_000, 20, 50
"""New objects until the youngest are looked through for cycles, and how many such looks until
older ones are; Python's own are 700, 10 and 10."""


def one_heap() -> None:
    """To be called first of all: threads share one heap.

    Each of glibc's own heaps for threads keeps what it once had, 100 MB of them together.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def many_connections() -> None:
    """To be called before anything listens: as many open files as this machine lets us have.

    Strangers' connections count too, and systems begin with 1024; a coordinator that has no more
    could neither be reached nor open a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle() -> None:
    """To be called once, when everything is imported and started.

    A look through all objects takes up to 0.1 s. What is there now is looked through no more; the
    rest, 10,000 peers for instance, seldom.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
