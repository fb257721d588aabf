"""Whom to ask for the roster of a committed attempt, and how often. Pure: `now` is an argument.

Two peers are asked, so that each member's part is told by somebody else than itself; more, if
they tell different things. Who does not answer in time has not kept it: the next one is asked.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

TELLERS = 2
MOST_TELLERS = 5
"""As long as they tell different things."""
A_REPLY = 4
PATIENCE = 15.0
"""Seconds: some reports."""
MOST_ABLE = 256
"""Peers that are kept in mind for one attempt, of which a few are asked."""
OPEN_ATTEMPTS = 16_384
OPENED_BY_ONE = 64
"""A peer keeps the manifests of as many rounds; and nobody makes up attempts without end."""

Key = tuple[int, bytes]
"""Round and attempt."""


@dataclass(eq=False)
class _Open:
    """An attempt whose roster is wanted still."""

    opener: str
    able: set[str] = field(default_factory=set)
    """Peers that reported it and were not asked yet."""
    asked: dict[str, float] = field(default_factory=dict)
    """By peer, when."""
    told: set[str] = field(default_factory=set)
    disputed: bool = False

    def lacks(self, now: float) -> int:
        """How many more are to be asked."""
        waited_for = sum(
            now - at < PATIENCE for peer, at in self.asked.items() if peer not in self.told
        )
        wanted = MOST_TELLERS if self.disputed else TELLERS
        return wanted - len(self.told) - waited_for

    @property
    def settled(self) -> bool:
        return len(self.told) >= (MOST_TELLERS if self.disputed else TELLERS)


class Asking:
    """What is wanted of the peers of one run."""

    def __init__(self) -> None:
        self._open: OrderedDict[Key, _Open] = OrderedDict()
        self._settled: OrderedDict[Key, None] = OrderedDict()
        """Of late: who reports one of them is not asked."""
        self._of_peer: dict[str, OrderedDict[Key, None]] = {}
        """What each can still be asked for, the newest last."""
        self._opened_by: dict[str, OrderedDict[Key, None]] = {}

    def heard(self, peer_id: str, round_: int, attempt: bytes) -> None:
        """A peer has reported a committed attempt: it can tell the roster."""
        key = (round_, attempt)
        if key in self._settled:
            return
        found = self._open.get(key) or self._begin(peer_id, key)
        if peer_id in found.asked or len(found.able) >= MOST_ABLE:
            return
        found.able.add(peer_id)
        mine = self._of_peer.setdefault(peer_id, OrderedDict())
        mine[key] = None
        if len(mine) > OPENED_BY_ONE:
            self._forget(peer_id, next(iter(mine)))

    def wanted(self, peer_id: str, now: float) -> tuple[bytes, ...]:
        """The attempts to ask this peer for now, the newest first; it is asked once for each."""
        asked: list[Key] = []
        for key in reversed(self._of_peer.get(peer_id, ())):
            if len(asked) < A_REPLY and self._open[key].lacks(now) > 0:
                asked.append(key)
        for key in asked:
            self._forget(peer_id, key)
            self._open[key].asked[peer_id] = now
        return tuple(attempt for _, attempt in asked)

    def expects(self, peer_id: str, round_: int, attempt: bytes) -> bool:
        """Whether a peer was asked for this roster, and has not told it yet."""
        found = self._open.get((round_, attempt))
        return found is not None and peer_id in found.asked and peer_id not in found.told

    def is_disputed(self, round_: int, attempt: bytes) -> bool:
        """Whether different rosters of an open attempt have been told."""
        found = self._open.get((round_, attempt))
        return found is not None and found.disputed

    def told(self, peer_id: str, round_: int, attempt: bytes, different: int) -> None:
        """A peer has told what was expected; different: rosters that the attempt has by now."""
        key = (round_, attempt)
        found = self._open[key]
        found.told.add(peer_id)
        found.disputed = different > 1
        if found.settled:
            self._end(key)
            self._settled[key] = None
            if len(self._settled) > OPEN_ATTEMPTS:
                self._settled.popitem(last=False)

    def _begin(self, opener: str, key: Key) -> _Open:
        found = self._open[key] = _Open(opener)
        opened = self._opened_by.setdefault(opener, OrderedDict())
        opened[key] = None
        if len(opened) > OPENED_BY_ONE:
            self._end(next(iter(opened)))
        if len(self._open) > OPEN_ATTEMPTS:
            self._end(next(iter(self._open)))
        return found

    def _end(self, key: Key) -> None:
        found = self._open.pop(key)
        _discard(self._opened_by, found.opener, key)
        for peer_id in found.able:
            _discard(self._of_peer, peer_id, key)

    def _forget(self, peer_id: str, key: Key) -> None:
        self._open[key].able.discard(peer_id)
        _discard(self._of_peer, peer_id, key)


def _discard(kept: dict[str, OrderedDict[Key, None]], peer_id: str, key: Key) -> None:
    del kept[peer_id][key]
    if not kept[peer_id]:
        del kept[peer_id]
