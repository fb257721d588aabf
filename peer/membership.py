"""The swarm view: what the live peers' records say, and what follows from it. Pure.

Everybody derives the same view from the same records, so nobody has to be asked who leads or
which state is the run's. Every number in a record is bounded before it is used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from peer.averaging.links import UNKNOWN, Link, parse_link
from peer.averaging.malformed import DIGEST_BYTES
from peer.orders import NO_RANK, Rank
from swarmpb.addresses import dialable
from swarmpb.spec import RoundSpec
from swarmpb.v1 import swarm_pb2

RECORD_SECONDS = 12.0
"""A peer whose newest record is older is gone."""
CLOCK_TOLERANCE = 3.0
MAX_ROUND = 2**40
MAX_TOKENS_PER_SECOND = 1e9
MAX_TEXT = 200
MAX_ADDRESSES = 8
MAX_RECENT = 16
LEADER_PATIENCE = 3.0
"""Seconds after which the next peer in the order leads instead of a silent one."""
AT_WORK = frozenset({"training", "averaging", "paused"})
"""Those that can be asked for a round. A paused one refuses, and counts: of a swarm in which some
have heard of the end of a pause and some have not, no part makes rounds that the others do not."""
GONE = frozenset({"stopped"})


@dataclass(frozen=True)
class Position:
    """A global state, named."""

    round: int
    digest: bytes


@dataclass(frozen=True)
class PeerFacts:
    """A peer as its own record describes it."""

    peer_id: str
    position: Position | None
    phase: str
    pending_tokens: int
    tokens_per_second: float
    written_at: float
    addresses: tuple[str, ...] = ()
    link: Link = UNKNOWN
    recent: tuple[bytes, ...] = ()
    """Digests of states that its own descends from, the newest first."""
    resumed: bool = False
    """Its state is from a checkpoint; it has finished no round since."""
    yields: bool = False
    """Its half of a split swarm waits to be taken into the other."""
    orders: Rank = NO_RANK
    """Of the newest orders that it knows."""
    certificate: bytes = b""
    """What lets it take part in a run by invitation; not checked."""

    def expected_tokens(self, now: float) -> float:
        """Tokens trained since its last round by now, as far as the record lets one guess."""
        age = min(max(0.0, now - self.written_at), RECORD_SECONDS)
        return self.pending_tokens + self.tokens_per_second * age


@dataclass(frozen=True)
class SwarmView:
    """The live peers of a run, the viewer included if its record has arrived."""

    peers: tuple[PeerFacts, ...] = ()
    outsiders: tuple[PeerFacts, ...] = ()
    """Live as well, but they may not take part: what they say is not believed."""

    def orders_named(self) -> dict[str, Rank]:
        """By peer id; also outsiders', since an outsider may be one by old orders only."""
        return {it.peer_id: it.orders for it in (*self.peers, *self.outsiders)}

    def others(self, own: str) -> tuple[PeerFacts, ...]:
        return tuple(peer for peer in self.peers if peer.peer_id != own)


def parse_record(peer_id: str, payload: bytes, now: float) -> PeerFacts | None:
    """A peer's record if it is its own, fresh and within bounds; now: unix seconds."""
    try:
        record = swarm_pb2.PeerRecord.FromString(payload)
    except DecodeError:
        return None
    age = now - record.written_at
    if record.peer_id != peer_id or not -CLOCK_TOLERANCE <= age <= RECORD_SECONDS:
        return None
    speed = record.tokens_per_second
    if record.round > MAX_ROUND or not (math.isfinite(speed) and speed >= 0):
        return None
    has_state = len(record.digest) == DIGEST_BYTES
    position = Position(record.round, record.digest) if has_state else None
    return PeerFacts(
        peer_id,
        position,
        record.phase[:MAX_TEXT],
        min(record.pending_tokens, MAX_ROUND),
        min(speed, MAX_TOKENS_PER_SECOND),
        record.written_at,
        dialable(record.addresses[:MAX_ADDRESSES]),
        parse_link(record.link),
        tuple(it for it in record.recent[:MAX_RECENT] if len(it) == DIGEST_BYTES),
        record.resumed,
        record.yields,
        (record.orders_serial, record.orders_sequence),
        record.certificate,
    )


def everybody(peer_id: str, certificate: bytes) -> bool:
    """Whom a run without orders lets take part."""
    return True


def view_of(
    payloads: Mapping[str, bytes],
    now: float,
    admits: Callable[[str, bytes], bool] = everybody,
) -> SwarmView:
    """The view that the live records of a run give; now: unix seconds.

    admits: whether a peer id with this certificate may take part.
    """
    parsed = (parse_record(peer_id, payload, now) for peer_id, payload in payloads.items())
    alive = [facts for facts in parsed if facts is not None and facts.phase not in GONE]
    alive.sort(key=lambda facts: facts.peer_id)
    here = [admits(facts.peer_id, facts.certificate) for facts in alive]
    return SwarmView(
        tuple(facts for facts, admitted in zip(alive, here, strict=True) if admitted),
        tuple(facts for facts, admitted in zip(alive, here, strict=True) if not admitted),
    )


def holders_of(others: Sequence[PeerFacts], at: Position) -> list[str]:
    """The peers that hold a state."""
    return [peer.peer_id for peer in others if peer.position == at]


def at_work(others: Sequence[PeerFacts]) -> list[PeerFacts]:
    """The peers that train, wherever they stand."""
    return [peer for peer in others if peer.phase in AT_WORK]


def companions(others: Sequence[PeerFacts], own: Position) -> list[str]:
    """The peers to ask for a round: at work and not behind; those that stand elsewhere refuse."""
    return [
        peer.peer_id
        for peer in others
        if peer.phase in AT_WORK
        and not peer.yields
        and peer.position is not None
        and peer.position.round >= own.round
    ]


def leading_order(
    run_id: str,
    round_: int,
    peers: Collection[str],
    failed: Collection[str] = (),
    hidden: Collection[str] = (),
) -> list[str]:
    """Who leads a round, and who instead if it does not: by rendezvous hashing.

    failed: peers whose attempt at this round was void already; they come last. hidden: those that
    cannot be dialled; before them, as one of them could not call the others of them.
    """

    def rank(peer_id: str) -> tuple[bool, bool, bytes]:
        key = f"{run_id}:{round_}:{peer_id}".encode()
        return peer_id in failed, peer_id in hidden, hashlib.sha256(key).digest()

    return sorted(peers, key=rank)


def cut_is_due(
    others: Sequence[PeerFacts],
    own: Position,
    own_tokens: int,
    elapsed: float,
    shortest: float,
    spec: RoundSpec,
    now: float,
) -> bool:
    """Whether the swarm has trained enough for a round, or long enough.

    elapsed: seconds since this peer adopted `own`; shortest: the least seconds between two cuts;
    now: unix seconds.
    """
    if elapsed < min(shortest, spec.max_seconds):
        return False
    if elapsed >= spec.max_seconds:
        return True
    return trained_for_round(others, own, own_tokens, now) >= spec.target_tokens


def trained_for_round(
    others: Sequence[PeerFacts], own: Position, own_tokens: int, now: float
) -> float:
    """Tokens that those at `own` have trained since; now: unix seconds."""
    together = [peer for peer in others if peer.position == own]
    return own_tokens + sum(peer.expected_tokens(now) for peer in together)


def seconds_to_cut(
    others: Sequence[PeerFacts],
    own: Position,
    own_tokens: int,
    own_speed: float,
    elapsed: float,
    shortest: float,
    spec: RoundSpec,
    now: float,
) -> float:
    """When `cut_is_due` will hold if all go on as fast as now; 0: it does.

    own_speed: tokens per second; the rest as for `cut_is_due`.
    """
    missing = spec.target_tokens - trained_for_round(others, own, own_tokens, now)
    speed = own_speed + speed_of(peer for peer in others if peer.position == own)
    for_tokens = max(0.0, missing) / speed if speed > 0 else math.inf if missing > 0 else 0.0
    sooner = max(for_tokens, min(shortest, spec.max_seconds) - elapsed)
    return max(0.0, min(sooner, spec.max_seconds - elapsed))


def speed_of(peers: Iterable[PeerFacts]) -> float:
    """Tokens per second of those that are at work, as they say."""
    return sum(peer.tokens_per_second for peer in peers if peer.phase in AT_WORK)
