"""Processor time of this process, its trainer and its other children."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import psutil

WINDOW_SECONDS = 10.0
_LOOK_SECONDS = 10.0
"""Children come and go seldom, and to find them all processes are looked at."""


@dataclass(frozen=True)
class Used:
    """Processor seconds."""

    trainer: float
    elsewhere: float
    """In the daemon and its other children."""

    @property
    def whole(self) -> float:
        return self.trainer + self.elsewhere


class ProcessTimes:
    """What was used since the last question."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looked: float | None = None
        self._known: dict[int, float] = {}

    @property
    def pids(self) -> list[int]:
        """This process and its children, as of the last question."""
        return [self._own.pid, *(it.pid for it in self._children)]

    def used(self, trainer: int | None) -> Used:
        """Since the last question; trainer: its process id."""
        self._look(trainer)
        spent = {it.pid: self._spent(it) for it in self._children}
        spent[self._own.pid] = time.process_time()
        since = {pid: max(0.0, it - self._known.get(pid, 0.0)) for pid, it in spent.items()}
        self._known = spent
        by_trainer = since.pop(trainer, 0.0) if trainer is not None else 0.0
        return Used(by_trainer, sum(since.values()))

    def _look(self, trainer: int | None) -> None:
        now = time.monotonic()
        missed = trainer is not None and trainer not in self.pids
        if self._looked is None or missed or now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._children = self._own.children(recursive=True)

    def _spent(self, process: psutil.Process) -> float:
        try:
            times = process.cpu_times()
        except psutil.Error:
            return self._known.get(process.pid, 0.0)  # it has just ended
        return float(times.user + times.system)


class Rate:
    """Processors in use over the last seconds. Pure."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        """Times, and the seconds used until then."""
        self._sum = 0.0

    def add(self, seconds: float, now: float) -> None:
        self._sum += seconds
        self._seen.append((now, self._sum))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def processors(self) -> float:
        """On average; 0 as long as nothing is known."""
        if len(self._seen) < 2:
            return 0.0
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0
