"""How much strangers can make a coordinator keep. Pure: ledgers in, decisions out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from coordinator.domain import PeerState, Report, RunFullError
from coordinator.history import HOUR
from coordinator.reports.progress import Ledger


@dataclass(frozen=True)
class Limits:
    """What strangers can make a coordinator keep.

    A row is an outcome or a validation: about 200 bytes of disk until it is thinned.
    """

    peers_per_run: int = 16_384
    rows_per_hour: int = 20_000
    """New ones of one peer: two days of rounds of 10 s, told at once."""
    run_rows_per_hour: int = 2_000_000
    """New ones of a run, whoever tells them, as names cost nothing: 10,000 peers with rounds of
    20 s. Peers tell what is refused later.
    """
    silent_seconds: float = 3600.0
    """A full run forgets a peer that has been silent for this long in favour of a new one."""


class HourlyRows:
    """How many rows each peer has told in the present hour."""

    def __init__(self) -> None:
        self._hour = 0
        self._told: Counter[tuple[str, str]] = Counter()
        self._of_run: Counter[str] = Counter()

    def told_in(self, run_id: str, now: float) -> int:
        """By all peers of a run; now: unix seconds."""
        self._turn(now)
        return self._of_run[run_id]

    def told(self, run_id: str, peer_id: str, now: float) -> int:
        """By one peer; now: unix seconds."""
        self._turn(now)
        return self._told[run_id, peer_id]

    def add(self, news: Report, now: float) -> None:
        """Count a report that is kept."""
        self._turn(now)
        coming = rows_of(news)
        if coming:
            self._told[news.run_id, news.peer.peer_id] += coming
            self._of_run[news.run_id] += coming

    def _turn(self, now: float) -> None:
        if int(now // HOUR) != self._hour:
            self._hour = int(now // HOUR)
            self._told.clear()
            self._of_run.clear()


def rows_of(news: Report) -> int:
    """How many rows a report adds."""
    return len(news.outcomes) + len(news.validations)


class Room:
    """What there is room for in one batch of reports, with at most one of each peer."""

    def __init__(self, limits: Limits, rows: HourlyRows, now: float) -> None:
        """`now`: unix seconds."""
        self._limits = limits
        self._rows = rows
        self._now = now
        self._coming: Counter[str] = Counter()
        """Rows, by run."""
        self._newcomers: Counter[str] = Counter()
        """By run, those that are coming."""
        self.forgotten: defaultdict[str, set[str]] = defaultdict(set)
        """By run, the peers that had to make room."""

    def admit(self, ledger: Ledger, news: Report) -> None:
        """Find room for a report's news; `RunFullError` if there is none."""
        limits, run_id, peer_id = self._limits, news.run_id, news.peer.peer_id
        told, coming = self._rows.told(run_id, peer_id, self._now), rows_of(news)
        if coming and told + coming > limits.rows_per_hour:
            raise RunFullError(
                f"at most {limits.rows_per_hour} rounds an hour are taken from one peer;"
                " try again later"
            )
        in_all = self._rows.told_in(run_id, self._now) + self._coming[run_id] + coming
        if coming and in_all > limits.run_rows_per_hour:
            raise RunFullError(
                f"at most {limits.run_rows_per_hour:,} words on rounds are taken of run {run_id} in"
                " an hour; try again later"
            )
        if peer_id not in ledger.peers or peer_id in self.forgotten[run_id]:
            self._seat(ledger, run_id)
        self._coming[run_id] += coming

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
