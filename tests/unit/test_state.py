"""The arithmetic of a round: numbers worked out by hand, signs, and bits that must not differ."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.codecs import (
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
from peer.averaging.parts import Part, split, unit_count
from peer.averaging.sparse import Sparse
from peer.averaging.state import (
    STATE_BLOCK_BYTES,
    GlobalState,
    adoption_shift,
    advance,
    block_count,
    block_place,
    header_of,
    is_finite,
    outer_step,
)


def float32(*values: float) -> FlatVector:
    return np.array(values, np.float32)


def random_vector(seed: int, size: int = 1000) -> FlatVector:
    values: FlatVector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    return values


def state(size: int = 1000, round_: int = 3, tokens: int = 5000) -> GlobalState:
    return GlobalState(round_, tokens, random_vector(1, size), random_vector(2, size))


# ---- the outer step --------------------------------------------------------------------


def stepped(
    parameters: FlatVector, momentum: FlatVector, gradient: FlatVector, rate: float, factor: float
) -> tuple[FlatVector, FlatVector]:
    new = np.full_like(parameters, np.nan), np.full_like(parameters, np.nan)
    outer_step((parameters, momentum), gradient.copy(), rate, factor, new)
    return new


def test_two_outer_steps_worked_out_by_hand() -> None:
    # m = 0.5 * 0 + 2 = 2;  theta = 10 - 0.25 (2 + 0.5 * 2) = 9.25
    parameters, momentum = stepped(float32(10), float32(0), float32(2), 0.25, 0.5)
    assert (parameters.tolist(), momentum.tolist()) == ([9.25], [2.0])
    # m = 0.5 * 2 - 4 = -3;  theta = 9.25 - 0.25 (-4 + 0.5 * -3) = 10.625
    parameters, momentum = stepped(parameters, momentum, float32(-4), 0.25, 0.5)
    assert (parameters.tolist(), momentum.tolist()) == ([10.625], [-3.0])


@pytest.mark.parametrize(
    ("old", "gradient", "parameters", "momentum"),
    [
        ((1.0, 0.0), 0.001, "3f7fa8d6", "3a83126f"),
        ((-0.3, 0.02), -0.7, "3f1ea209", "bf2e978d"),
        ((1e-3, 5e-5), 1e-5, "3a7b39c8", "3866afcc"),
    ],
)
def test_the_bits_of_an_outer_step_never_change(
    old: tuple[float, float], gradient: float, parameters: str, momentum: str
) -> None:
    """Big-endian hex, worked out in fractions. Two versions that differ cannot share a run."""
    theta, m = old
    found = stepped(float32(theta), float32(m), float32(gradient), 0.7, 0.9)
    assert [it.astype(">f4").tobytes().hex() for it in found] == [parameters, momentum]


@pytest.mark.parametrize(("rate", "factor"), [(0.7, 0.9), (0.9, 0.5), (1.0, 0.0)])
def test_outer_steps_are_those_of_torchs_nesterov(rate: float, factor: float) -> None:
    parameters, momentum = random_vector(1), np.zeros(1000, np.float32)
    theirs = torch.nn.Parameter(torch.from_numpy(parameters.copy()))
    optimizer = torch.optim.SGD([theirs], lr=rate, momentum=factor, nesterov=factor > 0)
    for round_ in range(6):
        gradient = random_vector(10 + round_)
        parameters, momentum = stepped(parameters, momentum, gradient, rate, factor)
        theirs.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        np.testing.assert_allclose(parameters, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_an_outer_step_of_rate_one_without_momentum_lands_on_the_one_peers_parameters() -> None:
    before = GlobalState(0, 0, float32(1, 2, 3), np.zeros(3, np.float32))
    local = float32(1.5, 1.75, 3)
    data = encode(Fp32(), before.parameters - local)
    after = advance(before, Fp32(), [(Part(0, 0, 0, 3), data)], 10, 1.0, 0.0)
    np.testing.assert_array_equal(after.parameters, local)


def test_each_operation_is_rounded_by_itself() -> None:
    """0.1 * 0.1 - 0.01 in float32: a fused multiply-add would keep what rounding takes away."""
    factor, momentum = np.float32(0.1), np.float32(0.1)
    rounded = momentum * factor
    gradient = -rounded
    exact = Fraction(float(momentum)) * Fraction(float(factor)) + Fraction(float(gradient))
    fused = np.float32(float(exact))
    assert fused != 0, "this case would not tell the two apart"
    _, new_momentum = stepped(
        float32(1), float32(float(momentum)), float32(float(gradient)), 1.0, 0.1
    )
    assert new_momentum.tolist() == [0.0]


def by_hand(
    theta: np.float32, m: np.float32, g: np.float32, lr: np.float32, mu: np.float32
) -> tuple[np.float32, np.float32]:
    """One value, one operation after the other."""
    new_m = np.float32(np.float32(mu * m) + g)
    direction = np.float32(np.float32(mu * new_m) + g)
    return np.float32(theta - np.float32(lr * direction)), new_m


@given(st.lists(st.tuples(*[st.floats(-100, 100, width=32)] * 3), min_size=1, max_size=70))
def test_a_vector_steps_as_its_values_do_one_by_one(rows: list[tuple[float, ...]]) -> None:
    """However many values share a processor instruction, and whatever is left over at the end."""
    theta, m, g = (float32(*column) for column in zip(*rows, strict=True))
    rate, factor = np.float32(0.7), np.float32(0.9)
    new_theta, new_m = stepped(theta, m, g, 0.7, 0.9)
    for index in range(len(rows)):
        one = by_hand(theta[index], m[index], g[index], rate, factor)
        assert (new_theta[index], new_m[index]) == one


def test_an_outer_step_leaves_the_old_state_alone() -> None:
    parameters, momentum, gradient = (random_vector(seed) for seed in range(3))
    stepped(parameters, momentum, gradient, 0.7, 0.9)
    for seed, vector in enumerate((parameters, momentum)):
        np.testing.assert_array_equal(vector, random_vector(seed))


# ---- a round ---------------------------------------------------------------------------

CODECS: tuple[Codec, ...] = (Fp32(), Fp16(), Int8(), Int4(), Sparse("sparse", kept=64))
each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def answers(
    codec: Codec, gradient: FlatVector, parts: Iterable[Part], void: Container[int] = ()
) -> list[tuple[Part, bytearray | None]]:
    return [
        (part, None if part.index in void else encode(codec, gradient[part.where].copy()))
        for part in parts
    ]


def reference(
    before: GlobalState,
    codec: Codec,
    given: Iterable[tuple[Part, bytearray | None]],
    rate: float,
    factor: float,
) -> tuple[FlatVector, FlatVector]:
    """A round as one would write it down: whole vectors, one operation after the other."""
    lr, mu = np.float32(rate), np.float32(factor)
    parameters, momentum = before.parameters.copy(), before.momentum.copy()
    for part, data in given:
        if data is not None:
            g = decode(codec, data, part.values)
            m = momentum[part.where] * mu + g
            momentum[part.where] = m
            parameters[part.where] -= (g + m * mu) * lr
    return parameters, momentum


@each_codec
@pytest.mark.parametrize("size", [7, 3 * UNIT + 1, 2 * SLAB + 5 * UNIT + 300])
@pytest.mark.parametrize("void", [(), (1,), (0, 2)], ids=str)
def test_a_round_is_bit_for_bit_what_one_would_write_down(
    codec: Codec, size: int, void: tuple[int, ...]
) -> None:
    before, gradient = state(size), random_vector(5, size)
    units = unit_count(size)
    parts = split(size, [units // 3, units - units // 3 - units // 4, units // 4])
    given = answers(codec, gradient, parts, void)
    after = advance(before, codec, given, 6000, 0.7, 0.9)
    parameters, momentum = reference(before, codec, given, 0.7, 0.9)
    assert after.parameters.tobytes() == parameters.tobytes()
    assert after.momentum.tobytes() == momentum.tobytes()
    parents = (before.digest,)
    assert after.digest == GlobalState(4, 6000, parameters, momentum, parents).digest
    assert (after.round, after.tokens) == (4, 6000)


def test_void_parts_stay_as_they_are_momentum_included() -> None:
    size = 3 * UNIT
    before, parts = state(size), split(size, [1, 1, 1])
    given = answers(Fp32(), random_vector(5, size), parts, void=(1,))
    after = advance(before, Fp32(), given, 6000, 0.9, 0.5)
    for old, new in (
        (before.parameters, after.parameters),
        (before.momentum, after.momentum),
    ):
        np.testing.assert_array_equal(new[parts[1].where], old[parts[1].where])
        for part in (parts[0], parts[2]):
            assert (new[part.where] != old[part.where]).mean() > 0.99


@each_codec
def test_a_round_by_parts_is_a_round_of_the_whole(codec: Codec) -> None:
    size = SLAB + 6 * UNIT + 1
    before, gradient = state(size), random_vector(5, size)
    whole = advance(before, codec, answers(codec, gradient, split(size, [23])), 1, 0.9, 0.5)
    parts = answers(codec, gradient, split(size, [0, 5, 1, 0, 17]))
    assert len(parts) > 3
    assert advance(before, codec, reversed(parts), 1, 0.9, 0.5).digest == whole.digest


def test_a_round_writes_to_nothing_of_the_one_before() -> None:
    before = state(1000)
    digest = before.digest
    data = encode(Int8(), random_vector(9))
    answer = bytes(data)
    advance(before, Int8(), [(Part(0, 0, 0, 1000), data)], 1, 1, 0.5)
    assert GlobalState(3, 5000, before.parameters, before.momentum).digest == digest
    assert data == answer, "the answer is still to be given to others"


# ---- adoption --------------------------------------------------------------------------


def test_a_peer_whose_work_was_merged_keeps_only_what_it_trained_since_the_cut() -> None:
    old = GlobalState(0, 0, float32(1, 1), float32(0, 0))
    new = GlobalState(1, 10, float32(4, 5), float32(0, 0))
    cut, since = float32(2, 3), float32(0.25, -0.5)
    local = cut + since
    adopted = local + adoption_shift(old, new, cut, [Part(0, 0, 0, 2)])
    np.testing.assert_array_equal(adopted, new.parameters + since)


def test_the_work_of_a_peer_left_out_rides_along_whole() -> None:
    old = GlobalState(0, 0, float32(1, 1), float32(0, 0))
    new = GlobalState(1, 10, float32(4, 5), float32(0, 0))
    cut, since = float32(2, 3), float32(0.25, -0.5)
    local = cut + since
    adopted = local + adoption_shift(old, new, cut, [])
    np.testing.assert_array_equal(adopted, new.parameters + (local - old.parameters))


@pytest.mark.parametrize("merged", [(0,), (2,), (1,), (0, 2), (1, 2), (0, 1, 2), ()], ids=str)
def test_each_part_is_adopted_for_itself(merged: tuple[int, ...]) -> None:
    size = 3 * UNIT - 9
    old, new, cut = (
        state(size),
        GlobalState(4, 1, random_vector(7, size), random_vector(8, size)),
        (random_vector(9, size)),
    )
    parts = split(size, [1, 1, 1])
    shift = adoption_shift(old, new, cut, [parts[index] for index in merged])
    for part in parts:
        since = cut if part.index in merged else old.parameters
        expected = new.parameters[part.where] - since[part.where]
        np.testing.assert_array_equal(shift[part.where], expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_parameters_with_one_value_that_is_no_number_are_seen(wrong: float, place: int) -> None:
    values = random_vector(1)
    assert is_finite(values)
    values[place] = wrong
    assert not is_finite(values)
    values[(place + 1) % 1000] = -wrong
    assert not is_finite(values), "infinities do not make up for each other"


# ---- the digest ------------------------------------------------------------------------


def test_the_digest_is_the_one_worked_out_by_hand() -> None:
    parameters, momentum = float32(1, -2), float32(0.5, 0)
    blocks = [bytes.fromhex("0000803f000000c0"), bytes.fromhex("0000003f00000000")]
    numbers = struct.pack("<QQQQ", 7, 4096, 2, 1)
    values = blake3(b"".join(blake3(block).digest() for block in blocks)).digest()
    content = numbers + b"p" * 32 + blake3(b"seen").digest() + values
    state = GlobalState(7, 4096, parameters, momentum, (b"p" * 32,), b"seen")
    assert state.digest == blake3(content).digest()


def test_the_digest_follows_from_the_blocks_that_travel() -> None:
    size = STATE_BLOCK_BYTES // 4 + 3
    whole = state(size)
    blocks = [bytes(whole.block(index)) for index in range(block_count(size))]
    assert [len(block) for block in blocks] == [STATE_BLOCK_BYTES, 12] * 2
    assert b"".join(blocks) == whole.parameters.tobytes() + whole.momentum.tobytes()
    hashes = [blake3(block).digest() for block in blocks]
    assert whole.block_digests == tuple(hashes)
    assert header_of(whole.round, whole.tokens, size, (), b"", hashes) == whole.header


@pytest.mark.parametrize("place", [0, 1, 998, 999])
def test_one_bit_anywhere_changes_the_digest(place: int) -> None:
    one = state()
    digests = {one.digest}
    for number in range(2):
        vectors = [one.parameters.copy(), one.momentum.copy()]
        vectors[number][place] = np.nextafter(vectors[number][place], np.float32(np.inf))
        digests.add(GlobalState(one.round, one.tokens, vectors[0], vectors[1]).digest)
    assert len(digests) == 3


def test_a_round_descends_from_the_state_before_it() -> None:
    before = state()
    after = advance(before, Fp32(), [(Part(0, 0, 0, 1000), None)], 6000, 0.9, 0.5)
    assert after.parents == (before.digest,)


def test_all_that_describes_a_state_changes_the_digest() -> None:
    one = state()
    vectors = (one.parameters, one.momentum)
    others = [
        GlobalState(one.round, one.tokens, *vectors, (one.digest,)),
        GlobalState(one.round, one.tokens, *vectors, (), b"seen"),
        GlobalState(one.round + 1, one.tokens, one.parameters, one.momentum),
        GlobalState(one.round, one.tokens + 1, one.parameters, one.momentum),
        GlobalState(one.round, one.tokens, one.momentum, one.parameters),
        GlobalState(one.round, one.tokens, one.parameters[:-1], one.momentum[:-1]),
    ]
    assert len({it.digest for it in [one, *others]}) == 7


def test_how_a_vector_lies_in_memory_does_not_change_the_digest() -> None:
    one = state()
    apart = np.stack([one.parameters, one.momentum], axis=1)
    assert GlobalState(3, 5000, apart[:, 0], apart[:, 1]).digest == one.digest


@pytest.mark.parametrize(
    ("parameters", "blocks"),
    [(1, 2), (STATE_BLOCK_BYTES // 4, 2), (STATE_BLOCK_BYTES // 4 + 1, 4)],
)
def test_every_block_has_a_place_and_no_other_is_there(parameters: int, blocks: int) -> None:
    assert block_count(parameters) == blocks
    places = [block_place(parameters, index) for index in range(blocks)]
    assert places[0][0] == 0
    assert places[blocks // 2][0] == 4 * parameters, "the momentum starts a block of its own"
    assert places[-1][1] == 8 * parameters
    assert all(left[1] == right[0] for left, right in pairwise(places))
    for index in (-1, blocks):
        with pytest.raises(IndexError, match=f"there is no block {index}"):
            block_place(parameters, index)
