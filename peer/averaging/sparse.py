"""A codec for slow links: only the largest values travel, the rest waits in the residual.

Top-k by magnitude as in Lin et al., arXiv:1712.01887; chunks and few-bit values as in SparseLoCo,
Sarfi et al., arXiv:2508.15706. Makes sense with error feedback only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from peer.averaging.codecs import Bytes, FlatVector, objection_to, require_sound, wrong_size

CHUNK = 4096
_INDEX_BITS = 12
_ENTRY_BITS = _INDEX_BITS + 2
_SIGN, _LARGE = 1 << _INDEX_BITS, 1 << (_INDEX_BITS + 1)
_WEIGHTS = (1 << np.arange(_ENTRY_BITS)).astype(np.uint16)

Chunks = npt.NDArray[np.float32]
"""Shape (chunks, 4096)."""
Entries = npt.NDArray[np.uint16]
"""Shape (chunks, kept): index, sign and class of magnitude of a kept value."""


class Sparse:
    """The `kept` largest values of each chunk of 4096, 2 bits each: a sign and one of two sizes.

    Layout, a record for each chunk: the two sizes (float32, the smaller first), then entries of
    14 bits, ascending by index: index in the chunk, negative, larger size. A size is the mean of
    the magnitudes in its class, which are those below and above the mean of all kept ones.
    """

    lossy = True

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
        self._kept = kept
        self._record = 8 + kept * _ENTRY_BITS // 8

    def encoded_bytes(self, values: int) -> int:
        return _chunks(values) * self._record

    def encode_slab(self, values: FlatVector, at: int, out: memoryview) -> None:
        chunks = _padded(values)
        magnitudes = np.abs(chunks)
        require_sound(float(magnitudes.max(initial=0)))
        indexes = _largest(magnitudes, self._kept)
        chosen = np.take_along_axis(magnitudes, indexes, axis=1)
        large = chosen > chosen.mean(axis=1, keepdims=True, dtype=np.float32)
        sizes = np.stack([_mean_where(chosen, ~large), _mean_where(chosen, large)], axis=1)
        negative = np.take_along_axis(chunks, indexes, axis=1) < 0
        entries = indexes.astype(np.uint16)
        entries += negative * np.uint16(_SIGN)
        entries += large * np.uint16(_LARGE)
        records = self._records(out, at, len(chunks))
        records[:, :8] = sizes.astype("<f4").view(np.uint8)
        records[:, 8:] = _packed(entries)
        lost = np.take_along_axis(chunks, indexes, axis=1) - _decoded(entries, sizes)
        np.put_along_axis(chunks, indexes, lost, axis=1)
        values[:] = chunks.reshape(-1)[: values.size]

    def decode_slab(self, data: Bytes, at: int, out: FlatVector) -> None:
        records = self._records(data, at, _chunks(out.size))
        entries, sizes = self._entries(records), _sizes(records)
        chunks = np.zeros((len(records), CHUNK), np.float32)
        np.put_along_axis(chunks, _indexes(entries), _decoded(entries, sizes), axis=1)
        out[:] = chunks.reshape(-1)[: out.size]

    def objection(self, data: Bytes, values: int) -> str:
        if len(data) != self.encoded_bytes(values):
            return wrong_size(len(data), self.encoded_bytes(values))
        records = self._records(data, 0, _chunks(values))
        sizes = _sizes(records)
        if not (sizes >= 0).all():  # false for NaN too
            return "a size is negative or not a number"
        if (np.diff(_indexes(self._entries(records)), axis=1) <= 0).any():
            return "indexes are not ascending"
        return objection_to(float(sizes.max(initial=0)))

    def _records(self, data: Bytes, at: int, chunks: int) -> npt.NDArray[np.uint8]:
        start = at // CHUNK * self._record
        records = np.frombuffer(data, np.uint8, chunks * self._record, start)
        return records.reshape(chunks, self._record)

    def _entries(self, records: npt.NDArray[np.uint8]) -> Entries:
        bits = np.unpackbits(records[:, 8:], axis=1, bitorder="little")
        entries: Entries = bits.reshape(len(records), self._kept, _ENTRY_BITS) @ _WEIGHTS
        return entries


def _largest(magnitudes: Chunks, kept: int) -> npt.NDArray[np.int64]:
    """The indexes of the largest of each chunk, ascending; among equals the first."""
    least = np.partition(magnitudes, CHUNK - kept, axis=1)[:, CHUNK - kept, None]
    chosen = magnitudes >= least
    crowded = np.flatnonzero(chosen.sum(axis=1) > kept)
    for chunk in crowded:
        order = np.argsort(-magnitudes[chunk], kind="stable")
        chosen[chunk] = False
        chosen[chunk, order[:kept]] = True
    return np.nonzero(chosen)[1].reshape(len(magnitudes), kept)


def _mean_where(values: FlatVector, where: npt.NDArray[np.bool_]) -> FlatVector:
    sums = np.where(where, values, np.float32(0)).sum(axis=1, dtype=np.float32)
    means: FlatVector = sums / np.maximum(where.sum(axis=1), 1).astype(np.float32)
    return means


def _packed(entries: Entries) -> npt.NDArray[np.uint8]:
    bits = (entries[:, :, None] & _WEIGHTS) != 0
    return np.packbits(bits.reshape(len(entries), -1), axis=1, bitorder="little")


def _indexes(entries: Entries) -> npt.NDArray[np.int64]:
    return (entries & np.uint16(CHUNK - 1)).astype(np.int64)


def _sizes(records: npt.NDArray[np.uint8]) -> FlatVector:
    """Shape (chunks, 2)."""
    return np.ascontiguousarray(records[:, :8]).view("<f4")


def _decoded(entries: Entries, sizes: FlatVector) -> FlatVector:
    magnitudes = np.where(entries & _LARGE, sizes[:, 1:], sizes[:, :1])
    decoded: FlatVector = np.where(entries & _SIGN, -magnitudes, magnitudes)
    return decoded


def _chunks(values: int) -> int:
    return -(-values // CHUNK)


def _padded(values: FlatVector) -> Chunks:
    missing = -values.size % CHUNK
    return (np.pad(values, (0, missing)) if missing else values).reshape(-1, CHUNK)
