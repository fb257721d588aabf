"""When a run without commits is worth waking somebody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.happenings.stalling import SHORTEST_PATIENCE, is_stalled, patience
from swarmpb.spec import preset

INTERNET = preset("internet").round
"""Rounds of 30 to 900 s, 120 s for an exchange, two peers at least."""
TWO_ROUNDS = 2 * (INTERNET.max_seconds + INTERNET.exchange_seconds)


@pytest.mark.parametrize(
    ("story", "intervals", "seconds"),
    [
        ("nothing is known but the spec", [], TWO_ROUNDS),
        ("rounds of a second alarm nobody within a minute", [1.0] * 20, SHORTEST_PATIENCE),
        ("ten rounds as they are here", [40.0] * 20, 400.0),
        ("one slow round changes nothing", [40.0] * 19 + [900.0], 400.0),
        ("what was long ago changes nothing", [900.0] * 50 + [40.0] * 20, 400.0),
        ("long rounds: two as long as they may be", [800.0] * 20, 3 * 800.0),
        ("rounds longer than the spec says are usual here", [2000.0] * 20, 6000.0),
    ],
)
def test_how_long_is_long(story: str, intervals: list[float], seconds: float) -> None:
    assert patience(INTERNET, intervals) == seconds, story


@given(st.lists(st.floats(0, 1e6), max_size=40))
def test_nobody_is_alarmed_before_three_usual_rounds_nor_long_after_two_allowed(
    intervals: list[float],
) -> None:
    long = patience(INTERNET, intervals)
    assert long >= SHORTEST_PATIENCE
    usual = sorted(intervals[-20:])[len(intervals[-20:]) // 2] if intervals else 0.0
    assert long <= max(TWO_ROUNDS, 3 * usual)


def test_a_run_with_too_few_peers_waits_and_is_not_stalled() -> None:
    assert is_stalled(INTERNET, 2, TWO_ROUNDS + 1, [])
    assert not is_stalled(INTERNET, 1, TWO_ROUNDS + 1, [])
    assert not is_stalled(INTERNET, 2, TWO_ROUNDS - 1, [])
