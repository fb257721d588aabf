"""How values travel: the very bytes, what is lost on the way, what is refused on arrival."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from peer.averaging.codec_names import CODECS, codec_named
from peer.averaging.codecs import (
    BLOCK,
    MAX_ABSOLUTE,
    SLAB,
    UNIT,
    Codec,
    FlatVector,
    Fp16,
    Fp32,
    Int4,
    Int8,
    decode,
    encode,
    objection_to,
    slabs,
)
from peer.averaging.sparse import Sparse

BLOCKWISE: tuple[Codec, ...] = (Fp16(), Int8(), Int4())
DENSE: tuple[Codec, ...] = (Fp32(), *BLOCKWISE)
SPARSE = Sparse("sparse", kept=64)
ALL: tuple[Codec, ...] = (*DENSE, SPARSE)
LEVELS = {"int8": 127, "int4": 7}
TINIEST = float(np.finfo(np.float32).smallest_subnormal)
LOST = 2e-34
"""Whole blocks below this may travel as zeros: their scale has no ordinary inverse."""
LENGTHS = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3, UNIT, UNIT + 1]
LONG = 2 * SLAB + UNIT + BLOCK + 7
"""Two slabs and a bit, which is no multiple of anything."""

every = pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)
each = pytest.mark.parametrize("codec", DENSE, ids=lambda codec: codec.name)
each_blockwise = pytest.mark.parametrize("codec", BLOCKWISE, ids=lambda codec: codec.name)


def vectors(limit: float = MAX_ABSOLUTE, most: int = BLOCK + 44) -> st.SearchStrategy[FlatVector]:
    bound = float(np.float32(limit))
    elements = st.floats(-bound, bound, width=32)
    return arrays.arrays(np.float32, st.integers(0, most), elements=elements)


def float32(*values: float) -> FlatVector:
    return np.array(values, np.float32)


def gradient(size: int, seed: int = 1) -> FlatVector:
    """Values of very different magnitudes, as those of a model's layers are."""
    chance = np.random.default_rng(seed)
    spread = np.repeat(10.0 ** chance.uniform(-6, 1, -(-size // 100)), 100)[:size]
    values: FlatVector = (chance.standard_normal(size) * spread).astype(np.float32)
    return values


def blocks(values: FlatVector) -> list[FlatVector]:
    return [values[start : start + BLOCK] for start in range(0, values.size, BLOCK)]


def there_and_back(codec: Codec, values: FlatVector) -> FlatVector:
    return decode(codec, encode(codec, values.copy()), values.size)


def wire(codec: Codec, scale: float, levels: bytes) -> bytes:
    """One block as it travels; what is not said is nothing."""
    return (struct.pack("<f", scale) + levels).ljust(codec.encoded_bytes(BLOCK), b"\0")


# ---- the very bytes ----------------------------------------------------------------------


def test_fp32_travels_as_little_endian_floats() -> None:
    data = bytes.fromhex("0000803f000000c00000008001000000")
    values = float32(1, -2, -0.0, TINIEST)
    assert encode(Fp32(), values.copy()) == data
    assert decode(Fp32(), data, 4).tobytes() == values.tobytes()


def test_fp16_travels_as_a_power_of_two_above_and_halves() -> None:
    # the largest, 2, is below the scale 4: 1/4, -2/4, 0.5/4, 0
    data = bytes.fromhex("00008040003400b800300000") + bytes(2 * (BLOCK - 4))
    assert encode(Fp16(), float32(1, -2, 0.5, 0)) == data
    np.testing.assert_array_equal(decode(Fp16(), data, 4), float32(1, -2, 0.5, 0))


def test_int8_travels_as_a_scale_and_integers() -> None:
    #                     2 / 127  63.5 -> 64, -127, 31.75 -> 32, 0
    data = bytes.fromhex("0402813c40812000") + bytes(BLOCK - 4)
    assert encode(Int8(), float32(1, -2, 0.5, 0)) == data
    scale = np.float32(2) * np.float32(1 / 127)
    np.testing.assert_array_equal(decode(Int8(), data, 4), float32(64, -127, 32, 0) * scale)


def test_int4_travels_as_a_scale_and_halves_of_bytes_eight_above_their_values() -> None:
    values = np.zeros(BLOCK, np.float32)
    values[:3], values[128:131] = (7, -7, 2.6), (-1, 1, 7)
    # low half: value i; high half: value 128 + i
    data = bytes.fromhex("0000803f7f91fb") + b"\x88" * 125
    assert encode(Int4(), values.copy()) == data
    expected = values.copy()
    expected[2] = 3
    np.testing.assert_array_equal(decode(Int4(), data, BLOCK), expected)


@each_blockwise
def test_all_scales_come_first_one_for_each_block(codec: Codec) -> None:
    values = np.zeros(2 * BLOCK + 1, np.float32)
    values[0], values[BLOCK], values[2 * BLOCK] = 1, -64, 0.25
    one_by_one = [encode(codec, block.copy()) for block in blocks(values)]
    expected = b"".join(it[:4] for it in one_by_one) + b"".join(it[4:] for it in one_by_one)
    assert encode(codec, values) == expected


@pytest.mark.parametrize(
    ("codec", "bits"), [(Fp32(), 32), (Fp16(), 16.125), (Int8(), 8.125), (Int4(), 4.125)]
)
def test_a_block_takes_the_bits_that_the_name_says_and_a_scale(codec: Codec, bits: float) -> None:
    assert codec.encoded_bytes(UNIT) * 8 == bits * UNIT
    assert codec.encoded_bytes(0) == 0


# ---- what is lost --------------------------------------------------------------------------


@given(vectors())
def test_fp32_loses_nothing(values: FlatVector) -> None:
    assert there_and_back(Fp32(), values).tobytes() == values.tobytes()


@pytest.mark.parametrize("codec", [Int8(), Int4()], ids=lambda codec: codec.name)
@given(values=vectors())
def test_integers_are_off_by_half_a_step_at_most(codec: Codec, values: FlatVector) -> None:
    back = there_and_back(codec, values)
    for sent, arrived in zip(blocks(values), blocks(back), strict=True):
        step = float(np.abs(sent).max()) / LEVELS[codec.name]
        error = np.abs(arrived.astype(np.float64) - sent)
        # a scale and its inverse are rounded to 24 bits each
        assert (error <= step / 2 * (1 + 127 * 2**-22) + LOST).all()


@given(vectors())
def test_fp16_keeps_eleven_bits_of_each_value(values: FlatVector) -> None:
    back = there_and_back(Fp16(), values)
    for sent, arrived in zip(blocks(values), blocks(back), strict=True):
        # halves have ordinary numbers from 2^-14, then a last bit of 2^-24; scales are below
        # twice the largest value
        least = max(float(np.abs(sent).max()), 2.0**-101) * 2 * 2**-25
        error = np.abs(arrived.astype(np.float64) - sent)
        bound = np.maximum(np.abs(sent) * 2.0**-11, least)
        assert (error <= bound * (1 + 2**-11)).all()


@pytest.mark.parametrize("decades", [4, 8])
def test_fp16s_halves_are_those_of_the_processor(decades: int) -> None:
    chance = np.random.default_rng(3)
    scaled = 10.0 ** -chance.uniform(0, decades, 64 * BLOCK) * chance.choice([-1, 1], 64 * BLOCK)
    values: FlatVector = scaled.astype(np.float32)
    values[::BLOCK] = 0.75  # so that each scale is 1
    data = encode(Fp16(), values.copy())
    levels = np.frombuffer(data, "<u2", offset=64 * 4).view("<f2")
    theirs = values.astype(np.float16)
    ordinary = np.abs(theirs) >= 2.0**-14
    np.testing.assert_array_equal(levels[ordinary], theirs[ordinary])
    np.testing.assert_allclose(levels.astype(float), theirs.astype(float), rtol=0, atol=2**-10)
    assert np.abs(levels.astype(float) - values)[~ordinary].max(initial=0) <= 2**-25 * 1.001


@pytest.mark.parametrize("value", [1 - 2**-13, 1 - 2**-24])
def test_fp16_rounds_up_to_the_scale_itself(value: float) -> None:
    data = encode(Fp16(), float32(value))
    assert Fp16().objection(data, 1) == ""
    assert decode(Fp16(), data, 1).tolist() == [1.0]


@every
@given(values=vectors())
def test_what_is_lost_is_exactly_what_did_not_arrive(codec: Codec, values: FlatVector) -> None:
    lost = values.copy()
    data = encode(codec, lost)
    np.testing.assert_array_equal(lost, values - decode(codec, data, values.size))
    if not codec.lossy:
        assert not lost.any()


@every
def test_what_is_lost_of_many_slabs_is_exactly_what_did_not_arrive(codec: Codec) -> None:
    values = gradient(LONG)
    lost = values.copy()
    data = encode(codec, lost)
    np.testing.assert_array_equal(lost, values - decode(codec, data, LONG))


@each_blockwise
@given(values=vectors(limit=100))
def test_encoding_what_was_decoded_changes_nothing_more(codec: Codec, values: FlatVector) -> None:
    once = there_and_back(codec, values)
    np.testing.assert_allclose(there_and_back(codec, once), once, rtol=1e-6, atol=LOST)


@each_blockwise
def test_a_large_value_costs_only_its_own_block_precision(codec: Codec) -> None:
    values = np.full(2 * BLOCK, 0.01, np.float32)
    values[0] = 1000
    back = there_and_back(codec, values)
    np.testing.assert_allclose(back[BLOCK:], 0.01, rtol=1e-3)
    if codec.name in LEVELS:
        np.testing.assert_array_equal(back[1:BLOCK], 0)


def test_fp16_carries_values_that_bare_half_precision_would_lose() -> None:
    values = float32(1e-20, -3e-20, 2e-24)
    np.testing.assert_allclose(there_and_back(Fp16(), values), values, rtol=2**-10)
    assert not values.astype(np.float16).any()


@every
def test_zeros_stay_zeros(codec: Codec) -> None:
    assert not there_and_back(codec, np.zeros(BLOCK + 1, np.float32)).any()


@each_blockwise
@pytest.mark.parametrize("largest", [TINIEST, 1e-42, 1e-40, 1.1e-38])
def test_subnormal_numbers_travel_as_zeros_and_are_lost_whole(codec: Codec, largest: float) -> None:
    values = float32(largest, -largest, 0)
    lost = values.copy()
    data = encode(codec, lost)
    assert codec.objection(data, 3) == ""
    np.testing.assert_array_equal(decode(codec, data, 3), 0)
    np.testing.assert_array_equal(lost, values)


@each_blockwise
@pytest.mark.parametrize("largest", [1e-37, 1e-36, 1e-35, 1e-34, 1e-30])
def test_a_block_of_next_to_nothing_has_no_division_by_zero(codec: Codec, largest: float) -> None:
    values = float32(largest, -largest, 0)
    with np.errstate(all="raise", under="ignore"):
        back = there_and_back(codec, values)
    np.testing.assert_allclose(back, values, rtol=1e-3, atol=LOST)


# ---- slabs ---------------------------------------------------------------------------------


@given(st.integers(0, 3 * SLAB + 5))
def test_slabs_cover_a_vector_once_and_start_at_their_multiples(values: int) -> None:
    places = list(slabs(values))
    assert [it.start for it in places] == list(range(0, values, SLAB))
    assert [it.stop for it in places] == [*(it.start for it in places[1:]), values][: len(places)]


@each
@pytest.mark.parametrize("count", [*LENGTHS, LONG])
def test_every_length_comes_back(codec: Codec, count: int) -> None:
    values = np.linspace(-1, 1, count, dtype=np.float32)
    data = encode(codec, values.copy())
    assert len(data) == codec.encoded_bytes(count)
    assert codec.objection(data, count) == ""
    back = decode(codec, data, count)
    assert back.shape == (count,)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, values, atol=1 / 13)


@every
@pytest.mark.parametrize("pace", [UNIT, 3 * UNIT, SLAB])
def test_where_slabs_meet_changes_no_bit(codec: Codec, pace: int) -> None:
    values = gradient(LONG)
    lost = values.copy()
    whole = encode(codec, lost)
    apart, pieces = values.copy(), bytearray(len(whole))
    for start in range(0, LONG, pace):
        codec.encode_slab(apart[start : start + pace], start, memoryview(pieces))
    assert pieces == whole
    assert apart.tobytes() == lost.tobytes()
    out = np.empty(LONG, np.float32)
    for start in range(0, LONG, pace):
        codec.decode_slab(whole, start, out[start : start + pace])
    assert out.tobytes() == decode(codec, whole, LONG).tobytes()


@every
@pytest.mark.parametrize("start", [SLAB, 2 * SLAB])
def test_a_slab_is_decoded_without_the_others(codec: Codec, start: int) -> None:
    data = encode(codec, gradient(LONG))
    out = np.full(min(SLAB, LONG - start), np.nan, np.float32)
    codec.decode_slab(data, start, out)
    expected = decode(codec, data, LONG)[start : start + out.size]
    assert out.tobytes() == expected.tobytes()


@each_blockwise
def test_a_block_does_not_depend_on_its_neighbours(codec: Codec) -> None:
    values = gradient(SLAB + 3 * BLOCK)
    back = there_and_back(codec, values)
    for start in (0, BLOCK, SLAB - BLOCK, SLAB, SLAB + 2 * BLOCK):
        alone = there_and_back(codec, values[start : start + BLOCK])
        assert back[start : start + BLOCK].tobytes() == alone.tobytes()


@every
def test_the_same_values_are_the_same_bytes_and_those_the_same_bits(codec: Codec) -> None:
    data = encode(codec, gradient(LONG))
    assert encode(codec, gradient(LONG)) == data
    first = decode(codec, data, LONG)
    for container in (bytes(data), memoryview(data), memoryview(bytes(data))):
        assert decode(codec, container, LONG).tobytes() == first.tobytes()


# ---- what is never sent ----------------------------------------------------------------------


@every
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, BLOCK, BLOCK + 6])
def test_what_is_not_finite_is_never_sent(codec: Codec, wrong: float, place: int) -> None:
    values = np.ones(BLOCK + 7, np.float32)
    values[place] = wrong
    with pytest.raises(ValueError, match="not finite"):
        encode(codec, values)


@every
@pytest.mark.parametrize("wrong", [np.nextafter(np.float32(1e4), np.float32(1e5)), -10_050, 3e38])
def test_what_is_no_gradient_is_never_sent(codec: Codec, wrong: float) -> None:
    values = np.ones(BLOCK + 7, np.float32)
    values[BLOCK] = wrong
    with pytest.raises(ValueError, match="a value above 10000"):
        encode(codec, values)


@every
def test_one_wrong_value_in_the_last_slab_is_seen(codec: Codec) -> None:
    values = gradient(LONG)
    values[-1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        encode(codec, values)


@every
@given(values=vectors())
def test_what_is_sent_is_not_refused(codec: Codec, values: FlatVector) -> None:
    assert codec.objection(encode(codec, values.copy()), values.size) == ""


@every
@pytest.mark.parametrize("largest", [8191, 8192, 8838, 9000, 10_000])
def test_the_largest_values_are_not_refused(codec: Codec, largest: float) -> None:
    values = float32(largest, -largest, 1)
    data = encode(codec, values.copy())
    assert codec.objection(data, 3) == ""
    np.testing.assert_allclose(decode(codec, data, 3)[:2], values[:2], rtol=1e-3)


# ---- what is refused -------------------------------------------------------------------------


@every
@given(count=st.integers(0, 2 * BLOCK), off=st.integers(-600, 600).filter(bool))
def test_bytes_cut_short_or_extended_are_refused(codec: Codec, count: int, off: int) -> None:
    right = codec.encoded_bytes(count)
    wrong = max(right + off, 0)
    if wrong != right:
        problem = f"{wrong} bytes instead of {right}"
        assert codec.objection(bytes(wrong), count) == problem


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, SLAB - 1, SLAB, 2 * SLAB])
def test_fp32_refuses_what_is_not_finite_wherever_it_is(wrong: float, place: int) -> None:
    values = np.zeros(2 * SLAB + 1, np.float32)
    values[place] = wrong
    assert Fp32().objection(values.tobytes(), values.size) == "not finite"


@pytest.mark.parametrize("sign", [1, -1])
def test_fp32_refuses_what_is_no_gradient(sign: int) -> None:
    assert Fp32().objection(float32(0, sign * MAX_ABSOLUTE).tobytes(), 2) == ""
    problem = Fp32().objection(float32(0, sign * MAX_ABSOLUTE * 2.01).tobytes(), 2)
    assert problem == "a value above 10000"


@each_blockwise
@pytest.mark.parametrize("scale", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -TINIEST])
def test_a_scale_that_is_negative_or_not_finite_is_refused(codec: Codec, scale: float) -> None:
    sound = encode(codec, np.ones(2 * BLOCK, np.float32))
    assert codec.objection(sound, 2 * BLOCK) == ""
    for place in range(2):
        damaged = bytearray(sound)
        struct.pack_into("<f", damaged, 4 * place, scale)
        assert codec.objection(damaged, 2 * BLOCK)
    assert codec.objection(wire(codec, scale, b""), BLOCK), "with nothing but zeros"


@each_blockwise
@pytest.mark.parametrize("scale", [2.1e4, 1e9, 3e38])
def test_a_scale_of_no_gradient_is_refused(codec: Codec, scale: float) -> None:
    largest = {"fp16": b"\x00\x3c", "int8": b"\x7f", "int4": b"\xff"}[codec.name]
    assert codec.objection(wire(codec, scale, largest), BLOCK) == "a value above 10000"


@pytest.mark.parametrize("level", [0x7C00, 0xFC00, 0x7C01, 0x7FFF, 0xFFFF, 0x3C01, 0xBC01, 0x7BFF])
def test_fp16_refuses_halves_above_one_and_those_that_are_no_numbers(level: int) -> None:
    for scale in (0.0, 1.0):
        block = wire(Fp16(), scale, struct.pack("<HH", 0, level))
        assert Fp16().objection(block, BLOCK) == "not finite"
        assert Fp16().objection(block, 1) == "not finite", "also where nobody would read it"


def test_fp16_takes_halves_of_one() -> None:
    block = wire(Fp16(), 2, struct.pack("<HH", 0x3C00, 0xBC00))
    assert Fp16().objection(block, 2) == ""
    assert decode(Fp16(), block, 2).tolist() == [2.0, -2.0]


@pytest.mark.parametrize(
    ("codec", "level", "value"), [(Int8(), b"\x80", -128.0), (Int4(), b"\x80", -8.0)]
)
def test_levels_that_no_encoder_makes_are_numbers_all_the_same(
    codec: Codec, level: bytes, value: float
) -> None:
    block = wire(codec, 1, level)
    assert codec.objection(block, 1) == ""
    assert decode(codec, block, 1).tolist() == [value]


@each
@settings(max_examples=200)
@given(data=st.data(), count=st.integers(1, BLOCK + 40))
def test_random_bytes_are_refused_or_sound(codec: Codec, data: st.DataObject, count: int) -> None:
    size = codec.encoded_bytes(count)
    seed = data.draw(st.integers(0, 2**32))
    garbage = bytearray(np.random.default_rng(seed).bytes(size))
    if codec.lossy:  # sound scales, or nothing would ever get through
        for place in range(-(-count // BLOCK)):
            scale = data.draw(st.floats(width=32) | st.floats(0, 70, width=32))
            struct.pack_into("<f", garbage, 4 * place, scale)
    with np.errstate(all="ignore"):
        values = decode(codec, garbage, count)  # never a crash
    if not codec.objection(garbage, count):
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 2 * MAX_ABSOLUTE


@every
@given(garbage=st.binary(max_size=700), count=st.integers(0, 2 * BLOCK))
def test_bytes_of_any_length_are_judged_without_a_crash(
    codec: Codec, garbage: bytes, count: int
) -> None:
    if not codec.objection(garbage, count):
        assert np.isfinite(decode(codec, garbage, count)).all()


@pytest.mark.parametrize(
    ("largest", "problem"),
    [
        (0.0, ""),
        (MAX_ABSOLUTE, ""),
        (MAX_ABSOLUTE * 2, ""),  # a scale says only so much of the values below it
        (MAX_ABSOLUTE * 2.01, "a value above 10000"),
        (float("inf"), "not finite"),
        (float("nan"), "not finite"),
    ],
)
def test_what_is_objected_to_is_said(largest: float, problem: str) -> None:
    assert objection_to(largest) == problem


# ---- names -----------------------------------------------------------------------------------


def test_codecs_are_found_by_the_names_of_the_run_spec() -> None:
    for codec in ALL:
        assert codec_named(codec.name).name == codec.name
        assert codec_named(codec.name).lossy == (codec.name != "fp32")
    assert all(codec.name == name for name, codec in CODECS.items())
    assert len(CODECS) == len(ALL)
    with pytest.raises(KeyError):
        codec_named("int3")
