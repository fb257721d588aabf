"""The table of participants, from a run's ledger: searched, sorted, a page at a time. Pure.

Ten thousand peers are sorted by one of their figures; only the rows of the page are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest, nsmallest
from typing import Any, Literal

from coordinator.domain import PeerState
from coordinator.reports.progress import Ledger
from coordinator.spectators.views import Participant, Participants
from swarmpb.redaction import redacted

Column = Literal[
    "name",
    "phase",
    "tokens",
    "share",
    "tokens_per_second",
    "train_loss",
    "round",
    "rounds",
    "rounds_missed",
    "processor",
    "cores",
    "memory_bytes",
    "accelerator",
    "version",
    "upload",
    "download",
    "reach",
    "seen_seconds_ago",
]
"""What the table can be sorted by."""

_Figure = tuple[Any, str, PeerState]
"""What a row is sorted by, and whose it is."""

FEW = 10
"""Up to one of so many rows is found faster than all are sorted."""
TEXTS_KEPT = 16_384
SHORT_ID = 6
"""So many last characters of a peer id stand for a name that nobody gave."""


@dataclass(frozen=True)
class Wanted:
    """Which rows of the table are asked for."""

    search: str = ""
    """Part of a name, peer id, phase, version or machine, whatever its case."""
    sort: Column = "tokens"
    descending: bool = True
    live: bool | None = None
    """Only those that are live, or only those that are not."""
    offset: int = 0
    limit: int = 100


def page(
    ledger: Ledger, wanted: Wanted, now: float, is_banned: Callable[[str], bool]
) -> Participants:
    """The rows asked for; who has no figure in that column comes last."""
    peers: Iterable[PeerState] = ledger.peers.values()
    if wanted.live is not None:
        peers = (peer for peer in peers if ledger.is_live(peer, now) == wanted.live)
    if wanted.search:
        part = wanted.search.casefold()
        peers = (peer for peer in peers if part in _text_of(peer))
    figure = _FIGURES[wanted.sort]
    figures = [(figure(ledger, peer, now), peer.peer_id, peer) for peer in peers]
    known = [it for it in figures if it[0] is not None]
    end = wanted.offset + wanted.limit
    rows = _first(end, known, wanted.descending)
    if len(known) < end and len(known) < len(figures):
        rows += sorted((it for it in figures if it[0] is None), key=lambda it: it[1])
    rows = rows[wanted.offset : end]
    return Participants(
        total=len(figures),
        offset=wanted.offset,
        rows=tuple(participant(ledger, peer, now, is_banned(peer.peer_id)) for _, _, peer in rows),
    )


def _first(count: int, known: list[_Figure], descending: bool) -> list[_Figure]:
    """So many in order; all are sorted only for a page far from the top."""
    # ids differ, so peers themselves are never compared
    if count * FEW < len(known):
        return (nlargest if descending else nsmallest)(count, known)
    return sorted(known, reverse=descending)


def participant(ledger: Ledger, peer: PeerState, now: float, banned: bool) -> Participant:
    """One row."""
    credit, merged = ledger.credit_of(peer.peer_id), ledger.merged_tokens
    return Participant(
        peer_id=peer.peer_id,
        name=shown_name(peer.name, peer.peer_id),
        live=ledger.is_live(peer, now),
        phase=redacted(peer.phase),
        reason=redacted(peer.reason),
        tokens=credit.tokens,
        observed_tokens=credit.observed_tokens,
        share=credit.tokens / merged if merged else 0.0,
        tokens_per_second=_speed(ledger, peer, now),
        train_loss=peer.train_loss,
        round=peer.round,
        rounds=credit.rounds,
        rounds_missed=credit.missed,
        last_missed_reason=redacted(credit.last_missed[1]),
        processor=redacted(peer.processor),
        cores=peer.cores,
        memory_bytes=peer.memory_bytes,
        accelerator=redacted(peer.accelerator),
        system=redacted(peer.system),
        version=redacted(peer.version),
        upload=peer.upload,
        download=peer.download,
        reach=redacted(peer.reach),
        energy_joules=peer.energy_joules,
        seen_seconds_ago=max(0.0, now - peer.received_at),
        joined_at=0.0,
        banned=banned,
    )


def shown_name(name: str, peer_id: str) -> str:
    """The pseudonym that a peer goes by; of who gave none, the end of its peer id."""
    return redacted(name).strip() or f"peer …{peer_id[-SHORT_ID:]}"


def _speed(ledger: Ledger, peer: PeerState, now: float) -> float:
    """Tokens per second; who is away trains none."""
    return peer.tokens_per_second if ledger.is_live(peer, now) else 0.0


def _text_of(peer: PeerState) -> str:
    return _searched(
        *(peer.name, peer.peer_id, peer.phase, peer.version),
        *(peer.processor, peer.accelerator, peer.system, peer.reach),
    )


@lru_cache(maxsize=TEXTS_KEPT)
def _searched(name: str, peer_id: str, *others: str) -> str:
    """What a search looks through; that of a peer is nearly always what it was before."""
    return " ".join((shown_name(name, peer_id), peer_id, *others)).casefold()


_FIGURES: dict[str, Callable[[Ledger, PeerState, float], Any]] = {
    "name": lambda _, peer, __: shown_name(peer.name, peer.peer_id).casefold(),
    "phase": lambda _, peer, __: peer.phase,
    "tokens": lambda ledger, peer, _: ledger.credit_of(peer.peer_id).tokens,
    "share": lambda ledger, peer, _: ledger.credit_of(peer.peer_id).tokens,
    "tokens_per_second": lambda ledger, peer, now: _speed(ledger, peer, now),
    "train_loss": lambda _, peer, __: peer.train_loss,
    "round": lambda _, peer, __: peer.round,
    "rounds_missed": lambda ledger, peer, _: ledger.credit_of(peer.peer_id).missed,
    "rounds": lambda ledger, peer, _: ledger.rounds_of(peer.peer_id),
    "processor": lambda _, peer, __: peer.processor.casefold() or None,
    "cores": lambda _, peer, __: peer.cores or None,
    "memory_bytes": lambda _, peer, __: peer.memory_bytes or None,
    "accelerator": lambda _, peer, __: peer.accelerator.casefold() or None,
    "version": lambda _, peer, __: peer.version or None,
    "upload": lambda _, peer, __: peer.upload or None,
    "download": lambda _, peer, __: peer.download or None,
    "reach": lambda _, peer, __: peer.reach or None,
    # the longest ago is what was received first
    "seen_seconds_ago": lambda _, peer, __: -peer.received_at,
}
