"""Looks at the runs once a minute, and keeps how they stand for the plots."""

from __future__ import annotations

import logging
from collections.abc import Callable
from heapq import nlargest

from coordinator.domain import StorageError
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 60
FASTEST_KEPT = 20
"""Speeds of so many peers are kept by themselves: twice as many as are shown, for they change."""


class Sampling:
    """Called every second or so in the service's one thread."""

    def __init__(self, service: CoordinatorService, store: Store, now: Callable[[], float]) -> None:
        """`now` tells unix seconds."""
        self._service = service
        self._store = store
        self._now = now
        self._minute = int(now()) // SAMPLE_SECONDS

    def pass_time(self) -> None:
        """Look, if a minute has begun since."""
        now = self._now()
        minute = int(now) // SAMPLE_SECONDS
        if minute == self._minute:
            return
        self._minute = minute
        try:
            with self._store.together():
                for run in self._service.runs():
                    self._look(run.run_id, now)
        except StorageError as error:
            log.warning("a minute is missing in the plots: %s", error)

    def _look(self, run_id: str, now: float) -> None:
        ledger = self._service.ledger(run_id)
        if not ledger.peers:
            return  # nobody has come yet: there is nothing to plot
        live = ledger.peers_live(now)
        speeds = [(peer.peer_id, peer.tokens_per_second) for peer in live]
        fastest = [it for it in nlargest(FASTEST_KEPT, speeds, key=lambda it: it[1]) if it[1] > 0]
        whole = sum(speed for _, speed in speeds)
        self._store.samples.add(run_id, now, len(live), whole, fastest)
