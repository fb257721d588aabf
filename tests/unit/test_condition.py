"""The word for how a run is, and the line that says what to do about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.spectators.condition import Situation, condition, seconds_left
from swarmpb.spec import preset

SPEC = preset("internet").round
"""Rounds need two peers."""
WELL = Situation(
    state="open",
    state_reason="",
    invite_only=False,
    tokens=1000,
    target_tokens=10_000,
    peers_live=3,
    peers_ever=5,
    since_commit=20.0,
    waiting=20.0,
    intervals=(40.0, 40.0),
    newest_void="",
    diverged_round=None,
)
LONG = 7200.0


@pytest.mark.parametrize(
    ("fields", "word", "said"),
    [
        ({}, "training", ""),
        ({"since_commit": None}, "training", "the first one is under way"),
        ({"state": "draft", "peers_live": 0}, "draft", "nobody can join yet"),
        ({"state": "paused", "state_reason": "new disk"}, "paused", "paused by its owner"),
        ({"state": "paused", "state_reason": "new disk"}, "paused", ": new disk"),
        ({"state": "finished"}, "finished", "ended by its owner"),
        ({"tokens": 10_000, "peers_live": 0}, "finished", "the target is reached"),
        ({"state": "finishing"}, "finishing", "learning rate falls"),
        ({"state": "finishing", "peers_live": 0}, "waiting", "no peer is live"),
        ({"peers_live": 0, "peers_ever": 0}, "waiting", "nobody has joined yet"),
        ({"peers_live": 0, "waiting": LONG}, "waiting", "when one comes back"),
        ({"peers_live": 1}, "waiting", "1 peer is live, and a round needs 2; others join"),
        ({"peers_live": 1, "invite_only": True}, "waiting", "`coordinator invite create`"),
        ({"diverged_round": 12}, "diverged", "round 12 hold different states"),
        ({"diverged_round": 12, "peers_live": 0}, "waiting", "no peer is live"),
        ({"waiting": LONG, "since_commit": LONG}, "stalled", "for 2 h, though 3 peers are live"),
        ({"waiting": LONG, "since_commit": None}, "stalled", "no round has ever been committed"),
        ({"waiting": LONG, "newest_void": "no majority"}, "stalled", "was void: no majority"),
        ({"waiting": 30.0, "since_commit": LONG}, "training", ""),
    ],
)
def test_a_stranger_is_told_how_the_run_is(fields: dict[str, Any], word: str, said: str) -> None:
    told, reason = condition(replace(WELL, **fields), SPEC)
    assert told == word
    assert said in reason
    assert "\n" not in reason


def test_whatever_is_not_simply_going_on_comes_with_a_reason() -> None:
    for state in ("draft", "paused", "finishing", "finished"):
        assert condition(replace(WELL, state=state), SPEC)[1]
    for fields in ({"peers_live": 0}, {"peers_live": 1}, {"diverged_round": 1}, {"waiting": LONG}):
        assert condition(replace(WELL, **fields), SPEC)[1]


def commits(*seconds: float, tokens: int = 100) -> list[tuple[float, int]]:
    """Rounds that each merged as many tokens, so many seconds after the one before."""
    at, found = 1000.0, [(1000.0, 0)]
    for count, later in enumerate(seconds, start=1):
        at += later
        found.append((at, count * tokens))
    return found


@pytest.mark.parametrize(
    ("story", "history", "rate"),
    [
        ("nothing is known before two rounds", commits(), None),
        ("ten tokens a second", commits(10.0), 10.0),
        ("one round that took an hour changes nothing", commits(10.0, 10.0, 3600.0), 10.0),
        ("what was long ago changes nothing", commits(*[500.0] * 30, *[10.0] * 21), 10.0),
        ("a clock that went back is left out", commits(10.0, -50.0, 10.0), 10.0),
        ("a run that merges nothing has no end", commits(10.0, 10.0, tokens=0), None),
        ("nor has one of a thousand years", commits(1e9), None),
    ],
)
def test_the_end_is_estimated_from_the_newest_rounds(
    story: str, history: list[tuple[float, int]], rate: float | None
) -> None:
    merged = history[-1][1]
    left = seconds_left(merged, merged + 5000, history)
    assert left == (None if rate is None else pytest.approx(5000 / rate)), story


def test_a_run_at_its_target_has_nothing_left() -> None:
    assert seconds_left(10_000, 10_000, []) == 0.0


@given(
    st.integers(0, 10**16),
    st.integers(1, 10**15),
    st.lists(st.tuples(st.floats(-1e12, 1e12), st.integers(0, 10**16)), max_size=40),
)
def test_no_history_makes_an_estimate_that_is_no_length_of_time(
    tokens: int, target: int, history: list[tuple[float, int]]
) -> None:
    left = seconds_left(tokens, target, history)
    assert left is None or 0 <= left < 10**9
