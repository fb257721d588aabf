"""How much strangers can make a coordinator keep. Pure: ledgers in, decisions out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from coordinator.domain import PeerState, Report, RunFullError
from coordinator.progress import Ledger


@dataclass(frozen=True)
class Limits:
    """What strangers can make a coordinator keep; about 300 bytes of disk for each outcome."""

    peers_per_run: int = 16_384
    outcomes_per_run: int = 1_000_000
    outcomes_per_peer: int = 50_000
    silent_seconds: float = 3600.0
    """A full run forgets a peer that has been silent for this long in favour of a new one."""


class Room:
    """What there is room for in one batch of reports, with at most one of each peer."""

    def __init__(self, limits: Limits, now: float) -> None:
        """`now`: unix seconds."""
        self._limits = limits
        self._now = now
        self._outcomes: Counter[str] = Counter()
        """By run, those that are coming; so are"""
        self._newcomers: Counter[str] = Counter()
        self.forgotten: defaultdict[str, set[str]] = defaultdict(set)
        """By run, the peers that had to make room."""

    def admit(self, ledger: Ledger, news: Report) -> None:
        """Find room for a report's news; `RunFullError` if there is none."""
        limits, run_id, peer_id = self._limits, news.run_id, news.peer.peer_id
        told, coming = ledger.outcomes_by_peer[peer_id], len(news.outcomes)
        if coming and told + coming > limits.outcomes_per_peer:
            raise RunFullError(f"at most {limits.outcomes_per_peer} rounds are kept of one peer")
        if coming and ledger.outcomes + self._outcomes[run_id] + coming > limits.outcomes_per_run:
            raise RunFullError(f"at most {limits.outcomes_per_run} reports of rounds are kept")
        if peer_id not in ledger.peers or peer_id in self.forgotten[run_id]:
            self._seat(ledger, run_id)
        self._outcomes[run_id] += coming

    def _seat(self, ledger: Ledger, run_id: str) -> None:
        forgotten = self.forgotten[run_id]
        seated = len(ledger.peers) + self._newcomers[run_id] - len(forgotten)
        if seated >= self._limits.peers_per_run:
            forgotten.add(self._longest_silent(ledger, run_id).peer_id)
        self._newcomers[run_id] += 1

    def _longest_silent(self, ledger: Ledger, run_id: str) -> PeerState:
        forgotten = self.forgotten[run_id]
        silent = min(
            (peer for peer in ledger.peers.values() if peer.peer_id not in forgotten),
            key=lambda peer: peer.received_at,
            default=None,
        )
        if silent is None or self._now - silent.received_at < self._limits.silent_seconds:
            raise RunFullError(
                f"run {run_id} has {self._limits.peers_per_run} peers, as many as are kept"
            )
        return silent
