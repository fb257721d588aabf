"""Who came, who went, who fell silent, told once each. Pure: `now` is an argument.

What was told is the truth that a reader of the events has, so it is kept beside what is so. A peer
that comes and goes all the time is told a few times an hour; when the hour is over, what is so is
told if it is not what was told last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from coordinator.domain import Event, EventKind, PeerState
from coordinator.happenings.happening import Allowance, Happening, span
from coordinator.reports.live_peers import GONE_PHASES
from coordinator.reports.pace import LOST_SECONDS

START_SECONDS = 60.0
"""What peers have to find a coordinator that was away; they try every 20 s at least."""
HOUR = 3600.0
TOLD_OF_A_PEER = 6
"""Comings and goings of one peer in an hour,"""
TOLD_OF_A_RUN = 400
"""and of all peers of a run; the rest is told as a number."""

_HERE = frozenset({EventKind.JOINED, EventKind.BACK})
_AWAY = frozenset({EventKind.LEFT, EventKind.LOST})


class Presence:
    """The peers of one run that are here, and those that are away."""

    def __init__(self, peers: Mapping[str, PeerState], told: Iterable[Event], now: float) -> None:
        """`peers` as the ledger has them at the start, `told`: what was told of them, in order."""
        self._heard: dict[str, float] = {}
        """By peer that is here, when it was heard of; the longest silent first."""
        self._names: dict[str, str] = {}
        self._told: dict[str, EventKind] = {}
        self._of_peer: dict[str, Allowance] = {}
        self._of_run = Allowance(TOLD_OF_A_RUN, HOUR)
        self._held: Counter[EventKind] = Counter()
        self._unsettled: set[str] = set()
        """Peers of which the last word was held back."""
        for event in told:
            if event.kind in _HERE | _AWAY and event.peer_id in peers:
                self._told[event.peer_id] = event.kind
                if event.at > now - HOUR:
                    self._allowed(event.peer_id, event.at)
                    self._of_run.take(event.at)
        newest = max((peer.received_at for peer in peers.values()), default=0.0)
        for peer in peers.values():
            # without an event, from before there were any: who was heard of at the very end is here
            near_end = peer.phase not in GONE_PHASES and peer.received_at > newest - LOST_SECONDS
            silent = EventKind.JOINED if near_end else EventKind.LOST
            self._names[peer.peer_id] = peer.name
            if self._told.setdefault(peer.peer_id, silent) in _HERE:
                self._heard[peer.peer_id] = now + START_SECONDS - LOST_SECONDS

    def __len__(self) -> int:
        """How many are here."""
        return len(self._heard)

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._heard

    def reported(self, peer: PeerState, now: float) -> Iterator[Happening]:
        """A peer's present state, as the ledger has it after its report."""
        self._names[peer.peer_id] = peer.name
        if peer.phase in GONE_PHASES:
            if self._heard.pop(peer.peer_id, None) is not None:
                why = f": {peer.reason}" if peer.reason else ""
                yield from self._tell(peer.peer_id, EventKind.LEFT, f"left{why}", now)
            else:
                self._told.setdefault(peer.peer_id, EventKind.LEFT)
        elif now - peer.received_at < LOST_SECONDS:  # else an old word that came again
            here = self._heard.pop(peer.peer_id, None) is not None
            self._heard[peer.peer_id] = max(now, peer.received_at)
            if not here and peer.peer_id in self._told:
                yield from self._tell(peer.peer_id, EventKind.BACK, "is back", now)
            elif not here:
                yield from self._tell(peer.peer_id, EventKind.JOINED, "joined", now)

    def passed(
        self, known: Mapping[str, PeerState], now: float, lost_seconds: float = LOST_SECONDS
    ) -> Iterator[Happening]:
        """Who has been silent for so long at `now`, and what was held back; `known` are kept."""
        while self._heard:
            peer_id, heard = next(iter(self._heard.items()))
            if now - heard < lost_seconds:
                break
            del self._heard[peer_id]
            yield from self._tell(
                peer_id, EventKind.LOST, self._last_words(known, peer_id, lost_seconds), now
            )
        yield from self._settle(now)
        self._forget(known)

    def _last_words(self, known: Mapping[str, PeerState], peer_id: str, lost_seconds: float) -> str:
        peer = known.get(peer_id)
        last = f"; its last word was {peer.phase}" if peer is not None and peer.phase else ""
        return f"is lost: not heard of for {span(lost_seconds)}{last}"

    def _settle(self, now: float) -> Iterator[Happening]:
        """Tell what is so where the last word was held back, once that may be told."""
        for peer_id in sorted(self._unsettled):
            if not self._of_peer[peer_id].is_over(now):
                continue
            if peer_id in self._heard:
                yield from self._tell(peer_id, EventKind.BACK, "is back", now)
            else:
                text = "is gone, after coming and going"
                yield from self._tell(peer_id, EventKind.LOST, text, now)
        if self._of_run.collect(now):
            for kind, number in sorted(self._held.items()):
                yield Happening(kind, f"{number:,} times more in an hour")
            self._held.clear()

    def _tell(self, peer_id: str, kind: EventKind, what: str, now: float) -> Iterator[Happening]:
        self._unsettled.discard(peer_id)
        if peer_id in self._told and (kind in _HERE) == (self._told[peer_id] in _HERE):
            return  # what was told last is so again
        if not self._allowed(peer_id, now):
            self._unsettled.add(peer_id)
            return
        self._told[peer_id] = kind
        if not self._of_run.take(now):
            self._held[kind] += 1
            return
        last = self._of_peer[peer_id].is_spent
        more = "; it comes and goes: told again in an hour" if last else ""
        yield Happening(kind, f"{self._names.get(peer_id) or 'a peer'} {what}{more}", peer_id)

    def _allowed(self, peer_id: str, now: float) -> bool:
        allowance = self._of_peer.setdefault(peer_id, Allowance(TOLD_OF_A_PEER, HOUR))
        return allowance.take(now)

    def _forget(self, known: Mapping[str, PeerState]) -> None:
        """Let go of peers that the ledger has forgotten, now and then."""
        if len(self._told) > 2 * len(known) + 100:
            for peer_id in [it for it in self._told if it not in known and it not in self._heard]:
                for kept in (self._told, self._names, self._of_peer):
                    kept.pop(peer_id, None)
                self._unsettled.discard(peer_id)
