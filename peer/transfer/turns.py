"""Whom a donor serves, and who waits in which order. Pure."""

from __future__ import annotations

SLOTS = 4
"""Downloads that one donor serves at a time."""
MOST_WAITING = 64
RETURN_SECONDS = 30.0
"""Whose download broke has so long to come back: it goes before the others that wait then."""


class QueueFull(Exception):
    """So many wait already that another one had better go elsewhere."""


class Turns:
    """Peers by id; each has one place."""

    def __init__(self) -> None:
        self.serving: set[str] = set()
        self._waiting: list[str] = []
        self._broke: dict[str, float] = {}
        """When the download of a peer broke that was being served."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, peer: str, now: float) -> None:
        """Take a slot or a place in the queue; who has one keeps it. Raises `QueueFull`."""
        if peer in self.serving or peer in self._waiting:
            return
        returns = now - self._broke.pop(peer, -RETURN_SECONDS) < RETURN_SECONDS
        if len(self.serving) < SLOTS:
            self.serving.add(peer)
        elif returns:
            self._waiting.insert(0, peer)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append(peer)
        else:
            raise QueueFull(f"{len(self._waiting)} peers wait here already")

    def leave(self, peer: str, now: float, *, broke: bool) -> None:
        """Give the place up; the next one gets it. broke: not by this peer's own will."""
        if peer in self._waiting:
            self._waiting.remove(peer)
            return
        self.serving.remove(peer)
        self._broke = {it: at for it, at in self._broke.items() if now - at < RETURN_SECONDS}
        if broke:
            self._broke[peer] = now
        if self._waiting:
            self.serving.add(self._waiting.pop(0))

    def position(self, peer: str) -> int:
        """1: the next one; 0: it is served."""
        return 0 if peer in self.serving else self._waiting.index(peer) + 1
