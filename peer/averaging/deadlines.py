"""How long each part of an attempt may take. The exchange's own time is in the run spec."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deadlines:
    """Seconds. A member doubts its leader only after the leader had all the time it may take."""

    cut: float = 5.0
    """A peer that has not cut this long after the leader's call is left out of the round."""
    suspect: float = 1.5
    """One that has just been silent is waited for only so long."""
    roster: float = 3.0
    """After that, a member that has cut waits this much longer for the roster."""
    report: float = 2.0
    """After its exchange, the leader waits at least this long for the members' reports."""
    vote: float = 3.0
    """A member that does not answer a ballot in this time is not counted."""
    recovery_tries: int = 4

    @property
    def decision(self) -> float:
        """After the exchange time, a member without a decision asks the others."""
        return self.report + self.vote + 1.0


DEADLINES = Deadlines()
