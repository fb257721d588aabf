"""From reports to the progress of a run. Pure: no I/O, no clock, `now` is an argument.

A `Ledger` is grown by one outcome at a time instead of summing up all reports for each question,
so that the coordinator of a run with a million outcomes answers as fast as that of a young one,
and it keeps only the newest rounds, so that it needs no more memory either.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import TypeVar

from coordinator.domain import (
    Coverage,
    Outcome,
    PeerFacts,
    PeerState,
    Report,
    RunFacts,
    Validation,
)
from coordinator.history import Attempt, RoundCounts
from coordinator.reports.live_peers import GONE_PHASES, LivePeers, is_heard
from coordinator.reports.pace import LIVE_SECONDS
from coordinator.reports.receipts import NO_CREDIT, Change, Credit
from coordinator.reports.tally import Tally
from coordinator.reports.traffic import Traffic

ROUNDS_SHOWN = 200
KEPT_TALLIES = 2000
"""Rounds and void attempts in memory, the highest ones; of the rest there are counts."""

_Key = TypeVar("_Key")


class Ledger:
    """What a run's progress needs to know of all reports so far.

    Each outcome and each validation must be added once (the store tells which are new), in the
    order of arrival; the first word on a round's size and duration stands. So must each change of
    a receipt. Rounds below the newest `kept` are in the counts for good: a late word about one of
    them is kept by the store and changes nothing here, were it on a disagreement.
    """

    def __init__(self, kept: int = KEPT_TALLIES) -> None:
        self.peers: dict[str, PeerState] = {}
        self.round = 0
        """The highest round that anybody has reached."""
        self.live_seconds = LIVE_SECONDS
        """A peer that has been silent for longer is not counted as live."""
        self.addresses: dict[str, tuple[str, ...]] = {}
        """By peer id, since this coordinator started."""
        self.coverage: Coverage | None = None
        self._live = LivePeers()
        self._newest: PeerState | None = None
        """The peer that was heard of last; None: it is to be looked for."""
        self._kept = kept
        self._floor: tuple[int, bool] | None = None
        """The highest place of a tally that was let go of."""
        self._older = Counter[bool]()
        """How many were, by whether they were committed."""
        self._older_disagreement: int | None = None
        self._tokens = 0
        self._merged_tokens = 0
        self._in_order: list[Tally] = []
        self._committed: dict[int, Tally] = {}
        self._committed_attempts: set[bytes] = set()
        self._void: dict[bytes | int, Tally] = {}
        self._credits: defaultdict[str, Credit] = defaultdict(Credit)
        self._run_tokens: dict[str, int] = {}
        """By peer, the most that it said were merged in the run."""
        self._traffic = Traffic()
        self._disagreeing: set[int] = set()
        self._first_validation: Validation | None = None
        self._newest_validation: Validation | None = None

    def begin(self, newest: Iterable[Attempt], counts: RoundCounts) -> None:
        """Begin where another ledger stood.

        newest: whole rounds, the highest ones. counts: of all rounds there ever were.
        """
        for attempt in sorted(newest, key=lambda it: it.id):
            if attempt.committed:
                tally = self._committed.get(attempt.round)
                self._committed_attempts.add(attempt.attempt)
                if tally is None:
                    tally = self._committed[attempt.round] = self._insert(Tally.recalled(attempt))
                else:
                    tally.add_kept(attempt)
                if tally.distinct_digests > 1:
                    self._disagreeing.add(attempt.round)
                self.round = max(self.round, attempt.round)
                if attempt.included:
                    mean = attempt.bytes_sent // attempt.included
                    self._traffic.add([mean] * attempt.included)
            else:
                key = attempt.attempt or attempt.round
                self._void[key] = self._insert(Tally.recalled(attempt))
        self._older[True] = max(0, counts.committed - len(self._committed))
        self._older[False] = max(0, counts.void - len(self._void))
        if self._in_order and any(self._older.values()):
            self._floor = (self._in_order[0].round - 1, True)
        if counts.disagreed > len(self._disagreeing):
            self._older_disagreement = 0
        self._tokens = max(self._tokens, counts.tokens)
        self._let_go()

    def see(self, peer: PeerState) -> None:
        """Take a peer's present state in place of the one before."""
        self.peers[peer.peer_id] = peer
        self.round = max(self.round, peer.round)
        self._live.see(peer)
        newest = self._newest
        if newest is not None and peer.received_at >= newest.received_at:
            self._newest = peer
        elif newest is not None and peer.peer_id == newest.peer_id:
            self._newest = None  # the clock went back

    def forget(self, peer_id: str) -> None:
        """Drop a peer from the list; what it added to the run's rounds stays."""
        del self.peers[peer_id]
        self.addresses.pop(peer_id, None)
        self._live.forget(peer_id)
        if self._newest is not None and self._newest.peer_id == peer_id:
            self._newest = None

    def cover(self, coverage: Coverage) -> None:
        """Take the newest round's coverage; of equal rounds the first word stands."""
        if self.coverage is None or coverage.round > self.coverage.round:
            self.coverage = coverage

    def add_outcome(self, outcome: Outcome) -> None:
        """Count one peer's word on the end of one attempt at a round."""
        if outcome.committed:
            self._add_committed(outcome)
        elif not outcome.attempt or outcome.attempt not in self._committed_attempts:
            # an attempt without a name is told from others by its round
            self._tally(self._void, outcome.attempt or outcome.round, outcome)
        self._let_go()

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
        heard = is_heard(peer.received_at, now, self.live_seconds)
        return heard and peer.phase not in GONE_PHASES

    def peers_live(self, now: float) -> list[PeerState]:
        """The live peers at `now` (unix seconds), in no order."""
        return self._live_at(now).all()

    def count_live(self, now: float) -> int:
        """How many they are."""
        return len(self._live_at(now))

    def _live_at(self, now: float) -> LivePeers:
        self._live.pass_time(now, self.live_seconds)
        return self._live

    @property
    def heard_at(self) -> float | None:
        """When any peer reported last (unix seconds); None: there is no peer."""
        if self._newest is None:
            self._newest = max(self.peers.values(), key=lambda it: it.received_at, default=None)
        return self._newest.received_at if self._newest is not None else None

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
    def newest_validation(self) -> int | None:
        """The highest round with a loss on held-out text; None: there is none."""
        return self._newest_validation.round if self._newest_validation else None

    @property
    def newest_disagreement(self) -> int | None:
        """The highest round of which different digests were told."""
        return max(self._disagreeing, default=self._older_disagreement)

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
        live = self._live_at(now)
        first, newest = self._first_validation, self._newest_validation
        return RunFacts(
            round=self.round,
            tokens=self._tokens,
            tokens_per_second=live.tokens_per_second,
            peers_live=len(live),
            train_loss=live.train_loss,
            first_validation_loss=first.loss if first else None,
            validation_loss=newest.loss if newest else None,
            rounds_committed=len(self._committed) + self._older[True],
            rounds_void=len(self._void) + self._older[False],
            digests_agree=self.newest_disagreement is None,
            bytes_sent_per_round=self._traffic.median,
            coverage=self.coverage,
            peers=(),
            rounds=(),
        )

    def _add_committed(self, outcome: Outcome) -> None:
        if outcome.attempt:
            self._take_back_void(outcome.attempt)
        self.round = max(self.round, outcome.round)
        self._tokens = max(self._tokens, outcome.run_tokens)
        told = self._run_tokens.get(outcome.peer_id, 0)
        self._run_tokens[outcome.peer_id] = max(told, outcome.run_tokens)
        if outcome.included:
            self._traffic.add([outcome.bytes_sent])
        tally = self._tally(self._committed, outcome.round, outcome)
        if tally is None:
            return
        if outcome.attempt in tally.digests:
            self._committed_attempts.add(outcome.attempt)
        if tally.distinct_digests > 1:
            self._disagreeing.add(outcome.round)

    def _take_back_void(self, attempt: bytes) -> None:
        """Whoever called this attempt void had only missed its commit."""
        mistaken = self._void.pop(attempt, None)
        if mistaken is not None:
            self._in_order.remove(mistaken)

    def _tally(self, tallies: dict[_Key, Tally], key: _Key, outcome: Outcome) -> Tally | None:
        """What the outcome was added to; None if it is of a round that was let go of."""
        tally = tallies.get(key)
        if tally is None:
            tally = Tally.begun_by(outcome)
            if self._floor is not None and tally.place() <= self._floor:
                return None
            tallies[key] = self._insert(tally)
        tally.add(outcome)
        return tally

    def _insert(self, tally: Tally) -> Tally:
        insort(self._in_order, tally, key=Tally.place)
        return tally

    def _let_go(self) -> None:
        """Of the lowest rounds, once there are a tenth too many: seldom, and many at once."""
        surplus = len(self._in_order) - self._kept
        if surplus <= self._kept // 10:
            return
        gone, self._in_order = self._in_order[:surplus], self._in_order[surplus:]
        self._floor = gone[-1].place()
        self._older.update(tally.committed for tally in gone)
        dropped = {id(tally) for tally in gone}
        for tally in gone:
            if tally.committed:
                del self._committed[tally.round]
                self._committed_attempts.difference_update(tally.digests)
        self._void = {key: it for key, it in self._void.items() if id(it) not in dropped}
        lost = [round_ for round_ in self._disagreeing if round_ not in self._committed]
        self._disagreeing.difference_update(lost)
        self._older_disagreement = max(
            [*lost, *([self._older_disagreement] if self._older_disagreement is not None else [])],
            default=None,
        )

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
