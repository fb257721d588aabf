"""When the next round is due and how fast the run is, as one peer sees it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peer.condition import Peer
from peer.events import Phase, ViewSeen
from peer.membership import at_work, seconds_to_cut, speed_of

_ABOUT_TO_CUT = frozenset({Phase.TRAINING, Phase.AVERAGING})


@dataclass(frozen=True)
class OwnWork:
    """What this peer does at this moment."""

    pending_tokens: int
    """Trained since the last merged cut."""
    tokens_per_second: float


@dataclass(frozen=True)
class RoundAhead:
    """What a status says of the round that is being trained."""

    seconds: float = math.nan
    """Until the next cut, if all go on as they do; NaN: there is none in sight."""
    progress: float = 0.0
    """Of the way from the last cut to the next, 0 to 1."""
    swarm_tokens_per_second: float = 0.0
    """Of all that are at work, this peer included."""


def round_ahead(
    peer: Peer, seen: ViewSeen | None, own: OwnWork, now: float, wall: float
) -> RoundAhead:
    """By the newest view; now: monotonic seconds, wall: unix seconds."""
    others = seen.view.others(peer.peer_id) if seen is not None else ()
    together = own.tokens_per_second + speed_of(others)
    enough = 1 + len(at_work(others)) >= peer.spec.round.min_peers
    if seen is None or peer.position is None or peer.phase not in _ABOUT_TO_CUT or not enough:
        return RoundAhead(swarm_tokens_per_second=together)
    elapsed = max(0.0, now - peer.adopted_at)
    seconds = seconds_to_cut(
        others,
        peer.position,
        own.pending_tokens,
        own.tokens_per_second,
        elapsed,
        max(peer.spec.round.min_seconds, seen.sustained_round),
        peer.spec.round,
        wall,
    )
    whole = elapsed + seconds
    return RoundAhead(seconds, elapsed / whole if whole > 0 else 1.0, together)
