"""Agreement of a roster on one attempt: committed with this manifest, or void. Pure.

Single-decree Paxos (Lamport, "Paxos Made Simple", 2001): the roster's members are the
acceptors. The attempt's leader owns ballot 0 and skips the promises; whoever is left in doubt
by a silent leader proposes with a higher ballot, and finishes what the leader began or voids
it. A decision needs a majority of the roster, so no two members ever learn different ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, order=True)
class Ballot:
    number: int
    proposer: str


NO_BALLOT = Ballot(-1, "")


@dataclass(frozen=True)
class Promise(Generic[Value]):
    """An acceptor's answer to a prepare or an accept."""

    granted: bool
    promised: Ballot
    accepted_ballot: Ballot = NO_BALLOT
    accepted: Value | None = None
    decided: Value | None = None


class Acceptor(Generic[Value]):
    """One member's vote on one attempt."""

    def __init__(self) -> None:
        self.promised = NO_BALLOT
        self.accepted_ballot = NO_BALLOT
        self.accepted: Value | None = None
        self.decided: Value | None = None

    def prepare(self, ballot: Ballot) -> Promise[Value]:
        """Promise to accept nothing below `ballot`."""
        granted = ballot > self.promised
        if granted:
            self.promised = ballot
        return self._answer(granted)

    def accept(self, ballot: Ballot, value: Value) -> Promise[Value]:
        """Accept `value` unless a higher ballot was promised."""
        granted = ballot >= self.promised
        if granted:
            self.promised = self.accepted_ballot = ballot
            self.accepted = value
        return self._answer(granted)

    def learn(self, value: Value) -> None:
        """A majority has accepted `value`: it is decided for good."""
        if self.decided is None:
            self.decided = value

    def _answer(self, granted: bool) -> Promise[Value]:
        return Promise(granted, self.promised, self.accepted_ballot, self.accepted, self.decided)


def majority(acceptors: int) -> int:
    """The smallest number of acceptors of which any two groups share a member."""
    return acceptors // 2 + 1


def proposal(promises: Sequence[Promise[Value]], acceptors: int, own: Value) -> Value | None:
    """What a proposer may propose after its promises: None without a majority of them.

    A value that was accepted with the highest ballot may have been decided: it goes first.
    """
    granted = [promise for promise in promises if promise.granted]
    if len(granted) < majority(acceptors):
        return None
    latest = max(granted, key=lambda promise: promise.accepted_ballot)
    return own if latest.accepted is None else latest.accepted


def known_decision(promises: Sequence[Promise[Value]]) -> Value | None:
    """A decision that one of the acceptors already knows."""
    return next((it.decided for it in promises if it.decided is not None), None)
