"""What peers tell of a round's manifest, and what becomes of it: a receipt. Values only.

Bounded by `intake`, like all of `domain`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Roster:
    """What one peer tells of the manifest of a committed round, because it was asked to."""

    round: int
    attempt: bytes
    digest: bytes
    """Of the global state after the round."""
    parts: int
    members: tuple[RosterEntry, ...]
    """In the order of their peer ids, each once."""


@dataclass(frozen=True)
class Receipt:
    """What became of one peer's work in one round. One for each (round, peer)."""

    peer_id: str
    round: int
    attempt: bytes
    claimed_tokens: int
    merged_tokens: int
    included: bool
    """At least in one part."""
    reason: str
    observed: bool
    """Others told of the round's manifest, not only this peer."""
    witnesses: int
    """Peers that told the same digest of the state after this attempt."""
    at_ms: int
    """When this coordinator first heard of the round, in unix milliseconds."""
