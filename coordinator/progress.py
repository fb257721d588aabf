"""From reports to the progress of a run. Pure: no I/O, no clock, `now` is an argument.

A `Ledger` is grown by one outcome at a time instead of summing up all reports for each question,
so that the coordinator of a run with a million outcomes answers as fast as that of a young one.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

from coordinator.domain import (
    Coverage,
    Outcome,
    PeerFacts,
    PeerState,
    Report,
    RoundFacts,
    RunFacts,
    Validation,
)
from coordinator.receipts import NO_CREDIT, Change, Credit

LIVE_SECONDS = 15.0
"""A peer that has been silent for longer is not counted as live."""
GONE_PHASES = frozenset({"stopped", "left"})
ROUNDS_SHOWN = 200
TRAFFIC_SAMPLES = 10_000
"""The median of traffic is over this many of the newest (peer, committed round) pairs."""
DIGESTS_COUNTED = 16
"""Distinct digests kept of one round; two are already a fault."""

_Key = TypeVar("_Key")


@dataclass(eq=False)
class _Tally:
    """One committed round or one void attempt, as told by everybody who reported it."""

    round: int
    committed: bool
    reason: str
    members: int
    run_tokens: int
    seconds: float
    finished_by: int = 0
    digests: dict[bytes, set[bytes]] = field(default_factory=dict)
    """By attempt: two halves of a split swarm have rounds of the same number, and may differ.

    Without one: of peers that only came to hold a state of that number.
    """

    @classmethod
    def begun_by(cls, outcome: Outcome) -> _Tally:
        # the reason of a committed round is about one peer that was left out, not about the round
        reason = "" if outcome.committed else outcome.reason
        return cls(
            round=outcome.round,
            committed=outcome.committed,
            reason=reason,
            members=outcome.members,
            run_tokens=outcome.run_tokens,
            seconds=outcome.seconds,
        )

    def add(self, outcome: Outcome) -> None:
        self.finished_by += 1
        if not self.members:  # the words before were of peers that only came to hold its state
            self.members, self.seconds = outcome.members, outcome.seconds
        kept = sum(map(len, self.digests.values()))
        if outcome.committed and outcome.digest and kept < DIGESTS_COUNTED:
            self.digests.setdefault(outcome.attempt, set()).add(outcome.digest)

    @property
    def distinct_digests(self) -> int:
        """Told of one attempt; more than one is a disagreement."""
        named = [len(told) for attempt, told in self.digests.items() if attempt]
        return max(named or map(len, self.digests.values()), default=0)

    def place(self) -> tuple[int, bool]:
        """Void attempts at a round come before its commit."""
        return self.round, self.committed

    def facts(self) -> RoundFacts:
        return RoundFacts(
            round=self.round,
            committed=self.committed,
            reason=self.reason,
            members=self.members,
            run_tokens=self.run_tokens,
            seconds=self.seconds,
            finished_by=self.finished_by,
            distinct_digests=self.distinct_digests,
        )


class Ledger:
    """What a run's progress needs to know of all reports so far.

    Each outcome and each validation must be added once (the store tells which are new), in the
    order of arrival; the first word on a round's size and duration stands. So must each change of
    a receipt.
    """

    def __init__(self) -> None:
        self.peers: dict[str, PeerState] = {}
        self.outcomes = 0
        """How many were added."""
        self.outcomes_by_peer: Counter[str] = Counter()
        self.round = 0
        """The highest round that anybody has reached."""
        self.addresses: dict[str, tuple[str, ...]] = {}
        """By peer id, since this coordinator started."""
        self.coverage: Coverage | None = None
        self._tokens = 0
        self._merged_tokens = 0
        self._in_order: list[_Tally] = []
        self._committed: dict[int, _Tally] = {}
        self._committed_attempts: set[bytes] = set()
        self._void: dict[bytes | int, _Tally] = {}
        self._credits: defaultdict[str, Credit] = defaultdict(Credit)
        self._run_tokens: dict[str, int] = {}
        """By peer, the most that it said were merged in the run."""
        self._traffic: deque[int] = deque(maxlen=TRAFFIC_SAMPLES)
        self._disagreeing: set[int] = set()
        self._first_validation: Validation | None = None
        self._newest_validation: Validation | None = None

    def see(self, peer: PeerState) -> None:
        """Take a peer's present state in place of the one before."""
        self.peers[peer.peer_id] = peer
        self.round = max(self.round, peer.round)

    def forget(self, peer_id: str) -> None:
        """Drop a peer from the list; what it added to the run's rounds stays."""
        del self.peers[peer_id]
        self.addresses.pop(peer_id, None)

    def cover(self, coverage: Coverage) -> None:
        """Take the newest round's coverage; of equal rounds the first word stands."""
        if self.coverage is None or coverage.round > self.coverage.round:
            self.coverage = coverage

    def add_outcome(self, outcome: Outcome) -> None:
        """Count one peer's word on the end of one attempt at a round."""
        self.outcomes += 1
        self.outcomes_by_peer[outcome.peer_id] += 1
        if outcome.committed:
            self._add_committed(outcome)
        elif outcome.attempt not in self._committed_attempts:
            # an attempt without a name is told from others by its round
            self._tally(self._void, outcome.attempt or outcome.round, outcome)

    def credit(self, credits_: Mapping[str, Credit]) -> None:
        """Begin with these sums, by peer id."""
        self._credits.update(credits_)
        self._merged_tokens = sum(it.tokens for it in credits_.values())

    def correct(self, change: Change) -> None:
        """Count a new receipt, or a changed one in place of what it said before."""
        for receipt, sign in ((change.before, -1), (change.after, 1)):
            if receipt is not None:
                self._credits[receipt.peer_id].add(receipt, sign)
                self._merged_tokens += sign * receipt.merged_tokens

    def add_validation(self, validation: Validation) -> None:
        """Take a loss on held-out text; of equal rounds the first word stands."""
        first, newest = self._first_validation, self._newest_validation
        if first is None or validation.round < first.round:
            self._first_validation = validation
        if newest is None or validation.round > newest.round:
            self._newest_validation = validation

    def is_live(self, peer: PeerState, now: float) -> bool:
        """Whether the peer reported in the last seconds before `now` and has not left since."""
        return now - peer.received_at < LIVE_SECONDS and peer.phase not in GONE_PHASES

    def peers_live(self, now: float) -> list[PeerState]:
        """The live peers at `now` (unix seconds)."""
        return [peer for peer in self.peers.values() if self.is_live(peer, now)]

    @property
    def tokens(self) -> int:
        """Merged in the run, as the highest committed round said."""
        return self._tokens

    @property
    def merged_tokens(self) -> int:
        """Those of all peers together: the sum of all receipts."""
        return self._merged_tokens

    def credit_of(self, peer_id: str) -> Credit:
        """The sums of a peer's receipts."""
        return self._credits.get(peer_id, NO_CREDIT)

    def tokens_of(self, peer_id: str) -> int:
        """Merged of one peer's work."""
        return self.credit_of(peer_id).tokens

    def rounds_of(self, peer_id: str) -> int:
        """Committed rounds that merged a peer's work."""
        return self.credit_of(peer_id).rounds

    @property
    def newest_commit(self) -> int:
        """The highest round that anybody told was committed; 0: none."""
        return max(self._committed, default=0)

    @property
    def newest_disagreement(self) -> int | None:
        """The highest round of which different digests were told."""
        return max(self._disagreeing, default=None)

    @property
    def void_attempts(self) -> Set[bytes | int]:
        """Those at rounds that nobody told was committed: their names, or their rounds."""
        return self._void.keys()

    def run_tokens_told(self, now: float) -> list[int]:
        """Of each live peer at `now`, the most that it said were merged in the run."""
        return [self._run_tokens.get(peer.peer_id, 0) for peer in self.peers_live(now)]

    def facts(self, now: float) -> RunFacts:
        """The run's progress at `now` (unix seconds); peers by id, rounds newest last."""
        return replace(
            self.headline(now),
            peers=tuple(self._peer_facts(self.peers[name], now) for name in sorted(self.peers)),
            rounds=tuple(tally.facts() for tally in self._in_order[-ROUNDS_SHOWN:]),
        )

    def headline(self, now: float) -> RunFacts:
        """The run's progress without peers and rounds, which may be many."""
        live = self.peers_live(now)
        first, newest = self._first_validation, self._newest_validation
        return RunFacts(
            round=self.round,
            tokens=self._tokens,
            tokens_per_second=sum(peer.tokens_per_second for peer in live),
            peers_live=len(live),
            train_loss=_mean_loss(live),
            first_validation_loss=first.loss if first else None,
            validation_loss=newest.loss if newest else None,
            rounds_committed=len(self._committed),
            rounds_void=len(self._void),
            digests_agree=not self._disagreeing,
            bytes_sent_per_round=median(self._traffic) if self._traffic else 0.0,
            coverage=self.coverage,
            peers=(),
            rounds=(),
        )

    def _add_committed(self, outcome: Outcome) -> None:
        if outcome.attempt:
            self._committed_attempts.add(outcome.attempt)
            self._take_back_void(outcome.attempt)
        tally = self._tally(self._committed, outcome.round, outcome)
        if tally.distinct_digests > 1:
            self._disagreeing.add(outcome.round)
        self.round = max(self.round, outcome.round)
        self._tokens = max(self._tokens, outcome.run_tokens)
        told = self._run_tokens.get(outcome.peer_id, 0)
        self._run_tokens[outcome.peer_id] = max(told, outcome.run_tokens)
        if outcome.included:
            self._traffic.append(outcome.bytes_sent)

    def _take_back_void(self, attempt: bytes) -> None:
        """Whoever called this attempt void had only missed its commit."""
        mistaken = self._void.pop(attempt, None)
        if mistaken is not None:
            self._in_order.remove(mistaken)

    def _tally(self, tallies: dict[_Key, _Tally], key: _Key, outcome: Outcome) -> _Tally:
        tally = tallies.get(key)
        if tally is None:
            tally = tallies[key] = _Tally.begun_by(outcome)
            insort(self._in_order, tally, key=_Tally.place)
        tally.add(outcome)
        return tally

    def _peer_facts(self, peer: PeerState, now: float) -> PeerFacts:
        credit = self.credit_of(peer.peer_id)
        return PeerFacts(
            state=peer,
            rounds=credit.rounds,
            tokens=credit.tokens,
            rounds_missed=credit.missed,
            last_missed_reason=credit.last_missed[1],
            observed_tokens=credit.observed_tokens,
            seen_seconds_ago=max(0.0, now - peer.received_at),
            live=self.is_live(peer, now),
        )


def after_report(known: PeerState | None, report: Report) -> PeerState:
    """A peer's state after a report, which may come late.

    Rows of its journal count as taken as far as none before them is missing: a coordinator that
    has lost some answers with less than it is told, and the peer tells those again.
    """
    told = report.peer
    same = known is not None and known.journal == told.journal
    taken = known.taken_row if known is not None and same else 0
    if report.after_row <= taken:
        taken = max(taken, report.last_row)
    if known is None or told.sequence > known.sequence:
        return replace(told, taken_row=taken)
    return replace(known, taken_row=taken) if same else known


def _mean_loss(peers: list[PeerState]) -> float | None:
    """Training loss weighted by tokens per second; None if no training peer has one."""
    weighed = [
        (peer.tokens_per_second, peer.train_loss) for peer in peers if peer.train_loss is not None
    ]
    weight = sum(speed for speed, _ in weighed)
    return sum(speed * loss for speed, loss in weighed) / weight if weight > 0 else None
