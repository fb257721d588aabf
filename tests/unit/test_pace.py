"""A swarm of any size reports about as much as a coordinator can take."""

from __future__ import annotations

import math

import pytest

from coordinator.reports.live_peers import live_at_the_end
from coordinator.reports.pace import (
    LIVE_SECONDS,
    LONGEST_SECONDS,
    LOST_SECONDS,
    REPORTS_A_SECOND,
    SHORTEST_SECONDS,
    Pace,
    report_seconds,
)
from coordinator.reports.progress import Ledger
from peer.reporter import LONGEST_REPORT_SECONDS, REPORT_SECONDS, obeyed, pause
from tests.reporting import peer

NOW = 1000.0


@pytest.mark.parametrize("peers", [0, 1, 100, 2000, 2001, 9999, 10_000, 16_384, 20_000])
def test_no_swarm_that_is_kept_reports_more_than_a_coordinator_takes(peers: int) -> None:
    assert peers / report_seconds(peers) <= REPORTS_A_SECOND


def test_small_swarms_report_often_and_none_too_seldom() -> None:
    assert report_seconds(3) == SHORTEST_SECONDS
    assert report_seconds(10_000) == 10.0
    assert report_seconds(10**9) == LONGEST_SECONDS


def test_a_large_swarm_is_told_at_once_and_a_smaller_one_when_all_know() -> None:
    pace = Pace(0, NOW)
    pace.adjust(10_000, NOW + 2)
    assert pace.seconds == 10.0
    pace.adjust(50, NOW + 4)
    assert pace.seconds == 10.0, "they have not heard of it yet, and would seem silent"
    pace.adjust(50, NOW + 2 + 2 * LONGEST_SECONDS)
    assert pace.seconds == SHORTEST_SECONDS


def test_after_a_restart_those_who_come_first_are_not_told_to_come_oftener() -> None:
    pace = Pace(10_000, NOW)
    pace.adjust(30, NOW + 2)
    assert pace.seconds == 10.0
    pace.adjust(9000, NOW + 12)
    assert pace.seconds == 10.0


@pytest.mark.parametrize("peers", [10, 10_000, 20_000])
def test_one_report_that_is_lost_makes_nobody_silent(peers: int) -> None:
    pace = Pace(peers, NOW)
    longest = pause(0, False, 0.999, pace.seconds)
    assert 2 * longest < pace.live_seconds < pace.lost_seconds


def test_in_a_small_swarm_silence_is_noticed_as_soon_as_ever() -> None:
    assert (Pace(10, NOW).live_seconds, Pace(10, NOW).lost_seconds) == (LIVE_SECONDS, LOST_SECONDS)


def test_a_slow_peer_is_live_in_a_large_swarm_and_silent_in_a_small_one() -> None:
    ledger = Ledger()
    ledger.see(peer("QmAnna", received_at=NOW - 20))
    assert ledger.peers_live(NOW) == []
    ledger.live_seconds = Pace(10_000, NOW).live_seconds
    assert len(ledger.peers_live(NOW)) == 1


def test_who_was_live_when_a_coordinator_stopped_is_known_however_long_it_was_away() -> None:
    ledger = Ledger()
    ledger.see(peer("QmAnna", received_at=NOW))
    ledger.see(peer("QmBert", received_at=NOW - 3))
    ledger.see(peer("QmCleo", received_at=NOW - 3, phase="left"))
    ledger.see(peer("QmDora", received_at=NOW - 100))
    assert live_at_the_end([ledger.peers, {}]) == 2
    assert live_at_the_end([]) == 0


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (0.0, REPORT_SECONDS),
        (math.nan, REPORT_SECONDS),
        (-5.0, REPORT_SECONDS),
        (0.001, REPORT_SECONDS),
        (10.0, 10.0),
        (math.inf, LONGEST_REPORT_SECONDS),
    ],
)
def test_a_peer_obeys_within_bounds(asked: float, seconds: float) -> None:
    assert obeyed(asked) == seconds


def test_a_peer_obeys_all_that_a_coordinator_asks() -> None:
    assert obeyed(LONGEST_SECONDS) == LONGEST_SECONDS
    assert obeyed(SHORTEST_SECONDS) == SHORTEST_SECONDS
