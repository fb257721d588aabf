"""Micro-batches follow the machine: smaller when it is slow, larger again when it is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer.training.pace import (
    CALM_SECONDS,
    MUCH_TOO_SLOW,
    RESPONSE_SECONDS,
    Change,
    MicroBatchPace,
)

SLOW = 1.1 * RESPONSE_SECONDS
QUICK = 0.1 * RESPONSE_SECONDS


def test_three_slow_ones_in_a_row_make_the_next_smaller() -> None:
    pace = MicroBatchPace()
    took = [SLOW, SLOW, QUICK, SLOW, SLOW, SLOW, SLOW]
    changes = [pace.took(seconds, now) for now, seconds in enumerate(took)]
    assert changes == [Change.NONE] * 5 + [Change.SMALLER, Change.NONE]


def test_one_that_is_much_too_slow_is_reason_enough() -> None:
    assert MicroBatchPace().took(1.01 * MUCH_TOO_SLOW * RESPONSE_SECONDS, 0.0) is Change.SMALLER


def test_with_less_time_allowed_what_was_quick_is_slow() -> None:
    pace = MicroBatchPace()
    changes = [pace.took(QUICK, now, most=QUICK / 2) for now in range(3)]
    assert changes == [Change.NONE, Change.NONE, Change.SMALLER]


def test_ten_quick_minutes_make_them_larger_and_ten_more_again() -> None:
    pace = MicroBatchPace()
    changes = {now: pace.took(QUICK, now) for now in range(int(2 * CALM_SECONDS) + 2)}
    grown = [now for now, change in changes.items() if change is Change.LARGER]
    assert grown == [CALM_SECONDS, 2 * CALM_SECONDS + 1]


def test_one_that_is_not_quick_starts_the_wait_anew() -> None:
    pace = MicroBatchPace()
    for now in range(int(CALM_SECONDS)):
        assert pace.took(QUICK, now) is Change.NONE
    assert pace.took(0.6 * RESPONSE_SECONDS, CALM_SECONDS) is Change.NONE
    assert pace.took(QUICK, CALM_SECONDS + 1) is Change.NONE
    assert pace.took(QUICK, 2 * CALM_SECONDS) is Change.NONE
    assert pace.took(QUICK, 2 * CALM_SECONDS + 1) is Change.LARGER


@given(st.floats(0.01, 30))
def test_on_a_steady_machine_sizes_settle(seconds_for_each: float) -> None:
    """They do not go back and forth: after the last change down none goes up."""
    pace, size, now = MicroBatchPace(), 16, 0.0
    changes = []
    while now < 20 * CALM_SECONDS:
        now += max(5.0, took := seconds_for_each * size)
        change = pace.took(took, now)
        if change is Change.SMALLER:
            size = max(1, size // 2)
        elif change is Change.LARGER:
            size = min(16, size * 2)
        changes.append(change)
    if Change.SMALLER in changes:
        assert Change.LARGER not in changes
