"""Who owns what, who weighs how much, and the mean itself."""

from __future__ import annotations

import hashlib
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from peer.averaging.codecs import BLOCK, FlatVector
from peer.averaging.parts import (
    MAX_ABSOLUTE,
    MAX_MEMBERS,
    MAX_TOKENS,
    MAX_WEIGHT_OVER_MEDIAN,
    HeldPart,
    LeftOut,
    bounded_weights,
    objection,
    split,
    weighted_mean,
)

tokens = st.lists(st.integers(0, MAX_TOKENS), min_size=1, max_size=MAX_MEMBERS)


@given(st.integers(1, 200_000), st.integers(1, MAX_MEMBERS))
def test_parts_cover_the_vector_once_and_meet_at_block_boundaries(
    parameters: int, members: int
) -> None:
    parts = split(parameters, members)
    assert [part.index for part in parts] == list(range(len(parts)))
    assert parts[0].start == 0
    assert parts[-1].stop == parameters
    for left, right in pairwise(parts):
        assert left.stop == right.start
        assert left.stop % BLOCK == 0
    assert all(part.values > 0 for part in parts)
    assert max(part.values for part in parts) - min(part.values for part in parts) < 2 * BLOCK


def test_every_member_owns_a_part_when_there_are_enough_blocks() -> None:
    assert [(part.start, part.stop) for part in split(4 * BLOCK - 1, 3)] == [
        (0, BLOCK),
        (BLOCK, 2 * BLOCK),
        (2 * BLOCK, 4 * BLOCK - 1),
    ]


def test_fewer_blocks_than_members_leave_the_last_members_without_a_part() -> None:
    assert len(split(2 * BLOCK + 1, 64)) == 3
    assert [(part.start, part.stop) for part in split(7, 3)] == [(0, 7)]


def test_a_part_says_where_it_is() -> None:
    (_, part) = split(2 * BLOCK, 2)
    assert part.where == slice(BLOCK, 2 * BLOCK)
    assert part.values == BLOCK


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


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_owner_objects_to_what_is_not_finite(wrong: float) -> None:
    assert objection(np.array([0, wrong], np.float32)) == "not finite"


def test_an_owner_objects_to_values_beyond_any_gradient() -> None:
    assert objection(np.array([MAX_ABSOLUTE, -MAX_ABSOLUTE], np.float32)) == ""
    assert objection(np.zeros(0, np.float32)) == ""
    beyond = np.nextafter(np.float32(MAX_ABSOLUTE), np.float32(np.inf))
    for wrong in (beyond, -beyond):
        assert objection(np.array([0, wrong], np.float32)) == "a value above 10000"


@given(st.data(), st.integers(1, 8), st.integers(1, 50))
def test_the_mean_is_that_of_twice_the_precision(
    data: st.DataObject, members: int, size: int
) -> None:
    values = arrays.arrays(np.float32, size, elements=st.floats(-1e4, 1e4, width=32))
    vectors = [data.draw(values) for _ in range(members)]
    weights = [float(data.draw(st.integers(1, MAX_TOKENS))) for _ in range(members)]
    exact = np.average([it.astype(np.float64) for it in vectors], axis=0, weights=weights)
    largest = max(float(np.abs(it).max()) for it in vectors)
    mean = weighted_mean(list(zip(vectors, weights, strict=True)))
    assert mean.dtype == np.float32
    # each product and each sum is rounded once: to 24 bits, or to the tiniest number there is
    tiniest = float(np.finfo(np.float32).smallest_subnormal)
    bound = members * (2**-23 * largest + tiniest)
    np.testing.assert_allclose(mean, exact, rtol=0, atol=bound)


def test_weights_count() -> None:
    one, two = np.array([1, 0], np.float32), np.array([5, 8], np.float32)
    np.testing.assert_array_equal(weighted_mean([(one, 300.0), (two, 100.0)]), [2, 2])


def test_the_mean_of_one_is_that_one_and_nobodys_values_are_written_to() -> None:
    values: FlatVector = np.array([1.1, -2.7], np.float32)
    before = values.copy()
    mean = weighted_mean([(values, 123.0)])
    np.testing.assert_array_equal(mean, values)
    weighted_mean([(values, 1.0), (mean, 2.0)])
    np.testing.assert_array_equal(values, before)


def test_the_digest_of_an_answer_covers_who_is_in_it_and_its_bytes() -> None:
    part = HeldPart((0, 2), (LeftOut(1, "late"),), b"bytes")
    expected = hashlib.sha256(bytes.fromhex("0000000002000000") + b"bytes").digest()
    assert part.digest == expected
    assert HeldPart((0, 2), (), b"bytes").digest == expected
    others = {HeldPart((0, 1), (), b"bytes").digest, HeldPart((0, 2), (), b"byteS").digest}
    assert expected not in others
    assert len(others) == 2
