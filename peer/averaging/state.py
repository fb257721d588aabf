"""The global state of a run, its digest, the outer step, and what a peer adopts. No I/O.

Nothing here uses a fused multiply-add: each operation is rounded by itself, so that all
processors agree to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3

from peer.averaging.codecs import SLAB, Bytes, Codec, FlatVector, slabs
from peer.averaging.lineage import Header
from peer.averaging.parts import Part
from peer.averaging.vectors import empty_vector

STATE_BLOCK_BYTES = 512 * 1024


@dataclass(frozen=True)
class GlobalState:
    """What every peer of a run agrees on. The vectors have shape (n,) and are never written to."""

    round: int
    """Committed rounds so far."""
    tokens: int
    """Tokens merged in the run so far."""
    parameters: FlatVector
    momentum: FlatVector
    parents: tuple[bytes, ...] = ()
    """Digests of the states that this one was made from."""
    coverage: bytes = b""
    """Which chunks of the text are trained, as `coverage.Coverage` encodes it."""
    block_digests: tuple[bytes, ...] = field(init=False, repr=False)
    header: Header = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = block_count(self.parameters.size)
        blocks = tuple(blake3(self.block(index)).digest() for index in range(count))
        object.__setattr__(self, "block_digests", blocks)
        header = header_of(
            self.round, self.tokens, self.parameters.size, self.parents, self.coverage, blocks
        )
        object.__setattr__(self, "header", header)

    @property
    def digest(self) -> bytes:
        return self.header.digest

    def block(self, index: int) -> memoryview:
        """The bytes of a block; `IndexError` if there is none with this index."""
        start, stop = block_place(self.parameters.size, index)
        vector, size = self.parameters, 4 * self.parameters.size
        if start >= size:
            vector, start, stop = self.momentum, start - size, stop - size
        return np.ascontiguousarray(vector, dtype="<f4").data.cast("B")[start:stop]


def block_count(parameters: int) -> int:
    """Blocks of a state with so many parameters, momentum included."""
    return 2 * -(-4 * parameters // STATE_BLOCK_BYTES)


def block_place(parameters: int, index: int) -> tuple[int, int]:
    """Where a block lies in the bytes of the parameters and, behind them, of the momentum."""
    each = block_count(parameters) // 2
    if not 0 <= index < 2 * each:
        raise IndexError(f"there is no block {index}")
    base = 4 * parameters * (index // each)
    start = STATE_BLOCK_BYTES * (index % each)
    return base + start, base + min(start + STATE_BLOCK_BYTES, 4 * parameters)


def header_of(
    round_: int,
    tokens: int,
    parameters: int,
    parents: tuple[bytes, ...],
    coverage: bytes,
    blocks: Iterable[bytes],
) -> Header:
    """The header of a state, from what describes it; blocks: the digests of all blocks."""
    blocks_digest = blake3(b"".join(blocks)).digest()
    return Header(round_, tokens, parameters, parents, blake3(coverage).digest(), blocks_digest)


def outer_step(
    old: tuple[FlatVector, FlatVector],
    gradient: FlatVector,
    learning_rate: float,
    momentum_factor: float,
    new: tuple[FlatVector, FlatVector],
) -> None:
    """Nesterov on the averaged pseudo-gradient, (parameters, momentum), shape (n,) each, to `new`.

    m' = mu m + g;  theta' = theta - lr (g + mu m'). DiLoCo (arXiv:2311.08105), algorithm 1,
    line 14, with Nesterov momentum as in Sutskever et al. 2013 in PyTorch's form. `gradient` is
    used up.
    """
    rate, factor = np.float32(learning_rate), np.float32(momentum_factor)
    (parameters, momentum), (new_parameters, new_momentum) = old, new
    np.multiply(momentum, factor, out=new_momentum)
    new_momentum += gradient
    np.multiply(new_momentum, factor, out=new_parameters)
    gradient += new_parameters
    gradient *= rate
    np.subtract(parameters, gradient, out=new_parameters)


def advance(
    state: GlobalState,
    codec: Codec,
    answers: Iterable[tuple[Part, Bytes | None]],
    tokens: int,
    learning_rate: float,
    momentum_factor: float,
    coverage: bytes = b"",
) -> GlobalState:
    """The state after a round: the outer step on each averaged part, void parts as they were.

    answers: every part with the checked bytes of its mean, None for a void one.
    """
    size = state.parameters.size
    parameters, momentum = empty_vector(size), empty_vector(size)
    spare = np.empty(SLAB, np.float32)
    for part, data in answers:
        if data is None:
            parameters[part.where] = state.parameters[part.where]
            momentum[part.where] = state.momentum[part.where]
            continue
        for where in slabs(part.values):
            at = slice(part.start + where.start, part.start + where.stop)
            gradient = spare[: where.stop - where.start]
            codec.decode_slab(data, where.start, gradient)
            outer_step(
                (state.parameters[at], state.momentum[at]),
                gradient,
                learning_rate,
                momentum_factor,
                (parameters[at], momentum[at]),
            )
    parents = (state.digest,)
    return GlobalState(state.round + 1, tokens, parameters, momentum, parents, coverage)


MOST_GAIN = 10
"""Times its own: whatever the other half says it has merged, it weighs no more."""


def united(one: GlobalState, other: GlobalState, common: Header, coverage: bytes) -> GlobalState:
    """One state of two that went apart at `common`: their mean, weighted by tokens since then.

    one: a state that a round has just led to. As in an outer step, progress since a common start
    is averaged: theta_c + sum w (theta - theta_c) is the weighted mean of the states themselves.
    """
    gain = max(1, one.tokens - common.tokens)
    told = min(other.tokens - common.tokens, MOST_GAIN * gain)
    share = np.float32(told / (gain + told))

    def mean(ours: FlatVector, theirs: FlatVector) -> FlatVector:
        found = theirs - ours
        found *= share
        found += ours
        return found

    return GlobalState(
        round=max(one.round, other.round + 1),
        tokens=one.tokens + other.tokens - common.tokens,
        parameters=mean(one.parameters, other.parameters),
        momentum=mean(one.momentum, other.momentum),
        parents=(*one.parents, other.digest),
        coverage=coverage,
    )


def adoption_shift(
    old: GlobalState, new: GlobalState, cut: FlatVector, included: Iterable[Part]
) -> FlatVector:
    """What a peer adds to its parameters to adopt `new`, shape (n,).

    Where its work went into the mean: theta' - phi_cut, so that only the inner work since the
    cut stays on top. Elsewhere: theta' - theta, so that all its work rides along. `included`:
    the parts of its work in the mean, in the order of the vector.
    """
    shift = empty_vector(cut.size)
    at = 0
    for part in included:
        _subtract(new.parameters, old.parameters, slice(at, part.start), shift)
        _subtract(new.parameters, cut, part.where, shift)
        at = part.stop
    _subtract(new.parameters, old.parameters, slice(at, None), shift)
    return shift


def _subtract(a: FlatVector, b: FlatVector, where: slice, out: FlatVector) -> None:
    np.subtract(a[where], b[where], out=out[where])


def is_finite(values: FlatVector) -> bool:
    """Whether neither a value nor their sum is infinite or NaN; faster than asking each one."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum()))
