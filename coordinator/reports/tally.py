"""One round as told by everybody who reported it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.domain import Outcome, RoundFacts
from coordinator.history import Attempt

DIGESTS_COUNTED = 16
"""Distinct digests, and committed attempts, kept of one round; two are already a fault."""


@dataclass(eq=False)
class Tally:
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
    def begun_by(cls, outcome: Outcome) -> Tally:
        """Of nobody's word yet, with the facts that the first one tells."""
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

    @classmethod
    def recalled(cls, attempt: Attempt) -> Tally:
        """As it stood when it was kept."""
        made = cls(
            round=attempt.round,
            committed=attempt.committed,
            reason=attempt.reason,
            members=attempt.members,
            run_tokens=attempt.run_tokens,
            seconds=attempt.seconds,
        )
        made.add_kept(attempt)
        return made

    def add_kept(self, attempt: Attempt) -> None:
        """Add the words on one attempt, as they were kept."""
        self.finished_by += attempt.finished_by
        if not self.members:
            self.members, self.seconds = attempt.members, attempt.seconds
        if attempt.committed:
            self.digests.setdefault(attempt.attempt, set()).update(attempt.digests)

    def add(self, outcome: Outcome) -> None:
        """Add one peer's word."""
        self.finished_by += 1
        if not self.members:  # the words before were of peers that only came to hold its state
            self.members, self.seconds = outcome.members, outcome.seconds
        if not outcome.committed:
            return
        kept = sum(map(len, self.digests.values()))
        if outcome.attempt in self.digests or len(self.digests) < DIGESTS_COUNTED:
            told = self.digests.setdefault(outcome.attempt, set())
            if outcome.digest and kept < DIGESTS_COUNTED:
                told.add(outcome.digest)

    @property
    def distinct_digests(self) -> int:
        """Told of one attempt; more than one is a disagreement."""
        named = [len(told) for attempt, told in self.digests.items() if attempt]
        return max(named or map(len, self.digests.values()), default=0)

    def place(self) -> tuple[int, bool]:
        """Void attempts at a round come before its commit."""
        return self.round, self.committed

    def facts(self) -> RoundFacts:
        """What is shown of it."""
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
