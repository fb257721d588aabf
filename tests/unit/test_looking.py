"""How often a peer looks who is there: each look costs kilobytes for every peer of the swarm."""

from __future__ import annotations

import math

import pytest

from peer.membership import RECORD_SECONDS
from peer.presence import MOST_TIMES_RARER, PUBLISH_SECONDS, VIEW_SECONDS, times_rarer


def test_it_looks_often_when_a_round_is_near_or_none_is_in_sight() -> None:
    assert times_rarer(math.nan, 1.0) == 1
    for seconds in (0.0, 1.0, 5.0):
        assert times_rarer(seconds, 1.0) == 1


def test_it_looks_rarely_while_a_round_is_far_and_is_in_time_for_it() -> None:
    assert times_rarer(300.0, 1.0) == 4
    seconds = 60.0
    while (pause := VIEW_SECONDS * times_rarer(seconds, 1.0)) > VIEW_SECONDS:
        seconds -= pause
    assert seconds > VIEW_SECONDS, "it looks often before the round is due"


@pytest.mark.parametrize("seconds", [math.nan, 0.0, 300.0])
def test_who_is_allowed_little_looks_rarely_always_and_is_not_forgotten(seconds: float) -> None:
    assert times_rarer(seconds, 6.0) == 6
    assert times_rarer(seconds, 1e9) == MOST_TIMES_RARER
    assert VIEW_SECONDS * MOST_TIMES_RARER <= RECORD_SECONDS / 3
    assert PUBLISH_SECONDS < RECORD_SECONDS / 3
