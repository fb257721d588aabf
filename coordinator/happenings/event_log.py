"""The events of all runs: watched for, kept, and only then told to those who listen.

All methods are called in the one thread that the service works in; so are the listeners, which
must be quick and hand on to their own thread or loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from coordinator.domain import Event, Report, Run, StorageError
from coordinator.happenings.happening import Happening
from coordinator.happenings.watch import Expected, RunWatch, Standing
from coordinator.reports.progress import Ledger
from swarmpb.spec import parse_canonical

log = logging.getLogger(__name__)

TOLD_READ = 20_000
"""So many of a run's newest events say at the start what was told: two days of the most."""
MOST_UNKEPT = 1000
"""Events that wait for a disk that takes nothing; then the oldest are dropped, and that is said."""

Listener = Callable[[Sequence[Event]], None]


class EventKeeper(Protocol):
    """Where events are kept: `coordinator.storage`."""

    def add(self, events: Sequence[Event]) -> list[Event]:
        """Keep them all or none, and say with which numbers. `StorageError`."""

    def newest(
        self, before: int | None = None, run_id: str | None = None, limit: int = 100
    ) -> list[Event]:
        """The newest first."""

    def after(self, number: int, run_id: str | None = None, limit: int = 1000) -> list[Event]:
        """The oldest first."""


class EventLog:
    """What happened, in the order of the numbers that events get when they are kept."""

    def __init__(self, kept: EventKeeper, now: Callable[[], float]) -> None:
        self._kept = kept
        self._now = now
        self._watches: dict[str, RunWatch] = {}
        self._listeners: list[Listener] = []
        self._unkept: list[Event] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with all events from now on, once they are kept; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def watch(self, run: Run, ledger: Ledger) -> None:
        """Watch a run from now on, going on where the kept events end."""
        told = self._kept.newest(run_id=run.run_id, limit=TOLD_READ)[::-1]
        spec = parse_canonical(run.spec).round
        self._watches[run.run_id] = RunWatch(run.run_id, spec, ledger, told, self._now())

    def forget(self, run_id: str) -> None:
        """A run that was deleted."""
        self._watches.pop(run_id, None)

    def record(self, run_id: str, happening: Happening) -> None:
        """Keep and tell what somebody else saw happen: the owner's doings."""
        self._tell([happening.event(run_id, self._now())])

    def reported(self, run_id: str, ledger: Ledger, news: Sequence[Report]) -> None:
        """Reports of a run that are kept, and in its ledger."""
        self._tell(self._watches[run_id].reported(ledger, news, self._now()))

    def passed(self, run_id: str, ledger: Ledger, expected: Expected) -> None:
        """Look what time has done to a run; called every second or two."""
        if run_id in self._watches:  # else it was deleted a moment ago
            self._tell(self._watches[run_id].passed(ledger, expected, self._now()))

    def after(self, number: int, run_id: str | None = None, limit: int = 1000) -> list[Event]:
        """The next kept events after a number, of one run or of all; the oldest first."""
        return self._kept.after(number, run_id, limit)

    def newest(
        self, before: int | None = None, run_id: str | None = None, limit: int = 100
    ) -> list[Event]:
        """The last kept events, or the last before a number; the newest first."""
        return self._kept.newest(before, run_id, limit)

    @property
    def is_kept(self) -> bool:
        """Whether everything that happened is on disk; if not, it is tried again each second."""
        return not self._unkept

    def intervals(self, run_id: str) -> Sequence[float]:
        """Seconds between a run's commits lately, for `coordinator.happenings.stalling`."""
        return self._watches[run_id].intervals

    def standing(self, run_id: str) -> Standing:
        """How a run is just now, as far as its watch knows."""
        return self._watches[run_id].standing(self._now())

    def stands(self, run_id: str) -> dict[str, float | None]:
        """How a run stands, as figures: `metrics.RUN_FIGURES` says what they mean."""
        watch = self._watches[run_id]
        return {
            "diverged": watch.diverged,
            "stalled": watch.stalled,
            "last_commit_timestamp_seconds": watch.committed_at,
        }

    def _tell(self, events: list[Event]) -> None:
        """A disk that takes nothing delays events; it does not take the report back."""
        if not events and not self._unkept:
            return
        first_failure = not self._unkept
        self._unkept += events
        try:
            kept = self._kept.add(self._unkept)
        except StorageError as error:
            if first_failure:
                log.warning("events wait until they can be kept: %s", error)
            if len(self._unkept) > MOST_UNKEPT:
                dropped = len(self._unkept) - MOST_UNKEPT
                del self._unkept[:dropped]
                log.error("%d events are lost, because they cannot be kept: %s", dropped, error)
            return
        self._unkept = []
        for listener in list(self._listeners):
            listener(kept)
