"""What a run's orders mean for a peer, and whom it asks for newer ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peer.swarm.interface import printable
from swarmpb.membership import MAX_REASON, RunState, StandingOrders

Rank = tuple[int, int]
"""(serial of the charter, sequence): of two orders the higher one holds."""
NO_RANK: Rank = (0, 0)
BANNED = "this peer is banned from run {run} by its owner; ask them why"
"""What a banned peer's user is told."""
FIRST_PAUSE = 1.0
LIARS_PAUSE = 30.0
LONGEST_PAUSE = 600.0
MOST_REMEMBERED = 1024


@dataclass(frozen=True)
class Course:
    """What the run's owner wants of this peer; the default is to train as the spec says."""

    paused: str = ""
    """Why nothing is trained; empty: it is not paused."""
    finished: str = ""
    """Why the run is over; empty: it is not."""
    banned: bool = False
    by_invitation: bool = False
    """Only its owner can let others in."""
    stop_tokens: int = 0
    """Where the run ends; 0: as the spec says."""
    cooldown_tokens: int = 0
    """Over so many tokens before that the rate falls; 0: as the spec says."""


def course_of(orders: StandingOrders | None, own: str) -> Course:
    """What orders mean for the peer with the id `own`; without any the run is open."""
    if orders is None:
        return Course()
    why = printable(" ".join(orders.reason.split()), MAX_REASON)
    because = f": {why}" if why else ""
    paused = finished = ""
    if orders.state == RunState.PAUSED:
        paused = f"paused by the run's owner{because}"
    elif orders.state == RunState.DRAFT:
        paused = f"the run's owner has not opened it yet{because}"
    elif orders.state == RunState.FINISHED:
        finished = f"the run is finished{because}"
    return Course(
        paused,
        finished,
        orders.bans(own),
        orders.invite_only,
        orders.stop_tokens,
        orders.cooldown_tokens,
    )


class Rumours:
    """Whom to ask for orders that are newer than one's own: peers whose records name such.

    Any peer may name what it does not have. Who did not deliver is not asked for a while, the next
    time for longer. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._pauses: dict[str, tuple[float, float]] = {}
        """By peer id: until when it is not asked, and how long that pause was."""

    def whom_to_ask(
        self, named: Mapping[str, Rank], own: Rank, now: float, chance: float
    ) -> str | None:
        """One of those that name newer orders than `own`; chance: uniform in [0, 1).

        Not the one that names the newest: a liar would always be that. And by chance, so that a
        whole swarm does not ask the one peer that heard first.
        """
        promising = sorted(
            peer_id
            for peer_id, rank in named.items()
            if rank > own and self._pauses.get(peer_id, (now, 0.0))[0] <= now
        )
        return promising[int(chance * len(promising))] if promising else None

    def delivered(self, peer_id: str) -> None:
        """A peer gave what it had promised."""
        self._pauses.pop(peer_id, None)

    def failed(self, peer_id: str, now: float, lied: bool = False) -> None:
        """A peer did not; lied: what it gave was false, or no newer."""
        _, last = self._pauses.pop(peer_id, (now, 0.0))
        pause = min(LONGEST_PAUSE, max(2 * last, LIARS_PAUSE if lied else FIRST_PAUSE))
        self._pauses[peer_id] = (now + pause, pause)
        while len(self._pauses) > MOST_REMEMBERED:
            del self._pauses[next(iter(self._pauses))]
