"""The codec for slow links: which values travel, in how few bits, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.averaging.codecs import MAX_ABSOLUTE, SLAB, UNIT, FlatVector, Int4, decode, encode
from peer.averaging.sparse import CHUNK, Sparse

KEPT = 64
CODEC = Sparse("sparse", kept=KEPT)
FOUR = Sparse("four", kept=4)
"""Of a record that one can write down: 8 bytes of sizes, 4 entries of 14 bits."""
TINIEST = float(np.finfo(np.float32).smallest_subnormal)


def gradient(size: int, seed: int = 1) -> FlatVector:
    chance = np.random.default_rng(seed)
    values: FlatVector = chance.standard_t(3, size).astype(np.float32)
    return values


def chunk(**values: float) -> FlatVector:
    """A chunk of zeros but for these: `v7=1.5` is the value at 7."""
    found = np.zeros(CHUNK, np.float32)
    for name, value in values.items():
        found[int(name[1:])] = value
    return found


def record(sizes: tuple[float, float], entries: Iterable[tuple[int, bool, bool]]) -> bytes:
    """What travels of a chunk; entries: index, negative, of the larger size."""
    bits, width = 0, 0
    for index, negative, large in entries:
        bits |= (index | negative << 12 | large << 13) << width
        width += 14
    return struct.pack("<2f", *sizes) + bits.to_bytes(-(-width // 8), "little")


def full(sizes: tuple[float, float], indexes: Iterable[int] = range(KEPT)) -> bytes:
    """A record of the codec that runs use."""
    return record(sizes, [(index, False, True) for index in indexes])


# ---- the very bytes --------------------------------------------------------------------------


def test_a_chunk_is_two_sizes_and_entries_of_fourteen_bits() -> None:
    values = chunk(v3=1, v70=-3, v2000=-1.5, v4095=9.5)
    # the mean is 3.75: one large one, and (1 + 3 + 1.5) / 3 for the others
    entries = [(3, False, False), (70, True, False), (2000, True, False), (4095, False, True)]
    data = encode(FOUR, values)
    assert data == record((5.5 / 3, 9.5), entries)
    assert data.hex() == "ab aa ea 3f 00 00 18 41 03 80 11 04 7d fd bf".replace(" ", "")


def test_what_arrives_are_signs_and_sizes() -> None:
    values = chunk(v3=1, v70=-3, v2000=-1.5, v4095=9.5)
    small = 5.5 / 3
    expected = chunk(v3=small, v70=-small, v2000=-small, v4095=9.5)
    np.testing.assert_array_equal(decode(FOUR, encode(FOUR, values), CHUNK), expected)


def test_chunks_follow_one_another_each_with_its_own_sizes() -> None:
    one, two = chunk(v1=1, v2=1, v3=1, v4=5), chunk(v9=-100, v10=1, v11=1, v12=1)
    both = np.concatenate([one, two])
    assert encode(FOUR, both) == encode(FOUR, one) + encode(FOUR, two)


def test_a_value_costs_a_quarter_of_a_bit() -> None:
    assert CODEC.encoded_bytes(CHUNK) == 120
    assert CODEC.encoded_bytes(0) == 0
    assert CODEC.encoded_bytes(CHUNK + 1) == 240
    assert CODEC.encoded_bytes(10**9) * 15 < Int4().encoded_bytes(10**9)
    assert CHUNK == UNIT, "parts are cut where chunks are"


# ---- which values travel ---------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 3 * CHUNK))
@settings(max_examples=30)
def test_the_largest_of_each_chunk_travel(seed: int, size: int) -> None:
    values = gradient(size, seed)
    back = decode(CODEC, encode(CODEC, values.copy()), size)
    for start in range(0, size, CHUNK):
        sent, came = values[start : start + CHUNK], back[start : start + CHUNK]
        magnitudes = np.abs(sent)
        kept = came != 0
        assert kept.sum() == min(KEPT, sent.size)
        assert magnitudes[kept].min() >= magnitudes[~kept].max(initial=0)
        assert (np.sign(came[kept]) == np.sign(sent[kept])).all()


def test_the_two_sizes_keep_the_sum_of_magnitudes() -> None:
    values = gradient(CHUNK)
    lost = values.copy()
    back = decode(CODEC, encode(CODEC, lost), CHUNK)
    kept = back != 0
    assert len(set(np.abs(back[kept]))) == 2
    np.testing.assert_allclose(np.abs(back).sum(), np.abs(values[kept]).sum(), rtol=1e-5)
    assert np.linalg.norm(lost) < np.linalg.norm(values)


@pytest.mark.parametrize("value", [1.0, -0.3, 1e-4])
def test_among_equals_the_first_travel(value: float) -> None:
    values = np.full(CHUNK, value, np.float32)
    back = decode(CODEC, encode(CODEC, values.copy()), CHUNK)
    np.testing.assert_allclose(back[:KEPT], values[:KEPT], rtol=1e-6)
    assert not back[KEPT:].any()


def test_equals_at_the_edge_do_not_push_out_larger_ones() -> None:
    values = np.full(CHUNK, 0.5, np.float32)
    values[-10:] = -2
    back = decode(CODEC, encode(CODEC, values.copy()), CHUNK)
    np.testing.assert_array_equal(np.flatnonzero(back), [*range(KEPT - 10), *range(4086, 4096)])
    np.testing.assert_array_equal(back[-10:], -2)


def test_values_alone_in_their_chunk_arrive_as_they_are() -> None:
    values = chunk(v100=-0.25)
    lost = values.copy()
    np.testing.assert_array_equal(decode(CODEC, encode(CODEC, lost), CHUNK), values)
    assert not lost.any()


@pytest.mark.parametrize("size", [1, KEPT - 1, KEPT, CHUNK - 1, CHUNK + 1, SLAB + 1])
def test_what_pads_a_chunk_never_arrives(size: int) -> None:
    values = gradient(size)
    lost = values.copy()
    data = encode(CODEC, lost)
    assert CODEC.objection(data, size) == ""
    back = decode(CODEC, data, size)
    assert back.shape == (size,)
    np.testing.assert_array_equal(values - back, lost)


@pytest.mark.parametrize("value", [TINIEST, 1e-40, 1e-37])
def test_next_to_nothing_travels_without_a_fuss(value: float) -> None:
    values = np.full(CHUNK, value, np.float32)
    lost = values.copy()
    with np.errstate(all="raise", under="ignore"):
        data = encode(CODEC, lost)
    assert CODEC.objection(data, CHUNK) == ""
    np.testing.assert_array_equal(values - decode(CODEC, data, CHUNK), lost)


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -TINIEST, 1e5])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("behind", [0, 2])
def test_sizes_that_are_no_magnitudes_of_a_gradient_are_refused(
    wrong: float, place: int, behind: int
) -> None:
    sound = full((1, 2))
    assert CODEC.objection(sound * 3, 3 * CHUNK) == ""
    sizes = (wrong, 2.0) if place == 0 else (1.0, wrong)
    data = sound * behind + full(sizes) + sound * (2 - behind)
    assert CODEC.objection(data, 3 * CHUNK)


@pytest.mark.parametrize(
    "indexes",
    [
        [0] * KEPT,
        [*range(KEPT - 1), KEPT - 2],
        [*range(KEPT - 1, -1, -1)],
        [1, 0, *range(2, KEPT)],
    ],
    ids=["all one", "the last twice", "descending", "two swapped"],
)
def test_a_value_that_is_named_twice_or_out_of_order_is_refused(indexes: list[int]) -> None:
    data = full((1, 2)) + full((1, 2), indexes)
    assert CODEC.objection(data, 2 * CHUNK) == "indexes are not ascending"


@pytest.mark.parametrize("wrong", [0, 1, 119, 121, 240, 120 * 4096])
def test_bytes_of_another_length_are_refused(wrong: int) -> None:
    assert CODEC.objection(bytes(wrong), 5) == f"{wrong} bytes instead of 120"


@given(
    st.integers(0, 2**32),
    st.lists(st.floats(width=32) | st.floats(0, MAX_ABSOLUTE, width=32), min_size=4, max_size=4),
    st.booleans(),
    st.integers(CHUNK + 1, 2 * CHUNK),
)
def test_random_bytes_are_refused_or_sound(
    seed: int, sizes: list[float], ascending: bool, count: int
) -> None:
    chance = np.random.default_rng(seed)
    garbage = bytearray()
    for low, high in (sizes[:2], sizes[2:]):
        indexes = chance.choice(CHUNK, KEPT, replace=not ascending)
        garbage += full((low, high), map(int, sorted(indexes) if ascending else indexes))
    with np.errstate(all="ignore"):
        values = decode(CODEC, garbage, count)  # never a crash
    if not CODEC.objection(garbage, count):
        assert ascending
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 2 * MAX_ABSOLUTE


@given(st.binary(min_size=120, max_size=120), st.integers(1, CHUNK))
def test_any_record_is_judged_and_decoded_without_a_crash(garbage: bytes, count: int) -> None:
    with np.errstate(all="ignore"):
        values = decode(CODEC, garbage, count)
    assert values.shape == (count,)
    if not CODEC.objection(garbage, count):
        assert np.isfinite(values).all()
