"""The receipts of all runs: kept with the reports that they follow from, and told to who asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from coordinator.domain import Receipt, Report
from coordinator.happenings.happening import Happening
from coordinator.reports.batches import by_run
from coordinator.reports.crediting import Crediting
from coordinator.reports.receipts import Change
from coordinator.storage.history import History
from coordinator.storage.receipts import ReceiptStore


class Credits:
    """Called by one thread at a time, like the store."""

    def __init__(self, kept: ReceiptStore, history: History) -> None:
        self._kept = kept
        self._history = history
        self._runs: dict[str, Crediting] = {}

    def keep(self, taken: Iterable[Report]) -> dict[str, list[Change]]:
        """Put on disk what reports change, in their transaction; then `settle`, or `forget`.

        Returns the changes by run, in order.
        """
        return {
            run_id: self._kept.keep(run_id, self._of(run_id).take(news))
            for run_id, news in by_run(taken).items()
        }

    def settle(self, run_id: str, now: float) -> list[Happening]:
        """What was kept of a run is on disk; what of it is to be told to its owner."""
        return self._of(run_id).settle(now)

    def forget(self, taken: Iterable[Report]) -> None:
        """These reports could not be kept."""
        for run_id in by_run(taken):
            self._of(run_id).forget()

    def wanted(self, run_id: str, peer_id: str, now: float) -> tuple[bytes, ...]:
        """The attempts whose roster a peer is asked for now (unix seconds)."""
        return self._of(run_id).wanted(peer_id, now)

    def of_peer(
        self, run_id: str, peer_id: str, before: int | None = None, limit: int = 200
    ) -> Sequence[Receipt]:
        """A peer's receipts of rounds below `before`, the newest first."""
        return self._of(run_id).renewed(self._history.receipts(run_id, peer_id, before, limit))

    def drop(self, run_id: str) -> None:
        """The run has been deleted."""
        self._runs.pop(run_id, None)

    def _of(self, run_id: str) -> Crediting:
        found = self._runs.get(run_id)
        if found is None:
            found = self._runs[run_id] = Crediting(partial(self._kept.of_round, run_id))
        return found
