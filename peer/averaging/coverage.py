"""Which chunks of the text are trained, and who trains which next. Pure.

The text is an endless sequence of chunks, each the text of one inner step. What a committed round
has merged follows from its manifest, so all peers of a state agree on it; from the same record each
derives which chunks are its own, so nobody hands them out: weighted rendezvous hashing (Thaler and
Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from peer.averaging.malformed import Malformed, require
from peer.averaging.parts import MAX_TOKENS, bounded_weights
from peer.averaging.ranges import (
    MAX_CHUNK,
    Numbers,
    Ranges,
    as_gaps,
    free,
    from_gaps,
    ranges_of,
    union,
    without,
)
from swarmpb.v1 import swarm_pb2

MAX_DONE = 4096
"""Chunks that one cut may claim; work beyond counts, but its chunks are trained again."""
MAX_AHEAD = 1024
"""Chunks that a member may keep for itself until the next round."""
LEAST_AHEAD = 4
MAX_GAPS = 16_384
MAX_LEASES = 256
MAX_LEASED = 131_072
"""Chunks of all leases together: what a round may leave behind, everybody can decode."""
MAX_CLAIMS = 2**53
MAX_COVERAGE_BYTES = 4 << 20

_NO_COVERAGE = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What the bytes of something else may raise."""
_SPLIT_SHARE = 4
"""If a quarter of the work, and not of one peer alone, is gone at once, it may be a split:"""
_SPLIT_ROUNDS = 8
"""the chunks of those that are gone are left to them for so many rounds more."""
_LOOKED_AT_ONCE = 2048
_LEAST_SHARE = 1 / 64
_CLAIMS_A_DRAW = 4096
"""Then free chunks are shared anew: what a peer owns and does not train, others get to."""
_NEWCOMERS_FIELD = 2**24
"""Newcomers begin anywhere in so many chunks, far from where the others are and from each other."""


@dataclass(frozen=True)
class Lease:
    """The chunks that a member of a round goes on with."""

    tokens: int
    """Trained for that round: its share of what comes next."""
    chunks: tuple[int, ...]
    """Trained and not merged, or next in its queue; ascending."""
    missed: int = 0
    """Rounds since that went without it."""
    patience: int = 1
    """Rounds that may, before its chunks are anybody's."""


@dataclass(frozen=True)
class Chunks:
    """What a peer that has cut says of its chunks."""

    done: tuple[int, ...] = ()
    """In its cut; ascending."""
    ahead: tuple[int, ...] = ()
    """Next in its queue; ascending."""


NO_CHUNKS = Chunks()


@dataclass(frozen=True)
class Claim:
    """A member of a committed round, and what became of its chunks."""

    tokens: int
    chunks: Chunks
    merged: bool


@dataclass(frozen=True)
class Coverage:
    """What the rounds up to a state have merged of the text."""

    merged: Ranges = ()
    claims: int = 0
    """Chunks merged, each as often as it was."""
    leases: Mapping[str, Lease] = field(default_factory=dict)
    """By peer."""

    @property
    def chunks(self) -> int:
        """Distinct chunks merged."""
        return sum(stop - start for start, stop in self.merged)

    @property
    def frontier(self) -> int:
        """The first chunk that is not merged."""
        return self.merged[0][1] if self.merged and self.merged[0][0] == 0 else 0

    @property
    def twice(self) -> int:
        """How often a chunk was merged that had been before."""
        return max(0, self.claims - self.chunks)

    def merged_within(self, start: int, stop: int) -> int:
        """Distinct chunks merged from `start` to before `stop`."""
        return sum(max(0, min(b, stop) - max(a, start)) for a, b in self.merged)

    def encode(self) -> bytes:
        """The one byte string of this record."""
        leases = {
            name: [it.tokens, as_gaps(it.chunks), it.missed, it.patience]
            for name, it in self.leases.items()
        }
        bounds = as_gaps([bound for pair in self.merged for bound in pair])
        record = {"claims": self.claims, "leases": leases, "merged": bounds}
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Coverage:
        """The record in these bytes; `Malformed` if there is none. No bytes: nothing is trained."""
        if not data:
            return cls()
        require(len(data) <= MAX_COVERAGE_BYTES, "the coverage is too large")
        try:
            record = json.loads(data)
            bounds = from_gaps(record["merged"])
            leases = {
                str(name): Lease(int(tokens), tuple(from_gaps(chunks)), int(missed), int(patience))
                for name, (tokens, chunks, missed, patience) in record["leases"].items()
            }
            merged = tuple(zip(bounds[::2], bounds[1::2], strict=True))
            found = cls(merged, int(record["claims"]), leases)
        except _NO_COVERAGE as error:
            raise Malformed(f"not a coverage: {error}") from error
        require(_is_bounded(found), "the coverage has numbers out of bounds")
        require(found.encode() == data, "the coverage is not in its one form")
        return found


@lru_cache(maxsize=4)
def decoded(data: bytes) -> Coverage:
    """`Coverage.decode`, at once for the newest."""
    return Coverage.decode(data)


def after_round(before: Coverage, claims: Mapping[str, Claim]) -> Coverage:
    """The coverage after a committed round; claims: by peer, of all its members."""
    done = [chunk for claim in claims.values() if claim.merged for chunk in claim.chunks.done]
    merged = union(before.merged, ranges_of(sorted(set(done))))[:MAX_GAPS]
    known = before.leases
    absent = {name: it for name, it in known.items() if name not in claims}
    patience = _patience(known, absent)
    # both halves of a split swarm must go on with the same weights, to choose different chunks
    split = any(max(patience, it.patience) > max(1, it.missed) for it in absent.values())
    leases = {
        name: Lease(
            known[name].tokens if split and name in known else claim.tokens,
            without(_kept(claim), merged),
        )
        for name, claim in claims.items()
    }
    for name, lease in absent.items():
        patient = patience if lease.missed == 0 else lease.patience
        if lease.missed < patient:
            rest = without(lease.chunks, merged)
            leases[name] = replace(lease, chunks=rest, missed=lease.missed + 1, patience=patient)
    claimed = min(before.claims + len(done), MAX_CLAIMS)
    return Coverage(merged, claimed, _bounded(leases))


def united(one: Coverage, other: Coverage, common_claims: int) -> Coverage:
    """The coverage of two halves that went apart when `common_claims` chunks were merged."""
    merged = union(one.merged, other.merged)[:MAX_GAPS]
    claims = max(one.claims + other.claims - common_claims, one.claims, other.claims)
    claims = min(claims, MAX_CLAIMS)
    leases: dict[str, Lease] = {}
    for name in {**one.leases, **other.leases}:
        known = [it for it in (half.leases.get(name) for half in (one, other)) if it]
        lease = min(known, key=lambda it: (it.missed, -it.tokens, it.chunks))
        leases[name] = replace(lease, chunks=without(lease.chunks, merged))
    return Coverage(merged, claims, _bounded(leases))


def chunks_of(coverage: Coverage, peer_id: str, wanted: int) -> list[int]:
    """The chunks that a peer trains next, in this order: those it has a lease on, then new ones.

    Peers that were in the last round share what is free, by their work in it; others take chunks
    from far ahead, where two seldom meet, until they are in a round too.
    """
    leases = dict(coverage.leases)
    own = leases.pop(peer_id, None)
    taken = union(coverage.merged, *(ranges_of(it.chunks) for it in leases.values()))
    kept = without(own.chunks, coverage.merged) if own else ()
    taken = union(taken, ranges_of(kept))
    fresh = _shared(coverage, peer_id, taken) if own else _far_ahead(coverage, peer_id, taken)
    found = list(kept[:wanted])
    while len(found) < wanted:
        found.append(next(fresh))
    return found


def _shared(coverage: Coverage, peer_id: str, taken: Ranges) -> Iterator[int]:
    """Free chunks whose owner is this peer, ascending."""
    leases = coverage.leases
    bounded = bounded_weights([it.tokens for it in leases.values()])
    shares = dict(zip(leases, bounded, strict=True))
    least = max(1.0, _LEAST_SHARE * max(bounded))
    weights = {name: max(least, it) for name, it in shares.items()}
    draw = coverage.claims // _CLAIMS_A_DRAW
    start = coverage.frontier
    while True:
        stop = start + _LOOKED_AT_ONCE
        there = free(taken, start, stop)
        yield from there[owners(there, weights, draw) == sorted(weights).index(peer_id)].tolist()
        start = stop


def owners(chunks: Numbers, weights: Mapping[str, float], draw: int = 0) -> npt.NDArray[np.intp]:
    """For each chunk its owner's place among the sorted names, with chances as the weights."""
    scores = np.stack(
        [-weights[it] / np.log(_uniform(_seed(f"{it}{draw}"), chunks)) for it in sorted(weights)]
    )
    winners: npt.NDArray[np.intp] = scores.argmax(axis=0)
    return winners


def _far_ahead(coverage: Coverage, peer_id: str, taken: Ranges) -> Iterator[int]:
    """Free chunks, one after the other, from a place that hangs on the peer's name."""
    place = coverage.frontier // _NEWCOMERS_FIELD + 1
    chunk = place * _NEWCOMERS_FIELD + _seed(peer_id) % _NEWCOMERS_FIELD
    while True:
        yield from free(taken, chunk, chunk + _LOOKED_AT_ONCE).tolist()
        chunk += _LOOKED_AT_ONCE


def chunks_message(chunks: Chunks) -> swarm_pb2.Chunks:
    """What messages say of a peer's chunks."""
    return swarm_pb2.Chunks(done=as_gaps(chunks.done), ahead=as_gaps(chunks.ahead))


def parse_chunks(message: swarm_pb2.Chunks) -> Chunks:
    """Check a peer's chunks; `Malformed` if they are too many, or no chunks."""
    require(len(message.done) <= MAX_DONE, f"{len(message.done)} chunks in a cut")
    require(len(message.ahead) <= MAX_AHEAD, f"{len(message.ahead)} chunks ahead")
    try:
        done, ahead = from_gaps(message.done), from_gaps(message.ahead)
    except ValueError as error:
        raise Malformed(str(error)) from error
    require(all(it < MAX_CHUNK for it in (*done[-1:], *ahead[-1:])), "a chunk out of bounds")
    return Chunks(tuple(done), tuple(ahead))


# ---- arithmetic ------------------------------------------------------------------------


def _patience(leases: Mapping[str, Lease], absent: Mapping[str, Lease]) -> int:
    gone = [it.tokens for it in absent.values() if it.missed == 0]
    there = [it.tokens for it in leases.values() if it.missed == 0]
    split = len(gone) > 1 and _SPLIT_SHARE * sum(gone) >= sum(there)
    return _SPLIT_ROUNDS if split else 1


def _bounded(leases: Mapping[str, Lease]) -> dict[str, Lease]:
    """Those of the members, and as many of the absent as there is room for.

    Where all of them are too many chunks, the longest leases are of none.
    """
    first = sorted(leases, key=lambda name: (leases[name].missed, name))[:MAX_LEASES]
    found, room = {}, MAX_LEASED
    for name in sorted(first, key=lambda name: (len(leases[name].chunks), name)):
        lease = leases[name]
        room -= len(lease.chunks)
        found[name] = lease if room >= 0 else replace(lease, chunks=())
    return dict(sorted(found.items()))


def _is_bounded(coverage: Coverage) -> bool:
    """Whether rounds can have led to these numbers."""
    leases = coverage.leases.values()
    return (
        0 <= coverage.claims <= MAX_CLAIMS
        and len(coverage.merged) <= MAX_GAPS
        and len(leases) <= MAX_LEASES
        and sum(len(it.chunks) for it in leases) <= MAX_LEASED
        and all(0 <= it.tokens <= MAX_TOKENS for it in leases)
        and all(0 <= it.missed <= it.patience <= _SPLIT_ROUNDS for it in leases)
        and all(it.chunks[-1] < MAX_CHUNK for it in leases if it.chunks)
    )


def _kept(claim: Claim) -> tuple[int, ...]:
    trained = () if claim.merged else claim.chunks.done  # its work is carried
    return tuple(sorted({*trained, *claim.chunks.ahead}))


def _seed(name: str) -> int:
    return int.from_bytes(blake3(name.encode()).digest()[:8], "little")


def _uniform(seed: int, numbers: Numbers) -> npt.NDArray[np.float64]:
    """Between 0 and 1, both excluded; splitmix64 (Steele, Lea and Flood 2014)."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
