"""Whom this peer knows and where they were, and when to dial those that it misses. Pure.

A DHT forgets who did not answer for a moment, on both sides. So whoever is known and not in view
is dialled again and again: the peers that were met here, and those by which the run was joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peer.run_metadata import MAX_INITIAL_PEERS

FIRST_GREETING_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
CUT_OFF_SECONDS = 60.0
"""Without any answer for so long, the network is begun anew: p2pd dials a peer that it could not
reach ever more seldom."""
FORGET_SECONDS = 3600.0


class Acquaintances:
    """Addresses by peer id, and the pauses between two greetings. Times are monotonic seconds."""

    def __init__(self, initial: Sequence[str]) -> None:
        """initial: addresses, each ending with a peer id."""
        self._initial = {it.rpartition("/")[2]: it for it in initial}
        self._met: dict[str, tuple[str, float]] = {}
        self._live: frozenset[str] = frozenset()
        self._pause = FIRST_GREETING_SECONDS
        self._next = 0.0
        self._heard = 0.0
        self.in_touch = False
        """Whether anybody was in view or answered since this network began."""

    def begin(self, own: str, now: float) -> None:
        """A network begins, with this peer id: greet at once."""
        self._initial.pop(own, None)
        self._heard = now
        self.in_touch = False
        self.hurry(now)

    def hurry(self, now: float) -> None:
        """Greet soon, whatever pause was due."""
        self._pause = FIRST_GREETING_SECONDS
        self._next = now

    def see(self, live: Mapping[str, str], now: float) -> None:
        """These other peers are in view, at these addresses."""
        if self._live - live.keys():
            self.hurry(now)
        self._live = frozenset(live)
        self.answered(len(live), now)
        for peer_id, address in live.items():
            self._met.pop(peer_id, None)
            self._met[peer_id] = (address, now)  # the newest last
        for peer_id, (_, at) in list(self._met.items()):
            if now - at > FORGET_SECONDS or len(self._met) > MAX_INITIAL_PEERS:
                del self._met[peer_id]

    def due(self, now: float) -> tuple[str, ...]:
        """Whom to greet now; the pause before the next time grows."""
        if now < self._next:
            return ()
        self._next = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        known = self._initial | {peer_id: address for peer_id, (address, _) in self._met.items()}
        return tuple(address for peer_id, address in known.items() if peer_id not in self._live)

    def answered(self, count: int, now: float) -> None:
        """So many answered a greeting that has just ended."""
        if count:
            self._heard = now
            self.in_touch = True

    def cut_off(self, now: float) -> bool:
        """Whether nobody was in view and nobody answered for too long."""
        known = bool(self._initial or self._met)
        return known and now - self._heard > CUT_OFF_SECONDS
