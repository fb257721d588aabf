"""Which chunks of the text are trained, and who trains which next. Pure.

The text is an endless sequence of chunks, each the text of one inner step. What a committed round
has merged follows from its manifest, so all peers of a state agree on it; from the same record each
derives which chunks are its own, so nobody hands them out: weighted rendezvous hashing (Thaler and
Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from peer.averaging.malformed import Malformed, require
from swarmpb.v1 import swarm_pb2

MAX_CHUNK = 2**53
MAX_DONE = 4096
"""Chunks that one cut may claim; work beyond counts, but its chunks are trained again."""
MAX_AHEAD = 1024
"""Chunks that a member may keep for itself until the next round."""
LEAST_AHEAD = 4
MAX_GAPS = 16_384
MAX_LEASES = 256
MAX_COVERAGE_BYTES = 4 << 20

_SPLIT_SHARE = 3
"""If a third of the work, and not of one peer alone, is gone at once, the swarm may have split:"""
_SPLIT_ROUNDS = 8
"""the chunks of those that are gone are left to them for so many rounds more."""
_LOOKED_AT_ONCE = 2048
_LEAST_SHARE = 1 / 64
_SHARED_REACH = 8
"""How far ahead of the frontier the members of rounds seldom look, in numbers of leased chunks."""
_NEWCOMERS_SPAN = 256
"""Where newcomers look, the same."""

Ranges = tuple[tuple[int, int], ...]
"""Ascending and apart: first chunk, and the one behind the last."""
Numbers = npt.NDArray[np.uint64]


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
    leases: Mapping[str, Lease] | None = None
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
            for name, it in (self.leases or {}).items()
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
            found = cls(
                tuple(zip(bounds[::2], bounds[1::2], strict=True)), record["claims"], leases
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Malformed(f"not a coverage: {error}") from error
        require(found.encode() == data, "the coverage is not in its one form")
        return found


@lru_cache(maxsize=4)
def decoded(data: bytes) -> Coverage:
    """`Coverage.decode`, at once for the newest."""
    return Coverage.decode(data)


def after_round(before: Coverage, claims: Mapping[str, Claim]) -> Coverage:
    """The coverage after a committed round; claims: by peer, of all its members."""
    done = [chunk for claim in claims.values() if claim.merged for chunk in claim.chunks.done]
    merged = _union(before.merged, _ranges(sorted(set(done))))[:MAX_GAPS]
    leases = {
        name: Lease(claim.tokens, _without(_kept(claim), merged)) for name, claim in claims.items()
    }
    absent = {name: it for name, it in (before.leases or {}).items() if name not in claims}
    patience = _patience(before.leases or {}, absent)
    for name, lease in absent.items():
        patient = patience if lease.missed == 0 else lease.patience
        if lease.missed < patient:
            rest = _without(lease.chunks, merged)
            leases[name] = replace(lease, chunks=rest, missed=lease.missed + 1, patience=patient)
    return Coverage(merged, before.claims + len(done), _bounded(leases))


def united(one: Coverage, other: Coverage, common_claims: int) -> Coverage:
    """The coverage of two halves that went apart when `common_claims` chunks were merged."""
    merged = _union(one.merged, other.merged)[:MAX_GAPS]
    claims = max(one.claims + other.claims - common_claims, one.claims, other.claims)
    leases: dict[str, Lease] = {}
    for name in {**(one.leases or {}), **(other.leases or {})}:
        known = [it for it in ((half.leases or {}).get(name) for half in (one, other)) if it]
        lease = min(known, key=lambda it: (it.missed, -it.tokens, it.chunks))
        leases[name] = replace(lease, chunks=_without(lease.chunks, merged))
    return Coverage(merged, claims, _bounded(leases))


def chunks_of(coverage: Coverage, peer_id: str, wanted: int) -> list[int]:
    """The chunks that a peer trains next, in this order: those it has a lease on, then new ones.

    Peers that were in the last round share what is free, by their work in it; others take chunks
    from far ahead, where two seldom meet, until they are in a round too.
    """
    leases = dict(coverage.leases or {})
    own = leases.pop(peer_id, None)
    taken = _union(coverage.merged, *(_ranges(it.chunks) for it in leases.values()))
    kept = _without(own.chunks, coverage.merged) if own else ()
    taken = _union(taken, _ranges(kept))
    fresh = _shared(coverage, peer_id, taken) if own else _far_ahead(coverage, peer_id, taken)
    found = list(kept[:wanted])
    while len(found) < wanted:
        found.append(next(fresh))
    return found


def _shared(coverage: Coverage, peer_id: str, taken: Ranges) -> Iterator[int]:
    """Free chunks whose owner is this peer, ascending."""
    leases = coverage.leases or {}
    least = max(1.0, _LEAST_SHARE * max(it.tokens for it in leases.values()))
    weights = {name: max(least, it.tokens) for name, it in leases.items()}
    start = coverage.frontier
    while True:
        stop = start + _LOOKED_AT_ONCE
        free = _free(taken, start, stop)
        yield from free[owners(free, weights) == sorted(weights).index(peer_id)].tolist()
        start = stop


def owners(chunks: Numbers, weights: Mapping[str, float]) -> npt.NDArray[np.intp]:
    """For each chunk its owner's place among the sorted names, with chances as the weights."""
    scores = np.stack(
        [-weights[name] / np.log(_uniform(_seed(name), chunks)) for name in sorted(weights)]
    )
    winners: npt.NDArray[np.intp] = scores.argmax(axis=0)
    return winners


def _far_ahead(coverage: Coverage, peer_id: str, taken: Ranges) -> Iterator[int]:
    """Free chunks at places that hang on the peer's name, each once."""
    busy = max(16, sum(len(it.chunks) for it in (coverage.leases or {}).values()))
    start, span = coverage.frontier + _SHARED_REACH * busy, _NEWCOMERS_SPAN * busy
    seen: set[int] = set()
    turn, seed = 0, _seed(peer_id)
    while True:
        draws = _uniform(seed, np.arange(turn, turn + 64, dtype=np.uint64))
        for place in (draws * span).astype(np.uint64).tolist():
            chunk = start + place
            if chunk not in seen and not _within(taken, chunk):
                seen.add(chunk)
                yield chunk
        turn, span = turn + 64, span + 64  # it never runs dry


def chunks_message(chunks: Chunks) -> swarm_pb2.Chunks:
    """What messages say of a peer's chunks."""
    return swarm_pb2.Chunks(done=as_gaps(chunks.done), ahead=as_gaps(chunks.ahead))


def parse_chunks(message: swarm_pb2.Chunks) -> Chunks:
    """Check a peer's chunks; `Malformed` if they are too many, or no chunks."""
    require(len(message.done) <= MAX_DONE, f"{len(message.done)} chunks in a cut")
    require(len(message.ahead) <= MAX_AHEAD, f"{len(message.ahead)} chunks ahead")
    try:
        return Chunks(tuple(from_gaps(message.done)), tuple(from_gaps(message.ahead)))
    except ValueError as error:
        raise Malformed(str(error)) from error


# ---- arithmetic ------------------------------------------------------------------------


def _patience(leases: Mapping[str, Lease], absent: Mapping[str, Lease]) -> int:
    gone = [it.tokens for it in absent.values() if it.missed == 0]
    there = [it.tokens for it in leases.values() if it.missed == 0]
    split = len(gone) > 1 and _SPLIT_SHARE * sum(gone) >= sum(there)
    return _SPLIT_ROUNDS if split else 1


def _bounded(leases: Mapping[str, Lease]) -> dict[str, Lease]:
    """Those of the members, and as many of the absent as there is room for."""
    first = sorted(leases, key=lambda name: (leases[name].missed, name))[:MAX_LEASES]
    return {name: leases[name] for name in sorted(first)}


def _kept(claim: Claim) -> tuple[int, ...]:
    trained = () if claim.merged else claim.chunks.done  # its work is carried
    return tuple(sorted({*trained, *claim.chunks.ahead}))


def _ranges(chunks: Sequence[int]) -> Ranges:
    """Ascending distinct chunks as ranges."""
    found: list[tuple[int, int]] = []
    for chunk in chunks:
        if found and found[-1][1] == chunk:
            found[-1] = (found[-1][0], chunk + 1)
        else:
            found.append((chunk, chunk + 1))
    return tuple(found)


def _union(*several: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for start, stop in sorted(pair for ranges in several for pair in ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return tuple(found)


def _within(ranges: Ranges, chunk: int) -> bool:
    place = np.searchsorted([start for start, _ in ranges], chunk, side="right")
    return bool(place) and chunk < ranges[int(place) - 1][1]


def _without(chunks: Iterable[int], ranges: Ranges) -> tuple[int, ...]:
    """Those that are in no range."""
    numbers = np.fromiter(chunks, np.int64)
    if not ranges or not numbers.size:
        return tuple(numbers.tolist())
    starts, stops = np.array(ranges, np.int64).T
    place = np.searchsorted(starts, numbers, side="right") - 1
    inside = (place >= 0) & (numbers < stops[np.maximum(place, 0)])
    return tuple(numbers[~inside].tolist())


def _free(taken: Ranges, start: int, stop: int) -> Numbers:
    near = [pair for pair in taken if pair[1] > start and pair[0] < stop]
    return np.array(_without(range(start, stop), tuple(near)), np.uint64)


def as_gaps(numbers: Sequence[int]) -> list[int]:
    """Each number less the one before it."""
    return [now - then for then, now in zip((0, *numbers), numbers, strict=False)]


def from_gaps(gaps: Sequence[int]) -> list[int]:
    """What `as_gaps` was made of; `ValueError` if those are not ascending chunks."""
    found = list(accumulate(int(gap) for gap in gaps))
    if any(gap <= 0 for gap in gaps[1:]) or any(not 0 <= it <= MAX_CHUNK for it in found):
        raise ValueError("chunks are not ascending, or out of bounds")
    return found


def _seed(name: str) -> int:
    return int.from_bytes(blake3(name.encode()).digest()[:8], "little")


def _uniform(seed: int, numbers: Numbers) -> npt.NDArray[np.float64]:
    """Between 0 and 1, both excluded; splitmix64 (Steele, Lea and Flood 2014)."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
