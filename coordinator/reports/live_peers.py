"""The live peers of a run and what they do together, kept up to date. Pure: `now` is an argument.

A run may have ten thousand peers, and its headline is asked for all the time while reports wait.
So nobody walks through all peers: a report changes the sums by what it changes, and time takes out
those that have been silent for too long, which come first in a heap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from coordinator.domain import PeerState
from coordinator.reports.pace import LONGEST_SECONDS

GONE_PHASES = frozenset({"stopped", "left"})
_AN_INTERVAL = 1.25 * LONGEST_SECONDS
"""In which a live peer of however large a swarm reports."""
_SMALLEST_BITS = 1074
"""Every float is a whole number of 2 ** -1074, the smallest one above 0."""


class ExactSum:
    """Of floats, without rounding: whoever is taken out again leaves nothing behind."""

    def __init__(self) -> None:
        self._smallest = 0
        """The sum, in units of the smallest float."""

    def add(self, term: float, sign: int = 1) -> None:
        """Add a finite number; sign -1: take out one that was added."""
        numerator, denominator = term.as_integer_ratio()
        self._smallest += sign * (numerator << (_SMALLEST_BITS + 1 - denominator.bit_length()))

    @property
    def value(self) -> float:
        """Rounded once."""
        return self._smallest / (1 << _SMALLEST_BITS)


class LivePeers:
    """Those that reported in the last seconds and have not left.

    Whatever the clock does, they are those of which `Ledger.is_live` says so. Time that goes back
    and patience that grows cost a walk through the silent ones, else only what changed costs.
    """

    def __init__(self) -> None:
        self._live: dict[str, PeerState] = {}
        self._silent: dict[str, PeerState] = {}
        """Those that are not live, and have not left."""
        self._heard: list[tuple[float, str]] = []
        """A heap: when live peers were heard of, or earlier."""
        self._queued: dict[str, float] = {}
        """Which of a peer's times in the heap counts. Every live peer has one."""
        self._now = float("-inf")
        self._patience = 0.0
        """How the peers are told apart now."""
        self._speed = ExactSum()
        self._weight = ExactSum()
        """Speed of the live peers that have a loss,"""
        self._weighed = ExactSum()
        """and each one's speed times its loss."""

    def see(self, peer: PeerState) -> None:
        """Take a peer's present state in place of the one before."""
        name = peer.peer_id
        before = self._live.get(name)
        if peer.phase in GONE_PHASES:
            self.forget(name)
            return
        self._silent.pop(name, None)
        self._live[name] = peer  # until the next question, if that is too long ago
        if peer.received_at < self._queued.get(name, float("inf")):
            self._queue(peer)
        if before is None:
            self._count(peer, 1)
        elif (before.tokens_per_second, before.train_loss) != (
            peer.tokens_per_second,
            peer.train_loss,
        ):
            self._count(before, -1)
            self._count(peer, 1)

    def forget(self, peer_id: str) -> None:
        """This one is not live, however late it is heard of."""
        self._silent.pop(peer_id, None)
        before = self._live.pop(peer_id, None)
        if before is not None:
            self._count(before, -1)

    def pass_time(self, now: float, patience: float) -> None:
        """What follows is of `now` (unix seconds); who is silent for `patience` seconds is out."""
        if now < self._now or patience > self._patience:
            self._look_again(now, patience)
        self._now, self._patience = now, patience
        while self._heard and not is_heard(self._heard[0][0], now, patience):
            heard, name = heappop(self._heard)
            if self._queued.get(name) != heard:
                continue  # an earlier time of it counted
            del self._queued[name]
            peer = self._live.get(name)
            if peer is None:
                continue  # it has left
            if is_heard(peer.received_at, now, patience):
                self._queue(peer)
            else:
                self.forget(name)
                self._silent[name] = peer

    def __len__(self) -> int:
        return len(self._live)

    def all(self) -> list[PeerState]:
        """In no order."""
        return list(self._live.values())

    @property
    def tokens_per_second(self) -> float:
        """Of all together."""
        return self._speed.value

    @property
    def train_loss(self) -> float | None:
        """Weighted by tokens per second; None if no training peer has one."""
        weight = self._weight.value
        return self._weighed.value / weight if weight > 0 else None

    def _look_again(self, now: float, patience: float) -> None:
        """Silent peers may not count as silent any more."""
        for peer in [it for it in self._silent.values() if is_heard(it.received_at, now, patience)]:
            self.see(peer)

    def _queue(self, peer: PeerState) -> None:
        self._queued[peer.peer_id] = peer.received_at
        heappush(self._heard, (peer.received_at, peer.peer_id))

    def _count(self, peer: PeerState, sign: int) -> None:
        speed, loss = peer.tokens_per_second, peer.train_loss
        self._speed.add(speed, sign)
        if loss is not None:
            self._weight.add(speed, sign)
            self._weighed.add(speed * loss, sign)


def is_heard(received_at: float, now: float, patience: float) -> bool:
    """Whether who was heard of then has not been silent for `patience` seconds at `now`."""
    return now - received_at < patience


def live_at_the_end(runs: Iterable[Mapping[str, PeerState]]) -> int:
    """How many were live when the coordinator that had heard of the peers of these runs stopped."""
    peers = [peer for known in runs for peer in known.values()]
    end = max((peer.received_at for peer in peers), default=0.0)
    return sum(
        is_heard(peer.received_at, end, _AN_INTERVAL) and peer.phase not in GONE_PHASES
        for peer in peers
    )
