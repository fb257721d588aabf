"""What a codec loses is not lost: it is sent in a later round, by members and by owners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
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
from peer.averaging.feedback import ErrorFeedback, Work
from peer.averaging.parts import Part, encoded_mean, split
from peer.averaging.sparse import Sparse

SPARSE = Sparse("sparse", kept=64)
LOSSY: tuple[Codec, ...] = (Fp16(), Int8(), Int4(), SPARSE)
each_lossy = pytest.mark.parametrize("codec", LOSSY, ids=lambda codec: codec.name)
SIZE = 3 * UNIT + 100
PARTS = split(SIZE, [1, 2, 1])
WHOLE = [Part(0, 0, 0, SIZE)]
BASE = np.zeros(SIZE, np.float32)

Wide = npt.NDArray[np.float64]


def random_vector(seed: int, size: int = SIZE) -> FlatVector:
    values: FlatVector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    return values


def trained(work: FlatVector) -> FlatVector:
    """Local parameters of which that is the work, from BASE on."""
    return -work


def arrived(codec: Codec, work: Work, parts: Sequence[Part]) -> FlatVector:
    out = np.full(SIZE, np.nan, np.float32)
    for part in parts:
        out[part.where] = decode(codec, work.encode(codec, part), part.values)
    return out


def answered(place: tuple[int, int], lost: FlatVector) -> dict[Part, FlatVector]:
    return {Part(0, 0, *place): lost}


def residual(feedback: ErrorFeedback, start: int, stop: int) -> FlatVector:
    found = feedback.of_answers(Part(0, 0, start, stop))
    assert found is not None
    return found


def owner(*places: tuple[int, int, float]) -> ErrorFeedback:
    """An owner of whose answers (start, stop) each have lost that much of each value."""
    feedback = ErrorFeedback(lossy=True)
    nothing = feedback.work(BASE, BASE)
    for start, stop, value in places:
        lost = np.full(stop - start, value, np.float32)
        feedback.keep(nothing, [], answered((start, stop), lost))
    return feedback


# ---- one round of a member -------------------------------------------------------------------


@each_lossy
@pytest.mark.parametrize("size", [1, UNIT - 1, SLAB + UNIT + 3])
def test_work_is_what_was_trained_encoded(codec: Codec, size: int) -> None:
    base, cut = random_vector(1, size), random_vector(2, size)
    part = Part(0, 0, 0, size)
    work = ErrorFeedback(lossy=True).work(base, cut)
    expected = base - cut
    lost = expected.copy()
    assert work.encode(codec, part) == encode(codec, lost)
    assert work.lost is not None
    assert work.lost.tobytes() == lost.tobytes()
    assert base.tobytes() == random_vector(1, size).tobytes()
    assert cut.tobytes() == random_vector(2, size).tobytes()


def test_a_part_is_encoded_as_if_it_were_a_vector_of_its_own() -> None:
    work = ErrorFeedback(lossy=True).work(random_vector(1), random_vector(2))
    for part in reversed(PARTS):
        values = random_vector(1)[part.where] - random_vector(2)[part.where]
        assert work.encode(Int8(), part) == encode(Int8(), values)


def test_with_an_exact_codec_nothing_is_lost_nor_kept() -> None:
    feedback = ErrorFeedback(lossy=False)
    base, cut = random_vector(1), random_vector(2)
    for _ in range(3):
        work = feedback.work(base, cut)
        np.testing.assert_array_equal(arrived(Fp32(), work, PARTS), base - cut)
        assert work.lost is None
        feedback.keep(work, PARTS, {})
        assert feedback.of_answers(PARTS[0]) is None


@pytest.mark.parametrize("lossy", [True, False])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 2e4])
def test_values_that_are_no_gradient_are_not_sent(lossy: bool, wrong: float) -> None:
    cut = random_vector(2)
    cut[PARTS[1].start] = wrong
    work = ErrorFeedback(lossy).work(BASE, cut)
    codec = Int8() if lossy else Fp32()
    work.encode(codec, PARTS[0])
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"finite|above"):
        work.encode(codec, PARTS[1])
    assert work.encoded == {0}


def test_work_that_is_over_holds_no_vectors() -> None:
    work = ErrorFeedback(lossy=True).work(BASE, random_vector(2))
    work.encode(Int8(), PARTS[0])
    work.shed()
    assert work.lost is None


# ---- round after round -----------------------------------------------------------------------


@each_lossy
def test_what_is_sent_over_many_rounds_approaches_what_was_trained(codec: Codec) -> None:
    feedback = ErrorFeedback(lossy=True)
    told: Wide = np.zeros(SIZE)
    done: Wide = np.zeros(SIZE)
    off = []
    for round_ in range(30):
        step = random_vector(round_ % 3) * np.float32(0.01)
        work = feedback.work(BASE, trained(step))
        told += arrived(codec, work, PARTS)
        done += step
        assert work.lost is not None
        # nothing is ever lost: it was told, or it waits
        np.testing.assert_allclose(told + work.lost, done, rtol=0, atol=1e-5)
        feedback.keep(work, PARTS, {})
        off.append(float(np.abs(told - done).mean() / np.abs(done).mean()))
    assert off[-1] < (0.95 if codec is SPARSE else 0.1) * off[0]


def test_without_feedback_small_values_would_never_arrive() -> None:
    """Beside a large one in its block, 4 bits say nothing of them."""
    step = np.full(SIZE, 0.001, np.float32)
    step[::256] = 1
    feedback = ErrorFeedback(lossy=True)
    told: Wide = np.zeros(SIZE)
    for _ in range(150):
        work = feedback.work(BASE, trained(step))
        told += arrived(Int4(), work, PARTS)
        feedback.keep(work, PARTS, {})
    assert not decode(Int4(), encode(Int4(), step.copy()), SIZE)[1:256].any()
    np.testing.assert_allclose(told[1:256], 0.15, atol=0.08)


@each_lossy
def test_sparse_or_not_everything_arrives_once_there_is_nothing_new(codec: Codec) -> None:
    feedback = ErrorFeedback(lossy=True)
    step, told = random_vector(1) * np.float32(0.01), np.zeros(SIZE)
    waiting = []
    for round_ in range(200):
        work = feedback.work(BASE, trained(step) if round_ == 0 else BASE)
        told += arrived(codec, work, PARTS)
        feedback.keep(work, PARTS, {})
        waiting.append(float(np.abs(told - step).mean()))
    assert waiting[-1] < 0.05 * float(np.abs(step).mean())
    assert waiting[-1] < waiting[0]


def test_a_void_round_changes_nothing() -> None:
    feedback = ErrorFeedback(lossy=True)
    first = feedback.work(BASE, random_vector(1))
    arrived(Int4(), first, PARTS)
    feedback.keep(first, PARTS, answered((0, UNIT), random_vector(5, UNIT)))
    before = [feedback.work(BASE, random_vector(2)).encode(Int4(), part) for part in PARTS]
    for seed in range(3):  # encoded, lost, and never committed
        arrived(Int4(), feedback.work(BASE, random_vector(seed)), PARTS)
    after = [feedback.work(BASE, random_vector(2)).encode(Int4(), part) for part in PARTS]
    assert after == before
    np.testing.assert_array_equal(residual(feedback, 0, UNIT), random_vector(5, UNIT))


def test_work_already_begun_does_not_notice_a_round_that_ends_meanwhile_void() -> None:
    feedback = ErrorFeedback(lossy=True)
    late, early = feedback.work(BASE, random_vector(1)), feedback.work(BASE, random_vector(1))
    first = late.encode(Int8(), PARTS[0])
    assert early.encode(Int8(), PARTS[0]) == first


def test_parts_that_the_work_is_not_in_keep_what_waited_there() -> None:
    feedback = ErrorFeedback(lossy=True)
    first = feedback.work(BASE, random_vector(1))
    arrived(Int4(), first, PARTS)
    feedback.keep(first, PARTS, {})
    assert first.lost is not None
    waited = first.lost.copy()
    second = feedback.work(BASE, random_vector(2))
    arrived(Int4(), second, PARTS)
    feedback.keep(second, [PARTS[0], PARTS[2]], {})
    assert second.lost is not None
    third = feedback.work(BASE, BASE)
    arrived(Int4(), third, PARTS)
    expected = second.lost.copy()
    expected[PARTS[1].where] = waited[PARTS[1].where]
    for part in PARTS:
        data = encode(Int4(), expected[part.where].copy())
        assert feedback.work(BASE, BASE).encode(Int4(), part) == data


def test_what_a_first_round_did_not_include_does_not_wait() -> None:
    """All of that work rides along in the peer's own parameters."""
    feedback = ErrorFeedback(lossy=True)
    work = feedback.work(BASE, random_vector(1))
    arrived(Int4(), work, PARTS)
    feedback.keep(work, [PARTS[1]], {})
    again = arrived(Int8(), feedback.work(BASE, BASE), PARTS)
    assert not again[PARTS[0].where].any()
    assert not again[PARTS[2].where].any()
    assert again[PARTS[1].where].any()


def test_an_owner_that_claims_what_was_never_sent_to_it_changes_nothing() -> None:
    feedback = ErrorFeedback(lossy=True)
    work = feedback.work(BASE, random_vector(1))
    work.encode(Int8(), PARTS[0])
    assert work.lost is not None
    for part in PARTS[1:]:
        work.lost[part.where] = np.nan  # what memory that nobody has written to may hold
    feedback.keep(work, PARTS, {})
    again = arrived(Int8(), feedback.work(BASE, BASE), PARTS)
    assert again[PARTS[0].where].any()
    assert not again[PARTS[1].start :].any()


def test_parts_given_up_half_way_leave_nothing_behind() -> None:
    cut = np.zeros(2 * SLAB, np.float32)
    cut[-1] = np.nan
    feedback = ErrorFeedback(lossy=True)
    part = Part(0, 0, 0, cut.size)
    zeros = np.zeros_like(cut)
    work = feedback.work(zeros, cut)
    with pytest.raises(ValueError, match="not finite"):
        work.encode(Int8(), part)
    feedback.keep(work, [part], {})
    assert not any(decode(Int8(), feedback.work(zeros, zeros).encode(Int8(), part), cut.size))


def test_the_residual_follows_the_values_not_the_parts() -> None:
    """The next roster may cut the vector at other places."""
    feedback = ErrorFeedback(lossy=True)
    work = feedback.work(BASE, random_vector(1))
    arrived(Int4(), work, PARTS)
    feedback.keep(work, PARTS, {})
    again = feedback.work(BASE, BASE).encode(Int8(), WHOLE[0])
    assert work.lost is not None
    assert again == encode(Int8(), work.lost.copy())


def test_a_peer_that_starts_anew_owes_nothing() -> None:
    feedback = ErrorFeedback(lossy=True)
    work = feedback.work(BASE, random_vector(1))
    arrived(Int4(), work, PARTS)
    feedback.keep(work, PARTS, answered((0, UNIT), random_vector(5, UNIT)))
    feedback.forget()
    assert not arrived(Int4(), feedback.work(BASE, BASE), PARTS).any()
    assert not residual(feedback, 0, SIZE).any()


# ---- an owner's answers ----------------------------------------------------------------------


def test_a_new_owner_owes_nothing() -> None:
    np.testing.assert_array_equal(residual(ErrorFeedback(lossy=True), 5, 9), np.zeros(4))


def test_what_an_answer_has_lost_is_in_the_next_for_the_same_part() -> None:
    feedback = owner((0, UNIT, 1.0), (UNIT, 2 * UNIT, 2.0))
    np.testing.assert_array_equal(residual(feedback, 0, UNIT), np.ones(UNIT))
    feedback.keep(feedback.work(BASE, BASE), [], answered((0, UNIT), random_vector(3, UNIT)))
    np.testing.assert_array_equal(residual(feedback, 0, UNIT), random_vector(3, UNIT))
    np.testing.assert_array_equal(residual(feedback, UNIT, 2 * UNIT), np.full(UNIT, 2))


def test_what_answers_have_lost_moves_with_what_the_peer_owns() -> None:
    feedback = owner((0, 100, 1.0), (100, 150, 2.0))
    expected = np.repeat([1.0, 2.0, 0.0], [40, 50, 30])
    np.testing.assert_array_equal(residual(feedback, 60, 180), expected)
    np.testing.assert_array_equal(residual(feedback, 110, 120), np.full(10, 2))


def test_a_void_part_keeps_what_waited_there() -> None:
    """Of two new parts in place of one, only the first is in the round."""
    feedback = owner((0, 200, 1.0), (0, 100, 3.0))
    np.testing.assert_array_equal(residual(feedback, 0, 200), np.repeat([3.0, 1.0], 100))


def test_a_new_part_in_the_middle_keeps_both_ends() -> None:
    feedback = owner((0, 300, 1.0), (100, 200, 3.0))
    np.testing.assert_array_equal(residual(feedback, 0, 300), np.repeat([1.0, 3.0, 1.0], 100))


places = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda it: (it[0], it[0] + it[1]))


@given(st.lists(places, max_size=12))
def test_the_last_answer_for_a_value_is_what_counts_whatever_was_owned_before(
    owned: list[tuple[int, int]],
) -> None:
    model = np.zeros(90, np.float32)
    for number, (start, stop) in enumerate(owned):
        model[start:stop] = number + 1
    feedback = owner(*((*place, float(index + 1)) for index, place in enumerate(owned)))
    np.testing.assert_array_equal(residual(feedback, 0, 90), model)
    for start in range(0, 90, 13):
        stop = min(start + 13, 90)
        np.testing.assert_array_equal(residual(feedback, start, stop), model[start:stop])


def test_what_is_handed_out_is_the_owners_to_write_to() -> None:
    feedback = owner((0, 10, 1.0))
    residual(feedback, 0, 10)[:] = 9
    np.testing.assert_array_equal(residual(feedback, 0, 10), np.ones(10))


@each_lossy
def test_member_and_owner_together_tell_in_the_end_what_was_trained(codec: Codec) -> None:
    """Both ends of one exchange, and an owner whose parts change from round to round."""
    member, owning = ErrorFeedback(lossy=True), ErrorFeedback(lossy=True)
    step = random_vector(1) * np.float32(0.01)
    told: Wide = np.zeros(SIZE)
    rounds = 12
    for round_ in range(rounds):
        parts = PARTS if round_ % 2 else WHOLE
        work, lost = member.work(BASE, trained(step)), {}
        for part in parts:
            sent = work.encode(codec, part)
            answer, loss = encoded_mean(codec, part.values, [(sent, 5.0)], owning.of_answers(part))
            assert loss is not None
            lost[part] = loss
            told[part.where] += decode(codec, answer, part.values)
        member.keep(work, parts, {})
        owning.keep(owning.work(BASE, BASE), [], lost)
        assert work.lost is not None
        waiting = work.lost + residual(owning, 0, SIZE)
        np.testing.assert_allclose(told + waiting, (round_ + 1) * step, rtol=0, atol=1e-5)
