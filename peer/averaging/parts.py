"""Who owns which part of the flat vector, and what may go into a part's mean. Pure."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from peer.averaging.codecs import BLOCK, FlatVector

MAX_MEMBERS = 64
MAX_TOKENS = 2**40
"""Most tokens that a peer may claim for one cut."""
MAX_WEIGHT_OVER_MEDIAN = 10.0
MAX_ABSOLUTE = 1e4
"""Largest component of a pseudo-gradient that an owner accepts."""


@dataclass(frozen=True)
class Part:
    """Values `start` to `stop` (excluded) of the flat vector."""

    index: int
    start: int
    stop: int

    @property
    def values(self) -> int:
        return self.stop - self.start

    @property
    def where(self) -> slice:
        return slice(self.start, self.stop)


def split(parameters: int, members: int) -> list[Part]:
    """Equal parts cut at block boundaries; part i belongs to member i.

    There are fewer parts than members only if there are fewer blocks than members.
    """
    blocks = -(-parameters // BLOCK)
    owners = min(members, blocks)
    bounds = [blocks * index // owners * BLOCK for index in range(owners)] + [parameters]
    return [Part(index, bounds[index], bounds[index + 1]) for index in range(owners)]


def bounded_weights(tokens: Sequence[int]) -> list[float]:
    """The weights of a roster's members in the mean: their tokens, at most ten times the median.

    Nobody outweighs a swarm by claiming more. Members without tokens only listen, at weight 0.
    """
    working = [count for count in tokens if count > 0]
    if not working:
        return [0.0] * len(tokens)
    limit = MAX_WEIGHT_OVER_MEDIAN * statistics.median(working)
    return [float(min(count, limit)) for count in tokens]


def objection(values: FlatVector) -> str:
    """Why an owner leaves these values out of its mean; empty if it does not."""
    if not np.isfinite(values).all():
        return "not finite"
    if values.size and float(np.abs(values).max()) > MAX_ABSOLUTE:
        return f"a value above {MAX_ABSOLUTE:g}"
    return ""


def weighted_mean(contributions: Sequence[tuple[FlatVector, float]]) -> FlatVector:
    """sum(w_i x_i) / sum(w_i) over (values of shape (n,), weight above 0); at least one."""
    total = sum(weight for _, weight in contributions)
    mean = np.zeros_like(contributions[0][0])
    for values, weight in contributions:
        mean += values * np.float32(weight / total)
    return mean


@dataclass(frozen=True)
class LeftOut:
    """A member whose values are not in a part's mean, and why."""

    member: int
    reason: str


@dataclass(frozen=True)
class HeldPart:
    """An owner's answer: the encoded mean of a part, and who is in it."""

    included: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    encoded: bytes
    digest: bytes = field(init=False)
    """sha256 over the included members and the encoded bytes."""

    def __post_init__(self) -> None:
        hasher = hashlib.sha256(np.array(self.included, dtype="<u4").tobytes())
        hasher.update(self.encoded)
        object.__setattr__(self, "digest", hasher.digest())


@dataclass(frozen=True)
class PartReport:
    """What a member says that it holds of a part."""

    part: int
    digest: bytes
    included: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
