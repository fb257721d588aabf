"""A run's ledger after a restart: from sums and the newest rounds, however old the run is."""

from __future__ import annotations

from coordinator.reports.progress import KEPT_TALLIES, Ledger
from coordinator.storage.store import Store


def read_ledger(store: Store, run_id: str) -> Ledger:
    """As far as the store knows it. `StorageError` if that fails."""
    ledger = Ledger()
    newest, _ = store.history.rounds(run_id, limit=KEPT_TALLIES)
    ledger.begin(newest, store.history.counts(run_id))
    ledger.credit(store.receipts.credits(run_id))
    for peer in store.peers(run_id):
        ledger.see(peer)
    for _, validation in store.history.first_and_newest_validation(run_id) or ():
        ledger.add_validation(validation)
    coverage = store.coverage(run_id)
    if coverage is not None:
        ledger.cover(coverage)
    return ledger
