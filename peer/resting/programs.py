"""Which of the listed programs run on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import PurePath

import psutil

WHOLE_SECONDS = 120.0
"""In between only new processes are looked at: an old one seldom becomes another program."""
MOST_PROCESSES = 20_000
"""More are not looked at: such a machine has other troubles."""


class RunningPrograms:
    """Finds programs by the name of their process or executable, whoever runs them.

    Names are compared without regard to case: who lists Steam means steam. What this peer itself
    runs does not count.
    """

    def __init__(self) -> None:
        self._names: dict[int, frozenset[str]] = {}
        self._fresh: set[int] = set()
        """Looked at once: meanwhile a process may have become the program that it starts."""
        self._whole_at: float | None = None

    def of(self, listed: Iterable[str], now: float) -> tuple[str, ...]:
        """Those of `listed` that run, as they are written there; now: monotonic seconds."""
        self._look(now)
        return tuple(it for it in listed if self._runs(it.casefold()))

    def _look(self, now: float) -> None:
        pids = set(psutil.pids()[:MOST_PROCESSES])
        if self._whole_at is None or now - self._whole_at >= WHOLE_SECONDS:
            self._whole_at = now
            self._names.clear()
        for ended in self._names.keys() - pids:
            del self._names[ended]
        new = pids - self._names.keys()
        for pid in new | (self._fresh & pids):
            self._names[pid] = _names_of(pid)
        self._fresh = new

    def _runs(self, name: str) -> bool:
        found = (pid for pid, names in self._names.items() if name in names)
        return any(not _is_ours(pid) for pid in found)


def _names_of(pid: int) -> frozenset[str]:
    """What a process may be called; nothing if it has just ended."""
    try:
        process = psutil.Process(pid)
        names = {process.name()}
    except psutil.Error:
        return frozenset()
    # a program may name its process as it likes; others' executables are not ours to see
    with suppress(psutil.Error):
        names.add(PurePath(process.exe()).name)
    return frozenset(it.casefold() for it in names if it)


def _is_ours(pid: int) -> bool:
    """Whether it is this process, or was started by it; true of one that has just ended."""
    try:
        process = psutil.Process(pid)
        return os.getpid() in (pid, *(it.pid for it in process.parents()))
    except psutil.Error:
        return True
