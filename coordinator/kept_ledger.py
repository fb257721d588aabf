"""A run's ledger as it was, from what is kept."""

from __future__ import annotations

from coordinator.progress import Ledger
from coordinator.storage.store import Store


def read_ledger(store: Store, run_id: str) -> Ledger:
    """All that the store knows of a run's progress."""
    ledger = Ledger()
    ledger.credit(store.receipts.credits(run_id))
    for peer in store.peers(run_id):
        ledger.see(peer)
    for outcome in store.outcomes(run_id):
        ledger.add_outcome(outcome)
    for validation in store.validations(run_id):
        ledger.add_validation(validation)
    coverage = store.coverage(run_id)
    if coverage is not None:
        ledger.cover(coverage)
    return ledger
