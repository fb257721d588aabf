"""The decisions of a state download, one by one: turns, pins, pace, blocks, donors, words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.malformed import Malformed
from peer.averaging.state import STATE_BLOCK_BYTES, GlobalState
from peer.transfer.candidates import MAX_DONORS, MAX_QUEUES, TRIES_A_DONOR, Candidates
from peer.transfer.incoming import OVERDUE_SECONDS, Incoming, NotFiniteError
from peer.transfer.pace import SLOWEST, TOO_SLOW, Pace, serving_rate
from peer.transfer.pins import LINGER_SECONDS, MOST_PINNED, Pins
from peer.transfer.progress import Progress, Waiting
from peer.transfer.turns import MOST_WAITING, RETURN_SECONDS, SLOTS, QueueFull, Turns


def some_state(round_: int = 7, parameters: int = 10, value: float = 1.0) -> GlobalState:
    parameters_, momentum = (np.full(parameters, it, np.float32) for it in (value, 2 * value))
    return GlobalState(round_, 10 * round_, parameters_, momentum, (), b"covered")


# ---- pace --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upload", "cores", "rate"),
    [
        (0, 2, 8e6),  # nothing known of the link: the processor counts
        (125_000_000, 2, 8e6),
        (1_250_000, 2, 625_000),
        (1, 2, SLOWEST),
    ],
)
def test_a_donor_gives_half_its_link_and_a_fiftieth_of_its_processors(
    upload: int, cores: int, rate: float
) -> None:
    assert serving_rate(upload, cores) == rate


def test_a_user_that_allows_little_has_the_last_word_on_what_is_given_away() -> None:
    assert serving_rate(40_000, 2, limited=True) == 20_000 < SLOWEST
    assert serving_rate(int(TOO_SLOW), 2, limited=True) == 0


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 50)), min_size=1, max_size=50),
    st.floats(1, 1e4),
)
def test_the_pace_is_never_above_the_rate(asked: list[tuple[int, float]], rate: float) -> None:
    """Between any two departures there is time for all that left in between."""
    pace, now, left = Pace(), 0.0, []
    for size, later in asked:
        now += later
        left.append((now + pace.reserve(size, rate, now), size))
    for first in range(len(left)):
        for last in range(first + 1, len(left)):
            sent = sum(size for _, size in left[first:last])
            assert left[last][0] - left[first][0] >= sent / rate - 1e-6


def test_an_idle_donor_saves_nothing_up() -> None:
    pace = Pace()
    assert pace.reserve(100, 10, now=1000) == 0
    assert pace.reserve(100, 10, now=1000) == 10
    assert pace.reserve(100, math.inf, now=1030) == 0


# ---- turns -------------------------------------------------------------------------------


def names(count: int, letter: str = "p") -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def test_the_first_come_are_served_and_the_others_move_up() -> None:
    turns = Turns()
    peers = names(SLOTS + 2)
    for peer in peers:
        turns.enter(peer, now=0)
    assert [turns.position(it) for it in peers] == [0] * SLOTS + [1, 2]
    turns.leave(peers[0], now=1, broke=False)
    assert [turns.position(it) for it in peers[1:]] == [0] * SLOTS + [1]
    turns.leave(peers[-2], now=1, broke=False)
    assert turns.position(peers[-1]) == 0


def test_who_has_a_place_keeps_it_and_takes_no_second_one() -> None:
    turns = Turns()
    for peer in names(SLOTS + 2) * 2:
        turns.enter(peer, now=0)
    assert (len(turns.serving), turns.waiting) == (SLOTS, 2)


def test_a_full_queue_takes_nobody_but_who_broke_off_just_now() -> None:
    turns = Turns()
    peers = names(SLOTS + MOST_WAITING)
    for peer in peers:
        turns.enter(peer, now=0)
    with pytest.raises(QueueFull, match=f"{MOST_WAITING} peers wait"):
        turns.enter("late", now=1)
    turns.leave(peers[0], now=1, broke=True)
    turns.leave(peers[1], now=1, broke=False)
    for peer in names(2, "new"):
        turns.enter(peer, now=2)
    with pytest.raises(QueueFull):
        turns.enter(peers[1], now=2)
    turns.enter(peers[0], now=1 + RETURN_SECONDS - 0.1)
    assert turns.position(peers[0]) == 1


def test_who_comes_back_too_late_waits_like_the_others() -> None:
    turns = Turns()
    peers = names(SLOTS + 2)
    for peer in peers:
        turns.enter(peer, now=0)
    turns.leave(peers[0], now=1, broke=True)
    turns.enter(peers[0], now=1 + RETURN_SECONDS)
    assert turns.position(peers[0]) == 2


# ---- pins --------------------------------------------------------------------------------


def test_a_pinned_state_outlives_its_owners_interest_and_lingers_after_a_break() -> None:
    own = [some_state(7)]
    pins = Pins(lambda: own)
    digest = own[0].digest
    assert pins.pin(digest, now=0) is own[0], "the same object"
    own[:] = [some_state(9), some_state(8)]
    assert [it.round for it in pins.offers(now=100)] == [9, 8, 7]
    pins.release(digest, now=100, broke=True)
    assert pins.rounds() == [7]
    pins.expire(now=100 + LINGER_SECONDS - 0.1)
    assert pins.rounds() == [7]
    pins.expire(now=100 + LINGER_SECONDS)
    assert pins.rounds() == []
    assert pins.pin(digest, now=200) is None


def test_a_state_goes_with_its_last_user_when_nothing_broke() -> None:
    own = [some_state(7)]
    pins = Pins(lambda: own)
    for _ in range(2):
        pins.pin(own[0].digest, now=0)
    pins.release(own[0].digest, now=1, broke=False)
    assert pins.rounds() == [7]
    pins.release(own[0].digest, now=1, broke=False)
    assert pins.rounds() == []


def test_who_comes_when_enough_states_are_pinned_is_offered_those() -> None:
    own = [some_state(8), some_state(7)]
    pins = Pins(lambda: own)
    for state in own:
        pins.pin(state.digest, now=0)
    own[:] = [some_state(10), some_state(9)]
    assert sorted(it.round for it in pins.offers(now=1)) == [7, 8]
    assert pins.pin(own[0].digest, now=1) is None
    assert pins.pin(some_state(8).digest, now=1) is not None


def test_a_state_that_only_lingers_makes_room() -> None:
    own = [some_state(8), some_state(7)]
    pins = Pins(lambda: own)
    for state in own:
        pins.pin(state.digest, now=0)
        pins.release(state.digest, now=state.round, broke=True)
    own[:] = [some_state(9)]
    assert pins.pin(own[0].digest, now=10) is not None
    assert pins.rounds() == [8, 9], "the one that broke last stays"
    assert len(pins.rounds()) == MOST_PINNED


# ---- blocks ------------------------------------------------------------------------------

FOUR_BLOCKS = some_state(parameters=2 * STATE_BLOCK_BYTES // 4)


def incoming(state: GlobalState = FOUR_BLOCKS) -> Incoming:
    return Incoming(state.header, b"".join(state.block_digests), state.coverage)


def test_blocks_make_the_state_in_any_order() -> None:
    into = incoming()
    for index in (3, 0, 2, 1):
        assert into.left
        assert into.put(index, FOUR_BLOCKS.block(index))
    assert (into.left, into.arrived_bytes) == (0, into.total_bytes)
    assert into.state().digest == FOUR_BLOCKS.digest


def test_a_wrong_block_changes_nothing_even_where_the_right_one_has_arrived() -> None:
    into = incoming()
    wrong = bytearray(FOUR_BLOCKS.block(0))
    wrong[5] ^= 1
    assert into.put(0, FOUR_BLOCKS.block(0))
    assert not into.put(0, memoryview(wrong))
    assert not into.put(1, memoryview(wrong))
    assert not into.put(2, FOUR_BLOCKS.block(2)[:-4])
    assert into.left == 3
    for index in (1, 2, 3):
        into.put(index, FOUR_BLOCKS.block(index))
    assert into.state().digest == FOUR_BLOCKS.digest


def test_values_that_are_not_finite_condemn_the_state() -> None:
    poisoned = some_state(value=math.nan)
    with pytest.raises(NotFiniteError):
        incoming(poisoned).put(0, poisoned.block(0))


@pytest.mark.parametrize(
    ("digests", "coverage", "why"),
    [(b"", b"covered", "digests"), (bytes(128), b"covered", "digests"), (None, b"", "coverage")],
)
def test_a_description_must_fit_its_header(
    digests: bytes | None, coverage: bytes, why: str
) -> None:
    if digests is None:
        digests = b"".join(FOUR_BLOCKS.block_digests)
    with pytest.raises(Malformed, match=why):
        Incoming(FOUR_BLOCKS.header, digests, coverage)


def test_each_block_is_asked_for_once_and_everybody_has_something_to_do() -> None:
    into = incoming()
    assert into.take("a", 16, donors=2, now=0) == [0, 1]
    assert into.take("b", 16, donors=2, now=0) == [2]
    assert into.take("b", 16, donors=2, now=0) == [3]
    assert into.take("a", 16, donors=2, now=0) == []


def test_what_a_lost_donor_was_asked_for_is_free_again_unless_it_has_come() -> None:
    into = incoming()
    assert into.take("a", 16, donors=1, now=0) == [0, 1, 2, 3]
    into.put(1, FOUR_BLOCKS.block(1))
    into.give_up("a")
    assert into.take("b", 16, donors=1, now=0) == [0, 2, 3]


def test_an_idle_donor_helps_out_a_slow_one_from_the_end_and_nobody_helps_twice() -> None:
    into = incoming()
    into.take("slow", 16, donors=1, now=0)
    assert into.take_overdue("idle", 16, now=OVERDUE_SECONDS - 0.1) == []
    assert into.take_overdue("slow", 16, now=OVERDUE_SECONDS) == []
    assert into.take_overdue("idle", 16, now=OVERDUE_SECONDS) == [2, 3]
    assert into.take_overdue("third", 16, now=OVERDUE_SECONDS) == [1]
    assert into.take_overdue("idle", 16, now=3 * OVERDUE_SECONDS) == [0]
    assert into.take_overdue("third", 16, now=9 * OVERDUE_SECONDS) == []
    into.give_up("slow")
    assert into.take("fourth", 16, donors=1, now=10) == [], "the helpers are still at it"
    into.give_up("idle")
    assert sorted(into.take("fourth", 16, donors=1, now=10)) == [0, 2, 3]


# ---- donors ------------------------------------------------------------------------------


def test_as_many_are_asked_as_may_send_and_those_with_a_queue_do_not_count() -> None:
    donors = Candidates(names(20))
    asked = [donors.next() for _ in range(MAX_DONORS)]
    assert asked == names(MAX_DONORS)
    assert donors.next() is None
    for donor in names(MAX_QUEUES):
        donors.waits(Waiting(donor, 1, 1))
        further = donors.next()
        assert (further is None) == (donor == f"p{MAX_QUEUES - 1}")
    assert len(donors.waiting) == MAX_QUEUES


def test_a_turn_that_comes_when_enough_send_is_passed_on() -> None:
    donors = Candidates(names(20))
    first = donors.next()
    assert first
    donors.waits(Waiting(first, 1, 1))
    for _ in range(MAX_DONORS):
        donor = donors.next()
        assert donor
        assert donors.begins(donor)
    assert not donors.begins(first)
    assert donors.waiting == ()


def test_a_donor_that_fails_again_and_again_is_out_unless_it_delivers_in_between() -> None:
    donors = Candidates(["a"])
    for _ in range(TRIES_A_DONOR - 1):
        assert donors.next() == "a"
        assert donors.failed("a", "hung up")
        assert donors.any, "it rests"
        donors.again("a")
    assert donors.next() == "a"
    donors.delivered("a")
    assert donors.failed("a", "hung up")
    donors.again("a")
    for _ in range(TRIES_A_DONOR - 2):
        assert donors.failed("a", "hung up")
        donors.again("a")
    donors.next()
    assert not donors.failed("a", "silent")
    assert donors.describe() == "a: silent"


def test_who_lacks_one_state_is_asked_for_the_next() -> None:
    donors = Candidates(["a", "b"])
    donors.next()
    donors.next()
    donors.lacks("a", "it holds round 9 by now")
    donors.is_out("b", "it lied")
    assert not donors.any
    donors.want_another()
    assert donors.next() == "a"
    assert donors.next() is None


# ---- words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(12, 43, 100, 3, ()), "downloading the state of round 12: 43 % from 3 peers"),
        (Progress(12, 0, 100, 1, ()), "downloading the state of round 12: 0 % from 1 peer"),
        (
            Progress(12, 0, 0, 0, (Waiting("somebody", 3, 9), Waiting("else", 2, 5))),
            "waiting for a turn to download the state of round 12: 2nd of 5 at else",
        ),
        (
            Progress(12, 999, 1000, 0, (Waiting("x", 11, 11),)),
            "waiting for a turn to download the state of round 12: 11th of 11 at x, "
            "99 % has arrived",
        ),
        (Progress(12, 0, 0, 0, ()), "looking for a peer that gives the state of round 12"),
        (
            Progress(12, 5, 10, 0, ()),
            "looking for a peer that gives the state of round 12, 50 % has arrived",
        ),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    assert progress.describe() == words
