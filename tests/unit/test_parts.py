"""Who owns what, who weighs how much, and the mean itself."""

from __future__ import annotations

import statistics
from itertools import pairwise

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

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
)
from peer.averaging.parts import (
    MAX_MEMBERS,
    MAX_TOKENS,
    MAX_WEIGHT_OVER_MEDIAN,
    PARTS_OF_AN_OWNER,
    HeldPart,
    LeftOut,
    Part,
    bounded_weights,
    encoded_mean,
    split,
    unit_count,
)

tokens = st.lists(st.integers(0, MAX_TOKENS), min_size=1, max_size=MAX_MEMBERS)
LOSSY: tuple[Codec, ...] = (Fp16(), Int8(), Int4())
each_lossy = pytest.mark.parametrize("codec", LOSSY, ids=lambda codec: codec.name)


def float32(*values: float) -> FlatVector:
    return np.array(values, np.float32)


def gradient(size: int, seed: int = 1) -> FlatVector:
    values: FlatVector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    return values


def sent(codec: Codec, *vectors: FlatVector) -> list[bytes]:
    return [bytes(encode(codec, vector.copy())) for vector in vectors]


# ---- who owns what -------------------------------------------------------------------------


@st.composite
def ownerships(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A vector's size and each member's units of it, as any leader may share them out."""
    shares = draw(st.lists(st.integers(0, 3000), min_size=1, max_size=MAX_MEMBERS).filter(any))
    missing = draw(st.integers(0, UNIT - 1))
    return sum(shares) * UNIT - missing, shares


def test_a_vector_has_its_values_in_units_and_the_last_may_be_shorter() -> None:
    sizes = (1, UNIT, UNIT + 1, 10 * UNIT)
    assert [unit_count(size) for size in sizes] == [1, 1, 2, 10]


@given(ownerships())
def test_parts_cover_the_vector_once_and_meet_at_units(case: tuple[int, list[int]]) -> None:
    parameters, units = case
    parts = split(parameters, units)
    assert [part.index for part in parts] == list(range(len(parts)))
    assert parts[0].start == 0
    assert parts[-1].stop == parameters
    for left, right in pairwise(parts):
        assert left.stop == right.start
        assert left.stop % UNIT == 0
    assert all(part.values > 0 for part in parts)


@given(ownerships())
def test_each_owner_has_its_units_in_one_range_in_the_members_order(
    case: tuple[int, list[int]],
) -> None:
    parameters, units = case
    owned = [0] * len(units)
    parts = split(parameters, units)
    assert [part.owner for part in parts] == sorted(part.owner for part in parts)
    for part in parts:
        owned[part.owner] += unit_count(part.values)
    assert owned == units


@given(ownerships())
def test_parts_are_few_and_those_of_an_owner_alike(case: tuple[int, list[int]]) -> None:
    parameters, units = case
    parts = split(parameters, units)
    owners = sum(count > 0 for count in units)
    assert len(parts) <= (PARTS_OF_AN_OWNER + 1) * owners <= 9 * MAX_MEMBERS
    for owner in range(len(units)):
        sizes = [unit_count(part.values) for part in parts if part.owner == owner]
        assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.integers(1, 40_000), st.integers(1, MAX_MEMBERS))
def test_equal_owners_have_eight_parts_each_unless_those_were_tiny(
    total: int, members: int
) -> None:
    units = [total * (it + 1) // members - total * it // members for it in range(members)]
    parts = split(total * UNIT, units)
    for owner in range(members):
        sizes = [part.values for part in parts if part.owner == owner]
        assert len(sizes) <= PARTS_OF_AN_OWNER + 1
        if len(sizes) > 1:
            assert min(sizes) >= SLAB // 2


def test_a_small_vector_is_one_part_for_each_owner() -> None:
    found = [(it.owner, it.start, it.stop) for it in split(4 * UNIT - 1, [1, 0, 2, 1])]
    assert found == [(0, 0, UNIT), (2, UNIT, 3 * UNIT), (3, 3 * UNIT, 4 * UNIT - 1)]
    assert [(it.owner, it.start, it.stop) for it in split(7, [0, 1])] == [(1, 0, 7)]


def test_an_owner_of_much_has_several_parts() -> None:
    slab = SLAB // UNIT
    parts = split(9 * SLAB, [8 * slab, slab])
    assert [(it.owner, it.start // SLAB) for it in parts] == [*((0, it) for it in range(8)), (1, 8)]
    everything = split(160 * SLAB, [160 * slab])
    assert [part.values for part in everything] == [20 * SLAB] * 8


def test_a_part_says_where_it_is() -> None:
    (_, part) = split(2 * UNIT, [1, 1])
    assert part == Part(1, 1, UNIT, 2 * UNIT)
    assert part.where == slice(UNIT, 2 * UNIT)
    assert part.values == UNIT


# ---- who weighs how much -------------------------------------------------------------------


@given(tokens)
def test_nobody_weighs_more_than_ten_times_the_median(claims: list[int]) -> None:
    weights = bounded_weights(claims)
    working = [claim for claim in claims if claim]
    limit = MAX_WEIGHT_OVER_MEDIAN * statistics.median(working) if working else 0
    assert [weight == 0 for weight in weights] == [claim == 0 for claim in claims]
    for claim, weight in zip(claims, weights, strict=True):
        assert weight == min(claim, limit)
        assert isinstance(weight, float)


def test_listeners_do_not_drag_the_median_down() -> None:
    assert bounded_weights([0, 0, 0, 100, 300]) == [0, 0, 0, 100, 300]
    assert bounded_weights([0, 0]) == [0, 0]
    assert bounded_weights([1, 1, MAX_TOKENS]) == [1, 1, 10]


# ---- the mean ------------------------------------------------------------------------------


@given(st.data(), st.integers(1, 8), st.integers(1, 50))
def test_the_mean_is_that_of_twice_the_precision(
    data: st.DataObject, members: int, size: int
) -> None:
    # just below the limit: the weights' sum is only almost one
    values = arrays.arrays(np.float32, size, elements=st.floats(-9999, 9999, width=32))
    vectors = [data.draw(values) for _ in range(members)]
    weights = [float(data.draw(st.integers(1, MAX_TOKENS))) for _ in range(members)]
    exact = np.average([it.astype(np.float64) for it in vectors], axis=0, weights=weights)
    largest = max(float(np.abs(it).max()) for it in vectors)
    contributions = list(zip(sent(Fp32(), *vectors), weights, strict=True))
    encoded, lost = encoded_mean(Fp32(), size, contributions, None)
    assert lost is None
    # a weight, each product and each sum are rounded once: to 24 bits, or to the tiniest number
    tiniest = float(np.finfo(np.float32).smallest_subnormal)
    bound = members * (2**-22 * largest + tiniest)
    np.testing.assert_allclose(decode(Fp32(), encoded, size), exact, rtol=0, atol=bound)


def test_weights_count() -> None:
    one, two = sent(Fp32(), float32(1, 0), float32(5, 8))
    encoded, _ = encoded_mean(Fp32(), 2, [(one, 300.0), (two, 100.0)], None)
    assert decode(Fp32(), encoded, 2).tolist() == [2, 2]


def test_the_mean_of_one_is_that_one_whatever_it_weighs() -> None:
    (alone,) = sent(Fp32(), gradient(3 * BLOCK))
    assert encoded_mean(Fp32(), 3 * BLOCK, [(alone, 123.0)], None)[0] == alone


def test_nobodys_bytes_are_written_to() -> None:
    vectors = [bytearray(it) for it in sent(Int8(), gradient(BLOCK), gradient(BLOCK, 2))]
    before, residual = [bytes(it) for it in vectors], gradient(BLOCK, 3)
    encoded_mean(Int8(), BLOCK, [(it, 1.0) for it in vectors], residual)
    assert [bytes(it) for it in vectors] == before
    assert residual.tobytes() == gradient(BLOCK, 3).tobytes()


@each_lossy
@pytest.mark.parametrize("size", [1, UNIT, UNIT + BLOCK + 1, SLAB + UNIT + 3, 2 * SLAB])
def test_the_answer_carries_what_earlier_answers_have_lost(codec: Codec, size: int) -> None:
    """Value by value as one would write it down, in the same order of operations."""
    weights, residual = [300.0, 50.0, 1.0], gradient(size, 9) * np.float32(0.01)
    vectors = sent(codec, *(gradient(size, seed) for seed in range(3)))
    expected = residual.copy()
    for data, weight in zip(vectors, weights, strict=True):
        expected += decode(codec, data, size) * np.float32(weight / 351)
    lost = expected.copy()
    encoded = encode(codec, lost)
    found, found_lost = encoded_mean(
        codec, size, list(zip(vectors, weights, strict=True)), residual
    )
    assert found == encoded
    assert found_lost is not None
    assert found_lost.tobytes() == lost.tobytes()
    arrived = decode(codec, found, size)
    np.testing.assert_array_equal(found_lost, expected - arrived)
    np.testing.assert_allclose(arrived + found_lost, expected, rtol=1e-6, atol=1e-7)


@each_lossy
def test_answers_make_up_for_what_earlier_ones_have_lost(codec: Codec) -> None:
    (data,) = sent(codec, gradient(UNIT) * np.float32(1e-3))
    mean = decode(codec, data, UNIT).astype(np.float64)
    told, residual, rounds = np.zeros(UNIT), gradient(UNIT, 5) * np.float32(1e-3), 20
    first = residual.astype(np.float64)
    for _ in range(rounds):
        encoded, lost = encoded_mean(codec, UNIT, [(data, 1.0)], residual)
        assert lost is not None
        told, residual = told + decode(codec, encoded, UNIT), lost
    np.testing.assert_allclose(told + residual, rounds * mean + first, rtol=1e-4, atol=1e-7)
    assert np.abs(residual).max() < 1e-3


def test_the_mean_does_not_depend_on_how_the_vector_is_cut() -> None:
    size = SLAB + 3 * UNIT + 5
    vectors, residual = [gradient(size, seed) for seed in range(3)], gradient(size, 9)
    whole, _ = encoded_mean(Int4(), size, [(it, 7.0) for it in sent(Int4(), *vectors)], residual)
    mean = decode(Int4(), whole, size)
    for part in split(size, [5, 7, unit_count(size) - 12]):
        contributions = [(it, 7.0) for it in sent(Int4(), *(it[part.where] for it in vectors))]
        encoded, _ = encoded_mean(Int4(), part.values, contributions, residual[part.where])
        assert decode(Int4(), encoded, part.values).tobytes() == mean[part.where].tobytes()


@pytest.mark.parametrize("codec", [Fp32(), *LOSSY], ids=lambda codec: codec.name)
@pytest.mark.parametrize("residual", [-30, 0, 30, 700])
def test_a_mean_at_the_limit_is_sent_all_the_same(codec: Codec, residual: float) -> None:
    """What an earlier answer has lost may take it beyond what may be sent."""
    (data,) = sent(codec, np.full(BLOCK, MAX_ABSOLUTE, np.float32))
    lost = np.full(BLOCK, residual, np.float32) if codec.lossy else None
    encoded, _ = encoded_mean(codec, BLOCK, [(data, 1.0), (data, 2.0)], lost)
    assert codec.objection(encoded, BLOCK) == ""
    mean = MAX_ABSOLUTE + min(residual, 0) * codec.lossy
    np.testing.assert_allclose(decode(codec, encoded, BLOCK), mean, rtol=1e-3)


@pytest.mark.parametrize("value", [10_001, -15_000, 20_000])
def test_values_that_are_let_in_never_break_the_mean(value: float) -> None:
    one, other = np.full(BLOCK, value, "<f4").tobytes(), bytes(4 * BLOCK)
    assert Fp32().objection(one, BLOCK) == ""
    alone, _ = encoded_mean(Fp32(), BLOCK, [(one, 1.0)], None)
    assert set(decode(Fp32(), alone, BLOCK)) == {np.copysign(MAX_ABSOLUTE, value)}
    shared, _ = encoded_mean(Fp32(), BLOCK, [(one, 1.0), (other, 3.0)], None)
    assert set(decode(Fp32(), shared, BLOCK)) == {value / 4}


# ---- the answer ----------------------------------------------------------------------------


def test_the_digest_of_an_answer_covers_who_is_in_it_and_its_bytes() -> None:
    part = HeldPart((0, 2), (LeftOut(1, "late", 0),), b"bytes")
    expected = blake3(bytes.fromhex("0000000002000000") + b"bytes").digest()
    assert part.digest == expected
    assert HeldPart((0, 2), (), bytearray(b"bytes")).digest == expected
    others = {HeldPart((0, 1), (), b"bytes").digest, HeldPart((0, 2), (), b"byteS").digest}
    assert expected not in others
    assert len(others) == 2
