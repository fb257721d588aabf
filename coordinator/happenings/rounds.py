"""Void rounds, members that disagree, runs that stand still: told once each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coordinator.domain import Event, EventKind, Outcome
from coordinator.happenings.happening import Allowance, Happening, span
from coordinator.happenings.presence import HOUR, Presence
from coordinator.happenings.stalling import RECENT_ROUNDS, is_stalled
from coordinator.reports.progress import Ledger
from swarmpb.spec import RoundSpec

SETTLING_SECONDS = 15.0
"""A peer may call void what the others have committed: their word is waited for so long."""
VOIDS_TOLD = 5
"""Void attempts in ten minutes; the rest is told as a number."""
VOIDS_SECONDS = 600.0
ALARMS_TOLD = 6
"""Divergences and stalls in an hour, each; one that lasts longer is told all the same."""
DIGEST_ROUNDS = 4
"""Who told which digest is remembered of so many of the newest rounds."""


@dataclass
class _Attempt:
    round: int
    reason: str
    members: int
    since: float
    tellers: int = 0


class VoidRounds:
    """Attempts at rounds that came to nothing, one event each whoever tells of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._seen = set(ledger.void_attempts)
        self._settling: dict[bytes | int, _Attempt] = {}
        self._allowance = Allowance(VOIDS_TOLD, VOIDS_SECONDS)
        self._newest = ""
        self.newest = ""
        """Why the newest attempt came to nothing; empty: a round was committed since."""

    def reported(self, outcome: Outcome, now: float) -> None:
        if outcome.committed:
            self.newest = ""
            self._settling.pop(outcome.attempt, None)
            return
        key = outcome.attempt or outcome.round
        if key not in self._seen:
            self._seen.add(key)
            self._settling[key] = _Attempt(outcome.round, outcome.reason, outcome.members, now)
        if key in self._settling:
            self._settling[key].tellers += 1

    def passed(self, ledger: Ledger, now: float) -> Iterator[Happening]:
        for key, attempt in list(self._settling.items()):
            if attempt.tellers < attempt.members and now - attempt.since < SETTLING_SECONDS:
                continue
            del self._settling[key]
            if key not in ledger.void_attempts:
                continue
            self._newest = f"round {attempt.round} void: {attempt.reason or 'no reason told'}"
            self.newest = attempt.reason
            if self._allowance.take(now):
                yield Happening(EventKind.ROUND_VOID, self._newest, round=attempt.round)
        more = self._allowance.collect(now)
        if more:
            text = f"{more:,} more void attempts in {span(VOIDS_SECONDS)}, the last: {self._newest}"
            yield Happening(EventKind.ROUND_VOID, text)


class Agreement:
    """Whether the members of a round hold the same state, as far as they tell."""

    def __init__(self, ledger: Ledger, told: Iterable[Event]) -> None:
        self._round = ledger.newest_disagreement
        """The newest round with different digests that is told already."""
        self.diverged = False
        self._digests: dict[int, dict[str, bytes]] = {}
        """By round and peer."""
        self._parties: frozenset[str] = frozenset()
        """Who told a digest of that round, as far as it was heard since the start."""
        self._allowance = Allowance(ALARMS_TOLD, HOUR)
        for event in told:
            if event.kind in (EventKind.DIVERGED, EventKind.HEALED):
                self.diverged = event.kind is EventKind.DIVERGED
                if event.round is not None:
                    self._round = event.round

    @property
    def diverged_round(self) -> int | None:
        """A round whose members hold different states, None if they are one."""
        return self._round if self.diverged else None

    def reported(self, outcome: Outcome) -> None:
        if not (outcome.committed and outcome.digest):
            return
        if outcome.round < max(self._digests, default=0) - DIGEST_ROUNDS + 1:
            return
        self._digests.setdefault(outcome.round, {})[outcome.peer_id] = outcome.digest
        while len(self._digests) > DIGEST_ROUNDS:
            del self._digests[min(self._digests)]

    def passed(self, ledger: Ledger, present: Presence, now: float) -> Iterator[Happening]:
        """`now` in unix seconds, as everywhere here."""
        newest = ledger.newest_disagreement
        news = newest is not None and (self._round is None or newest > self._round)
        if news and (self.diverged or self._allowance.take(now)):
            self._round = newest
            self._parties = frozenset(self._digests.get(newest or 0, ()))
            if not self.diverged:
                self.diverged = True
                yield Happening(
                    EventKind.DIVERGED,
                    f"members of round {newest} hold different states; those in the minority"
                    " fetch the others' by themselves: if this lasts, see who is in the round",
                    round=newest,
                )
        if self.diverged:
            yield from self._healed(present)

    def _healed(self, present: Presence) -> Iterator[Happening]:
        at = self._round if self._round is not None else -1
        parties = {peer_id for peer_id in self._parties if peer_id in present}
        for number, digests in sorted(self._digests.items()):
            if number <= at or not parties <= digests.keys():
                continue
            here = [digest for peer_id, digest in digests.items() if peer_id in present]
            if len(set(here)) == 1 and len(here) >= min(2, len(present)):
                self.diverged = False
                text = f"{len(here)} peers hold the same state of round {number} again"
                yield Happening(EventKind.HEALED, text, round=number)
                return


class Movement:
    """Whether a run that should make rounds makes them."""

    def __init__(self, spec: RoundSpec, ledger: Ledger, told: Iterable[Event], now: float) -> None:
        self._spec = spec
        self._newest = ledger.newest_commit
        self.committed_at: float | None = None
        self._since = now
        """Since when nothing but a commit has been missing."""
        self._intervals: list[float] = []
        self.stalled = False
        self._allowance = Allowance(ALARMS_TOLD, HOUR)
        for event in told:
            if event.kind in (EventKind.STALLED, EventKind.MOVING):
                self.stalled = event.kind is EventKind.STALLED

    @property
    def intervals(self) -> Sequence[float]:
        """Seconds between commits, of the newest rounds since this coordinator started."""
        return self._intervals

    def waiting(self, now: float) -> float:
        """Seconds in which nothing but a commit has been missing."""
        return max(0.0, now - self._since)

    def reported(self, outcome: Outcome, now: float) -> Iterator[Happening]:
        if not outcome.committed or outcome.round <= self._newest:
            return
        told_at = outcome.finished_at_ms / 1000
        at = min(now, told_at) if told_at else now
        if self.committed_at is not None:
            rounds = outcome.round - self._newest
            self._intervals.append(max(0.0, at - self.committed_at) / rounds)
            del self._intervals[:-RECENT_ROUNDS]
        self._newest, self.committed_at = outcome.round, at
        if self.stalled:
            self.stalled = False
            text = (
                f"round {outcome.round} is committed, after {span(now - self._since)} without one"
            )
            yield Happening(EventKind.MOVING, text, round=outcome.round)
        self._since = now

    def passed(self, peers_live: int, expected: bool, now: float) -> Iterator[Happening]:
        """`expected`: the run is to make rounds now, as its owner wants it."""
        if not expected:
            self.stalled = False  # what the owner wants is told as such
        if not expected or (peers_live < self._spec.min_peers and not self.stalled):
            self._since = now
            return
        waiting = now - self._since
        stalled = is_stalled(self._spec, peers_live, waiting, self._intervals)
        if stalled and not self.stalled and self._allowance.take(now):
            self.stalled = True
            yield Happening(
                EventKind.STALLED,
                f"{peers_live} peers are live, and no round has been committed for {span(waiting)};"
                " void rounds and the peers' reasons tell why",
            )
