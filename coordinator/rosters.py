"""What peers tell of a round's manifest. Values only.

Bounded by `intake`, like all of `domain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, order=True)
class RosterEntry:
    """What a round's manifest says of one member."""

    peer_id: str
    tokens: int
    """Claimed by the member."""
    parts: int
    """That its work is in."""
    merged: bool
    """In half of the vector's values or more: its tokens count."""
    reason: str
    """Why it is not in all of them."""


@dataclass(frozen=True, order=True)
class Roster:
    """What one peer tells of the manifest of a committed round, because it was asked to."""

    round: int
    attempt: bytes
    digest: bytes
    """Of the global state after the round."""
    parts: int
    members: tuple[RosterEntry, ...]
    """In the order of their peer ids, each once."""

    def entry(self, peer_id: str) -> RosterEntry | None:
        """What it says of a peer; None if that is no member."""
        return self._by_peer.get(peer_id)

    @cached_property
    def _by_peer(self) -> dict[str, RosterEntry]:
        return {entry.peer_id: entry for entry in self.members}
