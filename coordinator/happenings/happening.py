"""Something that happened in a run, before it is kept; and how often it may be told. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain import Event, EventKind


@dataclass(frozen=True)
class Happening:
    """An event without its run, its moment and its number, which it gets when it is kept."""

    kind: EventKind
    text: str
    """In words that a person can act on."""
    peer_id: str = ""
    round: int | None = None

    def event(self, run_id: str, at: float) -> Event:
        """The event at `at` (unix seconds); 0 stands for the number that it has not got yet."""
        return Event(0, at, run_id, self.kind, self.text, self.peer_id, self.round)


class Allowance:
    """So many in a stretch of time; what is beyond that is counted."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._began = float("-inf")
        self._spent = 0
        self._held_back = 0
        """In the stretch that was begun,"""
        self._owed = 0
        """and in those before."""

    def is_over(self, now: float) -> bool:
        """Whether the stretch that was begun has passed."""
        return now - self._began >= self._seconds

    @property
    def is_spent(self) -> bool:
        """Whether the one that was taken last was the last of its stretch."""
        return self._spent >= self._most

    def take(self, now: float) -> bool:
        """Whether one more may be told at `now`."""
        if self.is_over(now):
            self._owed += self._held_back
            self._began, self._spent, self._held_back = now, 0, 0
        if self.is_spent:
            self._held_back += 1
            return False
        self._spent += 1
        return True

    def collect(self, now: float) -> int:
        """How many were held back in stretches that have passed; they are told with that."""
        if self.is_over(now):
            self._owed, self._held_back = self._owed + self._held_back, 0
        owed, self._owed = self._owed, 0
        return owed


def span(seconds: float) -> str:
    """How long something took, in one unit."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
