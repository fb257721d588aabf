"""The parts of the flat vector, who owns them, and what may go into a part's mean. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3

from peer.averaging.codecs import MAX_ABSOLUTE, SLAB, UNIT, Bytes, Codec, FlatVector, slabs

MAX_MEMBERS = 64
MAX_TOKENS = 2**40
"""Most tokens that a peer may claim for one cut."""
MAX_WEIGHT_OVER_MEDIAN = 10.0
PARTS_OF_AN_OWNER = 8
"""An owner answers the first parts while the last are still on their way to it."""
_SMALLEST_PART = SLAB


@dataclass(frozen=True)
class Part:
    """Values `start` to `stop` (excluded) of the flat vector, averaged by one owner."""

    index: int
    owner: int
    """A member, by its place in the roster."""
    start: int
    stop: int

    @property
    def values(self) -> int:
        return self.stop - self.start

    @property
    def where(self) -> slice:
        return slice(self.start, self.stop)


def unit_count(parameters: int) -> int:
    """The units of 4096 values that a vector of so many parameters has; the last may be shorter."""
    return -(-parameters // UNIT)


def split(parameters: int, units: Sequence[int]) -> list[Part]:
    """The parts of a vector of which member i owns `units[i]` units, in the members' order."""
    owners = sum(count > 0 for count in units)
    usual = parameters // (owners * PARTS_OF_AN_OWNER)
    most = unit_count(max(usual, _SMALLEST_PART))
    parts: list[Part] = []
    start = 0
    for owner, owned in enumerate(units):
        pieces = -(-owned // most)
        for piece in range(pieces):
            here = owned * (piece + 1) // pieces - owned * piece // pieces
            stop = min(start + here * UNIT, parameters)
            parts.append(Part(len(parts), owner, start, stop))
            start = stop
    return parts


def bounded_weights(tokens: Sequence[int]) -> list[float]:
    """The weights of a roster's members in the mean: their tokens, at most ten times the median.

    Nobody outweighs a swarm by claiming more. Members without tokens only listen, at weight 0.
    """
    working = [count for count in tokens if count > 0]
    if not working:
        return [0.0] * len(tokens)
    limit = MAX_WEIGHT_OVER_MEDIAN * statistics.median(working)
    return [float(min(count, limit)) for count in tokens]


def encoded_mean(
    codec: Codec,
    values: int,
    contributions: Sequence[tuple[Bytes, float]],
    residual: FlatVector | None,
    sent_with: Sequence[Codec] = (),
) -> tuple[bytearray, FlatVector | None]:
    """The bytes of sum(w_i x_i) / sum(w_i) + residual, and what the codec lost of it.

    contributions: checked bytes of `values` values and a weight above 0 each, at least one;
    residual: shape (values,), None with an exact codec; sent_with: the codec of each contribution,
    none for `codec`.
    """
    total = sum(weight for _, weight in contributions)
    senders = sent_with or [codec] * len(contributions)
    out = bytearray(codec.encoded_bytes(values))
    view = memoryview(out)
    lost = None if residual is None else np.empty(values, np.float32)
    mean, one = np.empty(SLAB, np.float32), np.empty(SLAB, np.float32)
    for where in slabs(values):
        count = where.stop - where.start
        into = mean[:count] if lost is None else lost[where]
        into[:] = 0 if residual is None else residual[where]
        for (data, weight), sender in zip(contributions, senders, strict=True):
            decoded = one[:count]
            sender.decode_slab(data, where.start, decoded)
            decoded *= np.float32(weight / total)
            into += decoded
        np.clip(into, -MAX_ABSOLUTE, MAX_ABSOLUTE, out=into)
        codec.encode_slab(into, where.start, view)
    return out, lost


@dataclass(frozen=True)
class LeftOut:
    """A member whose values are not in a part's mean, and why."""

    member: int
    reason: str
    part: int


@dataclass(frozen=True)
class HeldPart:
    """An owner's answer: the encoded mean of a part, and who is in it."""

    included: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    encoded: Bytes
    digest: bytes = field(init=False)
    """BLAKE3 over the included members and the encoded bytes."""

    def __post_init__(self) -> None:
        hasher = blake3(np.array(self.included, dtype="<u4").tobytes())
        hasher.update(self.encoded)
        object.__setattr__(self, "digest", hasher.digest())

    def explained(self, left_out: tuple[LeftOut, ...]) -> HeldPart:
        """The same answer, which its digest does not tell from this one, with other reasons."""
        same = copy(self)
        object.__setattr__(same, "left_out", left_out)
        return same

    def is_what(self, digest: bytes, included: tuple[int, ...]) -> bool:
        """Whether others speak of this answer: a digest can be told with other members."""
        return self.digest == digest and self.included == included


@dataclass(frozen=True)
class PartReport:
    """What a member says that it holds of a part."""

    part: int
    digest: bytes
    included: tuple[int, ...]
