"""How a flat vector's values travel. Little-endian bytes; what one machine encodes, all decode
to the same bits: decoding is one multiplication of exactly representable numbers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

FlatVector = npt.NDArray[np.float32]

BLOCK = 256
"""Values that share a scale; parts are cut at multiples of it."""


class Codec(Protocol):
    """Turns float32 values, shape (n,), into bytes and back."""

    name: str
    lossy: bool

    def encoded_bytes(self, values: int) -> int:
        """Bytes that `values` values take."""

    def encode(self, values: FlatVector) -> bytes:
        """The bytes of finite values; `ValueError` if one is not finite."""

    def decode(self, data: bytes) -> FlatVector:
        """The values of `encode`'s bytes; `ValueError` if they cannot be such."""


class Fp32:
    """The values as they are."""

    name = "fp32"
    lossy = False

    def encoded_bytes(self, values: int) -> int:
        return 4 * values

    def encode(self, values: FlatVector) -> bytes:
        _require_finite(values)
        return values.astype("<f4", copy=False).tobytes()

    def decode(self, data: bytes) -> FlatVector:
        if len(data) % 4:
            raise ValueError(f"{len(data)} bytes are no float32 values")
        values: FlatVector = np.frombuffer(data, dtype="<f4").astype(np.float32)
        _require_finite(values)
        return values


class Int8:
    """8 bits a value and a float32 scale for each block of 256: absmax / 127.

    Layout: count of values (uint32), all scales, all values. Error per value: at most half a
    scale (values above 3.3e38 and blocks below 1.3e-34 aside: they are clipped and travel as
    zeros). Blockwise absmax: Dettmers et al., arXiv:2110.02861, section 2.1.
    """

    name = "int8"
    lossy = True
    _HEADER = 4
    _LARGEST_SCALE = np.finfo(np.float32).max / np.float32(128)
    """Whatever integer it is multiplied with, the product is finite."""

    def encoded_bytes(self, values: int) -> int:
        return self._HEADER + 4 * _blocks(values) + values

    def encode(self, values: FlatVector) -> bytes:
        _require_finite(values)
        blocks = _padded(values).reshape(-1, BLOCK)
        scales = np.minimum(np.abs(blocks).max(axis=1) / np.float32(127), self._LARGEST_SCALE)
        # a block of subnormals has a scale that rounds to nothing: it travels as zeros
        inverse = np.where(scales > 1e-36, 1 / np.maximum(scales, np.float32(1e-36)), 0)
        quantised = np.rint(blocks * inverse.astype(np.float32)[:, None])
        integers = np.clip(quantised, -127, 127).astype(np.int8).reshape(-1)[: values.size]
        header = values.size.to_bytes(4, "little")
        return b"".join((header, scales.astype("<f4").tobytes(), integers.tobytes()))

    def decode(self, data: bytes) -> FlatVector:
        count = int.from_bytes(data[: self._HEADER], "little")
        if len(data) != self.encoded_bytes(count):
            raise ValueError(f"{len(data)} bytes are no int8 part")
        scales = np.frombuffer(data, dtype="<f4", count=_blocks(count), offset=self._HEADER)
        if not ((scales >= 0) & (scales <= self._LARGEST_SCALE)).all():
            raise ValueError("a scale is negative, too large or not a number")
        integers = np.frombuffer(data, dtype=np.int8, offset=self._HEADER + scales.nbytes)
        blocks = _padded(integers.astype(np.float32)).reshape(-1, BLOCK)
        decoded: FlatVector = (blocks * scales.astype(np.float32)[:, None]).reshape(-1)[:count]
        return decoded


def codec_named(name: str) -> Codec:
    """The codec of a run spec's `round.codec`; `KeyError` for an unknown one."""
    codecs: dict[str, Codec] = {"fp32": Fp32(), "int8": Int8()}
    return codecs[name]


def _blocks(values: int) -> int:
    return -(-values // BLOCK)


def _padded(values: FlatVector) -> FlatVector:
    missing = -values.size % BLOCK
    return np.pad(values, (0, missing)) if missing else values


def _require_finite(values: FlatVector) -> None:
    if not np.isfinite(values).all():
        raise ValueError("not finite")
