"""How a flat vector's values travel: the codecs, and what they have in common.

Little-endian bytes. What one machine encodes, all decode to the same bits: decoding is one
multiplication of exactly representable numbers. All work goes slab by slab, so that what is in
between stays in the processor's cache: four times as fast as whole vectors at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

FlatVector = npt.NDArray[np.float32]
Bytes = bytes | bytearray | memoryview

SLAB = 64 * 1024
"""Values worked on at a time."""
UNIT = 4096
"""Parts are cut at multiples of so many values; every codec's blocks divide it."""
BLOCK = 256
"""Values that share a scale."""
MAX_ABSOLUTE = 1e4
"""Largest value of a pseudo-gradient; larger ones are not sent, and refused from twice that on."""


class Codec(Protocol):
    """Turns float32 values into bytes and back. Slabs start at multiples of `SLAB`."""

    name: str
    lossy: bool

    def encoded_bytes(self, values: int) -> int:
        """Bytes that `values` values take."""

    def encode_slab(self, values: FlatVector, at: int, out: memoryview) -> None:
        """Write a slab, values `at` onwards, to its places in `out`; `values` becomes what is lost.

        out: the bytes of the whole vector. `ValueError`: a value is not finite, or too large.
        """

    def decode_slab(self, data: Bytes, at: int, out: FlatVector) -> None:
        """The values `at` onwards of checked bytes, as many as fit in `out`."""

    def objection(self, data: Bytes, values: int) -> str:
        """Why these bytes cannot be `values` sound values; empty if they can."""


def slabs(values: int) -> Iterator[slice]:
    """The places of the slabs in a vector of shape (values,)."""
    return (slice(at, min(at + SLAB, values)) for at in range(0, values, SLAB))


def encode(codec: Codec, values: FlatVector) -> bytearray:
    """The bytes of `values`, shape (n,), which afterwards hold what the codec has lost."""
    out = bytearray(codec.encoded_bytes(values.size))
    view = memoryview(out)
    for where in slabs(values.size):
        codec.encode_slab(values[where], where.start, view)
    return out


def decode(codec: Codec, data: Bytes, values: int) -> FlatVector:
    """The `values` values of checked bytes."""
    out = np.empty(values, np.float32)
    for where in slabs(values):
        codec.decode_slab(data, where.start, out[where])
    return out


class Fp32:
    """The values as they are."""

    name = "fp32"
    lossy = False

    def encoded_bytes(self, values: int) -> int:
        return 4 * values

    def encode_slab(self, values: FlatVector, at: int, out: memoryview) -> None:
        require_sound(np.abs(values).max(initial=0))
        np.frombuffer(out, "<f4")[at : at + values.size] = values
        values[:] = 0

    def decode_slab(self, data: Bytes, at: int, out: FlatVector) -> None:
        out[:] = np.frombuffer(data, "<f4", out.size, 4 * at)

    def objection(self, data: Bytes, values: int) -> str:
        if len(data) != self.encoded_bytes(values):
            return wrong_size(len(data), self.encoded_bytes(values))
        # as integers, magnitudes are in the same order, with infinities and NaN on top
        bits = np.frombuffer(data, "<u4")
        pieces = (bits[where] & 0x7FFFFFFF for where in slabs(values))
        largest = np.array(max((int(piece.max()) for piece in pieces), default=0), np.uint32)
        return objection_to(float(largest.view(np.float32)))


class _Blockwise:
    """A scale for each block of 256 values, then the blocks' levels; the last one is padded.

    Layout: scales (float32), levels. Blockwise absmax: Dettmers et al., arXiv:2110.02861,
    section 2.1.
    """

    name: str
    lossy = True
    block_bytes: int
    """Bytes that the levels of a block take."""

    def encoded_bytes(self, values: int) -> int:
        return _blocks(values) * (4 + self.block_bytes)

    def encode_slab(self, values: FlatVector, at: int, out: memoryview) -> None:
        blocks, scales, levels = self._places(out, at, values.size)
        padded = _padded(values, blocks)
        magnitudes = np.abs(padded)
        largest = np.maximum.reduce(magnitudes, axis=1)  # NaN if one is in the block
        require_sound(largest.max(initial=0))
        scales[:] = self._scales(largest)
        scaled = np.multiply(padded, _inverse(scales)[:, None], out=magnitudes)
        lost = self._pack(scaled, levels)
        lost *= scales[:, None]
        np.subtract(values, lost.reshape(-1)[: values.size], out=values)

    def decode_slab(self, data: Bytes, at: int, out: FlatVector) -> None:
        blocks, scales, levels = self._places(data, at, out.size)
        if out.size == blocks * BLOCK:
            self._unpack(levels, scales, out.reshape(blocks, BLOCK))
        else:
            padded = np.empty((blocks, BLOCK), np.float32)
            self._unpack(levels, scales, padded)
            out[:] = padded.reshape(-1)[: out.size]

    def objection(self, data: Bytes, values: int) -> str:
        if len(data) != self.encoded_bytes(values):
            return wrong_size(len(data), self.encoded_bytes(values))
        _, scales, levels = self._places(data, 0, values)
        if not (scales >= 0).all():  # false for NaN too
            return "a scale is negative or not a number"
        return objection_to(float(scales.max(initial=0)) * self._largest_level(levels))

    def _places(
        self, data: Bytes, at: int, values: int
    ) -> tuple[int, FlatVector, npt.NDArray[np.uint8]]:
        """How many blocks a slab has, and where its scales and levels are in the whole."""
        everything = len(data) // (4 + self.block_bytes)
        first, blocks = at // BLOCK, _blocks(values)
        scales = np.frombuffer(data, "<f4", blocks, 4 * first)
        start = 4 * everything + first * self.block_bytes
        levels = np.frombuffer(data, np.uint8, blocks * self.block_bytes, start)
        return blocks, scales, levels.reshape(blocks, self.block_bytes)

    def _scales(self, largest: FlatVector) -> FlatVector:
        """The scales of blocks with these largest magnitudes, shape (blocks,)."""
        raise NotImplementedError

    def _pack(self, scaled: FlatVector, levels: npt.NDArray[np.uint8]) -> FlatVector:
        """Write the levels nearest to `scaled`, shape (blocks, 256), and return them as floats.

        May reuse the memory of `scaled`.
        """
        raise NotImplementedError

    def _unpack(self, levels: npt.NDArray[np.uint8], scales: FlatVector, out: FlatVector) -> None:
        """Write levels times scales to `out`, shape (blocks, 256)."""
        raise NotImplementedError

    def _largest_level(self, levels: npt.NDArray[np.uint8]) -> float:
        """The largest magnitude that a level can have; infinite if one is not finite."""
        raise NotImplementedError


class Int8(_Blockwise):
    """8 bits a value: multiples of absmax / 127. Off by at most half a multiple."""

    name = "int8"
    block_bytes = BLOCK

    def _scales(self, largest: FlatVector) -> FlatVector:
        return largest * np.float32(1 / 127)

    def _pack(self, scaled: FlatVector, levels: npt.NDArray[np.uint8]) -> FlatVector:
        np.rint(scaled, out=scaled)
        np.copyto(levels.view(np.int8), scaled, casting="unsafe")
        return scaled

    def _unpack(self, levels: npt.NDArray[np.uint8], scales: FlatVector, out: FlatVector) -> None:
        np.multiply(levels.view(np.int8), scales[:, None], out=out)

    def _largest_level(self, levels: npt.NDArray[np.uint8]) -> float:
        return 128.0


class Int4(_Blockwise):
    """4 bits a value: multiples of absmax / 7. Byte i of a block has values i and 128 + i."""

    name = "int4"
    block_bytes = BLOCK // 2
    _HALF = BLOCK // 2

    def _scales(self, largest: FlatVector) -> FlatVector:
        return largest * np.float32(1 / 7)

    def _pack(self, scaled: FlatVector, levels: npt.NDArray[np.uint8]) -> FlatVector:
        np.rint(scaled, out=scaled)
        nibbles = (scaled + np.float32(8)).astype(np.uint8)
        np.left_shift(nibbles[:, self._HALF :], 4, out=levels)
        np.bitwise_or(levels, nibbles[:, : self._HALF], out=levels)
        return scaled

    def _unpack(self, levels: npt.NDArray[np.uint8], scales: FlatVector, out: FlatVector) -> None:
        np.copyto(out[:, : self._HALF], levels & 15)
        np.copyto(out[:, self._HALF :], levels >> 4)
        np.subtract(out, np.float32(8), out=out)
        np.multiply(out, scales[:, None], out=out)

    def _largest_level(self, levels: npt.NDArray[np.uint8]) -> float:
        return 8.0


class Fp16(_Blockwise):
    """16 bits a value: half precision of what is left after a power of two for each block.

    Bare half precision would lose the small values: its ordinary numbers end at 6e-5.
    """

    name = "fp16"
    block_bytes = 2 * BLOCK
    _MAGNITUDE = 0x7FFF
    _ONE = 0x3C00
    _REBIAS = np.float32(2.0**112)
    """Between the exponents of half and single precision: then their bits differ by a shift.

    NumPy's own conversion takes five times as long.
    """

    def _scales(self, largest: FlatVector) -> FlatVector:
        exponents = np.frexp(largest)[1]
        scales: FlatVector = np.ldexp(np.float32(1), np.maximum(exponents, -100))
        return scales

    def _pack(self, scaled: FlatVector, levels: npt.NDArray[np.uint8]) -> FlatVector:
        np.divide(scaled, self._REBIAS, out=scaled)
        bits = scaled.view(np.uint32)
        signs = (bits >> 16) & 0x8000
        bits &= 0x7FFFFFFF
        bits += ((bits >> 13) & 1) + 0xFFF  # to the nearest, ties to even
        bits >>= 13
        bits |= signs
        halves = levels.view("<u2")
        halves[:] = bits
        return self._single(halves, scaled)

    def _unpack(self, levels: npt.NDArray[np.uint8], scales: FlatVector, out: FlatVector) -> None:
        np.multiply(self._single(levels.view("<u2"), out), scales[:, None], out=out)

    def _single(self, halves: npt.NDArray[np.uint16], out: FlatVector) -> FlatVector:
        bits = out.view(np.uint32)
        np.copyto(bits, halves)
        signs = (bits & 0x8000) << 16
        bits &= self._MAGNITUDE
        bits <<= 13
        bits |= signs
        np.multiply(out, self._REBIAS, out=out)
        return out

    def _largest_level(self, levels: npt.NDArray[np.uint8]) -> float:
        # as integers, magnitudes are in the same order, with infinities and NaN on top
        magnitudes = levels.view("<u2") & self._MAGNITUDE
        return 1.0 if magnitudes.max(initial=0) <= self._ONE else float("inf")


def first_unsound(codec: Codec, data: Bytes, values: int) -> int | None:
    """The index of the first of `values` values that is not finite or too large; None: none is.

    For bytes of the right length.
    """
    for where in slabs(values):
        decoded = np.empty(where.stop - where.start, np.float32)
        with np.errstate(all="ignore"):  # unsound values are what is looked for
            codec.decode_slab(data, where.start, decoded)
            unsound = np.flatnonzero(~(np.abs(decoded) <= MAX_ABSOLUTE))
        if unsound.size:
            return int(where.start + unsound[0])
    return None


def objection_to(largest: float) -> str:
    """Why values with this largest magnitude are refused; empty if they are not."""
    if not np.isfinite(largest):
        return "not finite"
    # a scale bounds the values below it from above: by less than a factor of two
    return f"a value above {MAX_ABSOLUTE:g}" if largest > 2 * MAX_ABSOLUTE else ""


def require_sound(largest: float) -> None:
    """`ValueError` if values with this largest magnitude are not to be sent."""
    if not largest <= MAX_ABSOLUTE:  # true for NaN too
        raise ValueError(objection_to(3 * float(largest)))


def wrong_size(found: int, expected: int) -> str:
    """The objection to bytes of another length."""
    return f"{found} bytes instead of {expected}"


def _blocks(values: int) -> int:
    return -(-values // BLOCK)


def _padded(values: FlatVector, blocks: int) -> FlatVector:
    missing = blocks * BLOCK - values.size
    return (np.pad(values, (0, missing)) if missing else values).reshape(blocks, BLOCK)


def _inverse(scales: FlatVector) -> FlatVector:
    # a block of subnormals has a scale without an inverse: it travels as zeros
    tiny = np.float32(1e-36)
    inverse: FlatVector = np.where(scales > tiny, np.float32(1) / np.maximum(scales, tiny), 0)
    return inverse.astype(np.float32, copy=False)
