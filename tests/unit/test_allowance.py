"""A token bucket of processor seconds: any ten seconds hold what is allowed, bursts or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.training.allowance import SAVED_SECONDS, WINDOW_SECONDS, Allowance


def test_without_a_limit_nobody_waits() -> None:
    allowance = Allowance(0.0)
    allowance.used(1000.0, 1.0)
    assert allowance.wait_seconds(1.0) == 0


def test_who_used_more_than_came_in_waits_until_it_has() -> None:
    allowance = Allowance(0.0)
    allowance.set_rate(0.5, 0.0)
    allowance.used(1.0, 1.0)
    assert allowance.wait_seconds(1.0) == pytest.approx(1.0), "half a second of use is to come in"
    assert allowance.wait_seconds(2.0) == 0


@pytest.mark.parametrize("seconds", [0.05, 0.5, 2.0])
def test_however_long_one_use_takes_the_rate_is_kept(seconds: float) -> None:
    allowance, now, used = Allowance(0.0), 0.0, 0.0
    allowance.set_rate(0.25, now)
    while now < 100.0:
        now += seconds
        used += seconds
        allowance.used(seconds, now)
        now += allowance.wait_seconds(now)
    assert used / now == pytest.approx(0.25, rel=0.03)


def test_what_was_not_used_for_an_hour_is_no_burst_later() -> None:
    allowance = Allowance(0.0)
    allowance.set_rate(1.0, 0.0)
    allowance.wait_seconds(3600.0)
    allowance.used(1.0, 3600.0)
    assert allowance.wait_seconds(3600.0) == pytest.approx(1.0 - SAVED_SECONDS)


def test_a_debt_that_cannot_be_paid_within_the_window_is_forgiven() -> None:
    allowance = Allowance(0.0)
    allowance.set_rate(0.25, 0.0)
    allowance.used(1000.0, 0.0)
    assert allowance.wait_seconds(0.0) == pytest.approx(WINDOW_SECONDS)


def test_a_limit_that_is_lifted_lets_go_at_once_and_a_lower_one_holds_at_once() -> None:
    allowance = Allowance(0.0)
    allowance.set_rate(0.1, 0.0)
    allowance.used(5.0, 0.0)
    allowance.set_rate(None, 1.0)
    assert allowance.wait_seconds(1.0) == 0
    allowance.set_rate(0.1, 2.0)
    allowance.used(0.5, 2.0)
    assert allowance.wait_seconds(2.0) == pytest.approx(5.0)


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    allowance = Allowance(10.0)
    allowance.set_rate(1.0, 10.0)
    allowance.used(1.0, 10.0)
    assert allowance.wait_seconds(5.0) == pytest.approx(1.0)


@settings(max_examples=50)
@given(
    rate=st.floats(0.05, 4.0),
    grain=st.floats(0.05, 0.3),
    bursts=st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 2.0)), max_size=5),
)
def test_any_ten_seconds_hold_what_is_allowed(
    rate: float, grain: float, bursts: list[tuple[float, float]]
) -> None:
    """The trainer's micro-batches take `grain` seconds; the daemon's bursts come uninvited."""
    allowance = Allowance(0.0)
    allowance.set_rate(rate, 0.0)
    now, uses = 0.0, []
    waiting = sorted(bursts)
    while now < 30.0:
        while waiting and waiting[0][0] <= now:
            burst = min(waiting.pop(0)[1], rate)  # what no trainer could make room for is not its
            allowance.used(burst, now)
            uses.append((now, burst))
        if (wait := allowance.wait_seconds(now)) > 0:
            now += max(wait, 1e-3)
            continue
        now += grain  # on one thread
        allowance.used(grain, now)
        uses.append((now, grain))
    for end, _ in uses:
        window = [used for at, used in uses if end - WINDOW_SECONDS < at <= end]
        sudden = sum(min(used, rate) for at, used in bursts if end - WINDOW_SECONDS < at <= end)
        most = rate * WINDOW_SECONDS + rate * SAVED_SECONDS + 2 * grain + sudden
        assert sum(window) <= most + 1e-6
