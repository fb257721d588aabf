"""How much memory this machine has left, and whether its system had to kill for want of it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import psutil

from peer.control_groups import control_groups

_ROOT = Path("/")


def free_memory(root: Path = _ROOT) -> int:
    """Bytes this process may still take: of the machine, and of its control groups under `root`."""
    free = [_free_in(folder) for folder in control_groups(root)]
    return min([psutil.virtual_memory().available, *(it for it in free if it is not None)])


def memory_kills(root: Path = _ROOT) -> int | None:
    """How often the system has killed a process here because memory ran out; None: unknown.

    Here: in this process's control groups (version 2), which are told of every victim among
    them; without such groups on the whole machine.
    """
    groups = [folder / "memory.events" for folder in control_groups(root)]
    counts = [_count_in(path) for path in [*groups, root / "proc/vmstat"]]
    return next((count for count in counts if count is not None), None)


def _free_in(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None  # the root group has no limit
    return max(0, int(limit) - used) if limit.isdigit() else None


def _count_in(path: Path) -> int | None:
    """The value of `oom_kill` in a file of names and numbers."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        return next((int(line[1]) for line in lines if line[:1] == ["oom_kill"]), None)
    except (OSError, ValueError, IndexError):
        return None


def give_back_memory() -> None:
    """Hand freed memory back to the system now, where its C library can: it likes to keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
