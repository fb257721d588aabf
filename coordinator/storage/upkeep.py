"""The history is thinned while the coordinator serves, a little at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice

from coordinator.domain import StorageError
from coordinator.storage.store import Store
from coordinator.storage.thinning import Keep

log = logging.getLogger(__name__)

THIN_SECONDS = 300.0
STEPS = 4
"""Of thinning, each time, in one transaction: about 20 ms, for which reports wait."""


class Upkeep:
    """Used by the service's thread."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float],
        keep: Keep | None = None,
    ) -> None:
        """`now` tells unix seconds."""
        self._store = store
        self._now = now
        self._keep = keep or Keep()
        self._thinned_at = 0.0
        self._steps: Iterator[None] | None = None

    def pass_time(self) -> None:
        """Thin what is due; called every second or two."""
        now = self._now()
        try:
            self._thin(now)
        except StorageError as error:
            # reports are refused too, and say so; what is due waits
            log.warning("the history is not thinned: %s", error)
            self._steps, self._thinned_at = None, now

    def _thin(self, now: float) -> None:
        if self._steps is None and now - self._thinned_at >= THIN_SECONDS:
            self._steps, self._thinned_at = self._store.thinner.steps(now, self._keep), now
        if self._steps is None:
            return
        with self._store.together():  # one wait for the disk
            done = sum(1 for _ in islice(self._steps, STEPS))
        if done < STEPS:
            self._steps = None
