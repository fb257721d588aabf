"""What a user is told of the round ahead: as the decision to cut will be, if all go on as now."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.condition import Peer
from peer.events import Phase, ViewSeen
from peer.membership import PeerFacts, Position, SwarmView, cut_is_due, seconds_to_cut
from peer.round_ahead import OwnWork, RoundAhead, round_ahead
from tests.tiny import tiny_spec

NOW = 1_800_000_000.0
HERE = Position(5, bytes(32))
SPEC = tiny_spec(round={"target_tokens": 1000, "min_seconds": 2, "max_seconds": 20, "min_peers": 2})
ANNA = Peer("anna", SPEC, "peer join …", phase=Phase.TRAINING, position=HERE, adopted_at=100.0)


def bert(pending: int = 0, speed: float = 0.0, phase: str = "training") -> PeerFacts:
    return PeerFacts("bert", HERE, phase, pending, speed, NOW)


def seen(*others: PeerFacts, sustained: float = 0.0) -> ViewSeen:
    return ViewSeen(SwarmView(others), NOW, 0, sustained_round=sustained)


def ahead(
    *others: PeerFacts,
    tokens: int = 0,
    speed: float = 50.0,
    elapsed: float = 4.0,
    sustained: float = 0.0,
    peer: Peer = ANNA,
) -> RoundAhead:
    """What Anna expects `elapsed` seconds after her last round."""
    own = OwnWork(tokens, speed)
    return round_ahead(
        peer, seen(*others, sustained=sustained), own, peer.adopted_at + elapsed, NOW
    )


def test_the_cut_comes_when_all_together_have_trained_the_target() -> None:
    told = ahead(bert(pending=300, speed=150.0), tokens=100, speed=50.0)
    assert told.seconds == pytest.approx(3.0)
    assert told.progress == pytest.approx(4 / 7)
    assert told.swarm_tokens_per_second == 200.0


def test_slow_links_make_a_round_longer_than_its_tokens_do() -> None:
    assert ahead(bert(pending=999), tokens=10, sustained=12.0).seconds == pytest.approx(8.0)


def test_the_longest_round_ends_whatever_is_missing() -> None:
    assert ahead(bert(), speed=0.0).seconds == pytest.approx(16.0)


def test_a_round_that_is_due_is_all_there() -> None:
    told = ahead(bert(pending=2000))
    assert (told.seconds, told.progress) == (0.0, 1.0)


@pytest.mark.parametrize(
    "peer",
    [
        replace(ANNA, position=None),
        replace(ANNA, phase=Phase.SYNCING),
        replace(ANNA, phase=Phase.PAUSED),
    ],
    ids=["no state", "catching up", "paused"],
)
def test_who_is_not_at_work_expects_no_cut(peer: Peer) -> None:
    told = ahead(bert(), peer=peer)
    assert math.isnan(told.seconds)
    assert told.progress == 0.0


def test_alone_there_is_no_cut_in_sight_but_a_speed() -> None:
    told = ahead(speed=70.0)
    assert math.isnan(told.seconds)
    assert told.swarm_tokens_per_second == 70.0


def test_before_the_first_view_nothing_is_known_of_others() -> None:
    told = round_ahead(ANNA, None, OwnWork(0, 5.0), 104.0, NOW)
    assert math.isnan(told.seconds)
    assert told.swarm_tokens_per_second == 5.0


def test_who_only_downloads_adds_nothing_to_the_speed() -> None:
    told = ahead(bert(speed=1e6, phase="syncing"), speed=70.0)
    assert told.swarm_tokens_per_second == 70.0


@given(
    own_tokens=st.integers(0, 2000),
    pending=st.integers(0, 2000),
    own_speed=st.floats(0, 1e6),
    speed=st.floats(0, 1e6),
    elapsed=st.floats(0, 100),
    shortest=st.floats(0, 100),
)
def test_no_seconds_are_left_exactly_when_a_cut_is_due(
    own_tokens: int, pending: int, own_speed: float, speed: float, elapsed: float, shortest: float
) -> None:
    others, spec = [bert(pending, speed)], SPEC.round
    due = cut_is_due(others, HERE, own_tokens, elapsed, shortest, spec, NOW)
    left = seconds_to_cut(others, HERE, own_tokens, own_speed, elapsed, shortest, spec, NOW)
    assert (left == 0.0) is due
    assert left <= spec.max_seconds
