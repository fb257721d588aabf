"""Lets everything else on the machine go first: on its processors, and on its disk."""

from __future__ import annotations

import logging
import os
import sys

import psutil

log = logging.getLogger(__name__)


def give_way(niceness: int, idle_io: bool) -> None:
    """Make this process as nice as that, and its disk use what others leave, if asked for.

    Threads that it starts later do the same. No process may become less nice than it is: smaller
    values hold from its next start on.
    """
    if sys.platform == "win32":
        return
    os.nice(max(0, niceness - os.getpriority(os.PRIO_PROCESS, 0)))
    give_way_on_disk(idle_io)


def give_way_on_disk(idle: bool) -> None:
    """Have this thread, and those that it starts later, use the disk when nobody else does."""
    if sys.platform != "linux":
        return  # elsewhere there are no such classes
    kind = psutil.IOPRIO_CLASS_IDLE if idle else psutil.IOPRIO_CLASS_NONE
    try:
        psutil.Process().ionice(kind)
    except (psutil.Error, OSError) as error:
        log.debug("the disk is used like everybody does: %s", error)  # in a strict sandbox
