"""How far a download is, in numbers and in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from peer.swarm.interface import short


@dataclass(frozen=True)
class Waiting:
    """A place in a donor's queue."""

    donor: str
    position: int
    """1 is the next one."""
    of: int


@dataclass(frozen=True)
class Progress:
    """One moment of a download."""

    round: int
    """Of the state."""
    arrived: int
    """Bytes."""
    total: int
    """Bytes; 0 before anything is known of the state."""
    donors: int
    """Peers that are sending."""
    waiting: tuple[Waiting, ...]

    @property
    def fraction(self) -> float:
        return self.arrived / self.total if self.total else 0.0

    def describe(self) -> str:
        """In words, as a peer's reason."""
        percent = f"{int(100 * self.fraction)} %"
        if self.donors:
            peers = "1 peer" if self.donors == 1 else f"{self.donors} peers"
            return f"downloading the state of round {self.round}: {percent} from {peers}"
        has = f", {percent} has arrived" if self.arrived else ""
        if self.waiting:
            first = min(self.waiting, key=lambda it: it.position)
            place = f"{ordinal(first.position)} of {first.of} at {short(first.donor)}"
            return f"waiting for a turn to download the state of round {self.round}: {place}{has}"
        return f"looking for a peer that gives the state of round {self.round}{has}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, …"""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"
