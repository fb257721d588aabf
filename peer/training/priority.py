"""Lets everything else on the machine go first: on its processors, and on its disk."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call, which no library offers for one thread."""
_THIS_THREAD = (1, 0)
_IDLE, _NONE = 3 << 13, 0


def give_way(niceness: int, idle_io: bool) -> None:
    """Make this process as nice as that, and its disk use what others leave, if asked for.

    Called in its main thread; threads that it starts later do the same. No process may become less
    nice than it is: smaller values hold from its next start on.
    """
    os.nice(max(0, niceness - os.getpriority(os.PRIO_PROCESS, 0)))
    _use_disk(idle_io)


def giving_way(do: Callable[[], Result], niceness: int, idle_io: bool) -> Result:
    """Do something in a thread of its own that gives way like that; what it returns or raises."""

    def prepare() -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            thread = threading.get_native_id()
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(now, niceness))
        _use_disk(idle_io)

    with ThreadPoolExecutor(1, "giving-way", prepare) as executor:
        return executor.submit(do).result()


def _use_disk(idle: bool) -> None:
    """Have this thread, and those that it starts later, use the disk when nobody else does."""
    number = _IOPRIO_SET.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *_THIS_THREAD, _IDLE if idle else _NONE):
        reason = os.strerror(ctypes.get_errno())  # in a strict sandbox
        log.debug("the disk is used like everybody does: %s", reason)
