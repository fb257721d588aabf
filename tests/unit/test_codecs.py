"""How values travel: the very bytes, what is lost on the way, what is refused on arrival."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from peer.averaging.codecs import BLOCK, Codec, FlatVector, Fp32, Int8, codec_named

CODECS: tuple[Codec, ...] = (Fp32(), Int8())
LARGEST = float(np.finfo(np.float32).max)
TINIEST = float(np.finfo(np.float32).smallest_subnormal)
LOST = 2e-34
"""Whole blocks below this may travel as zeros: their scale is no ordinary number."""


def vectors(limit: float = LARGEST, most: int = 3 * BLOCK) -> st.SearchStrategy[FlatVector]:
    bound = float(np.float32(limit))
    values = st.floats(-bound, bound, width=32)
    return arrays.arrays(np.float32, st.integers(0, most), elements=values)


def float32(*values: float) -> FlatVector:
    return np.array(values, np.float32)


def int8_part(count: int, scales: list[float], integers: bytes) -> bytes:
    return struct.pack("<I", count) + struct.pack(f"<{len(scales)}f", *scales) + integers


def test_fp32_travels_as_little_endian_floats() -> None:
    data = bytes.fromhex("0000803f000000c00000008001000000ffff7f7f")
    values = float32(1, -2, -0.0, TINIEST, LARGEST)
    assert Fp32().encode(values) == data
    assert Fp32().decode(data).tobytes() == values.tobytes()


def test_int8_travels_as_count_then_scales_then_integers() -> None:
    #                     4 values   2 / 127    63.5 -> 64, -127, 31.75 -> 32, 0
    data = bytes.fromhex("040000000402813c40812000")
    assert Int8().encode(float32(1, -2, 0.5, 0)) == data
    scale = np.float32(2) / np.float32(127)
    np.testing.assert_array_equal(Int8().decode(data), float32(64, -127, 32, 0) * scale)


def test_int8_has_a_scale_for_each_block() -> None:
    values = np.zeros(BLOCK + 1, np.float32)
    values[0], values[BLOCK] = 127, -254
    data = Int8().encode(values)
    assert data[:12] == bytes.fromhex("010100000000803f00000040")
    assert data[12:] == b"\x7f" + bytes(BLOCK - 1) + b"\x81"


def test_a_large_value_costs_only_its_own_block_precision() -> None:
    values = np.full(2 * BLOCK, 0.01, np.float32)
    values[0] = 1000
    back = Int8().decode(Int8().encode(values))
    np.testing.assert_array_equal(back[1:BLOCK], 0)
    np.testing.assert_allclose(back[BLOCK:], 0.01, rtol=1e-6)


@given(vectors())
def test_fp32_loses_nothing(values: FlatVector) -> None:
    assert Fp32().decode(Fp32().encode(values)).tobytes() == values.tobytes()


@given(vectors(limit=3e38))
def test_int8_is_off_by_half_a_scale_at_most(values: FlatVector) -> None:
    back = Int8().decode(Int8().encode(values)).astype(np.float64)
    assert back.shape == values.shape
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK].astype(np.float64)
        half = np.abs(block).max() / 127 / 2
        error = np.abs(back[start : start + BLOCK] - block)
        # a scale and its inverse are rounded to 24 bits each
        assert (error <= half * (1 + 127 * 2**-22) + LOST).all()


@given(vectors(limit=100))
def test_encoding_what_was_decoded_changes_nothing_more(values: FlatVector) -> None:
    once = Int8().decode(Int8().encode(values))
    twice = Int8().decode(Int8().encode(once))
    np.testing.assert_allclose(twice, once, rtol=1e-6, atol=LOST)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@given(values=vectors())
def test_the_size_is_known_before_and_the_same_bytes_are_the_same_bits(
    codec: Codec, values: FlatVector
) -> None:
    data = codec.encode(values)
    assert len(data) == codec.encoded_bytes(values.size)
    assert codec.encode(values.copy()) == data
    first, second = codec.decode(data), codec.decode(bytes(data))
    assert first.dtype == np.float32
    assert first.tobytes() == second.tobytes()
    assert np.isfinite(first).all()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
def test_every_length_comes_back(codec: Codec, count: int) -> None:
    values = np.linspace(-1, 1, count, dtype=np.float32)
    back = codec.decode(codec.encode(values))
    assert back.shape == (count,)
    np.testing.assert_allclose(back, values, atol=1 / 127)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_zeros_stay_zeros(codec: Codec) -> None:
    back = codec.decode(codec.encode(np.zeros(BLOCK + 1, np.float32)))
    assert not back.any()


@pytest.mark.parametrize("largest", [TINIEST, 1e-40, 1e-37, 1e-35])
def test_int8_sends_a_block_of_next_to_nothing_without_a_division_by_zero(largest: float) -> None:
    back = Int8().decode(Int8().encode(float32(largest, -largest, 0)))
    np.testing.assert_allclose(back, float32(largest, -largest, 0), atol=LOST)


def test_int8_brings_the_largest_numbers_back_finite() -> None:
    back = Int8().decode(Int8().encode(float32(LARGEST, -LARGEST, 1e38)))
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, float32(LARGEST, -LARGEST, 1e38), rtol=0.02)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, BLOCK, BLOCK + 6])
def test_what_is_not_finite_is_never_sent(codec: Codec, wrong: float, place: int) -> None:
    values = np.ones(BLOCK + 7, np.float32)
    values[place] = wrong
    with pytest.raises(ValueError, match="not finite"):
        codec.encode(values)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_fp32_refuses_bytes_that_are_not_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Fp32().decode(float32(0, wrong).tobytes())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1023])
def test_fp32_refuses_a_part_of_a_value(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes are no float32 values"):
        Fp32().decode(bytes(size))


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, -1.0, -TINIEST])
def test_int8_refuses_a_scale_that_is_negative_or_not_finite(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        Int8().decode(int8_part(2, [scale], b"\x01\x02"))


def test_int8_refuses_a_scale_that_would_make_infinity() -> None:
    with pytest.raises(ValueError, match="scale"):
        Int8().decode(int8_part(1, [LARGEST], b"\x02"))


@given(vectors(most=BLOCK + 2), st.data())
def test_int8_refuses_bytes_cut_short_or_extended(values: FlatVector, data: st.DataObject) -> None:
    encoded = Int8().encode(values)
    kept = data.draw(st.integers(0, len(encoded) - 1))
    more = data.draw(st.binary(min_size=1, max_size=300))
    for damaged in (encoded[:kept], encoded + more):
        with pytest.raises(ValueError, match="bytes are no int8 part"):
            Int8().decode(damaged)


@given(st.binary(max_size=600))
def test_garbage_is_refused_or_finite(garbage: bytes) -> None:
    for codec in CODECS:
        try:
            values = codec.decode(garbage)
        except ValueError:
            continue
        assert np.isfinite(values).all()


def test_a_claimed_count_is_not_believed_before_the_bytes_are_there() -> None:
    with pytest.raises(ValueError, match="bytes are no int8 part"):
        Int8().decode(struct.pack("<I", 2**32 - 1) + bytes(100))


def test_codecs_are_found_by_the_names_of_the_run_spec() -> None:
    assert [(codec_named(name).name, codec_named(name).lossy) for name in ("fp32", "int8")] == [
        ("fp32", False),
        ("int8", True),
    ]
    with pytest.raises(KeyError):
        codec_named("int3")
