"""A month of a peer with a budget of data, simulated: never above it, and near it in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from peer.averaging.links import EXCHANGE_SHARE, Allowance, Link, exchange_seconds
from peer.averaging.own_codec import own_codec
from peer.limits.month import goodbye, is_used_up, month_ends, sustained_rate
from swarmpb.spec import RoundSpec

GB = 1e9
FAST = Link(10_000_000, 10_000_000)
PARAMETERS = 1_000_000
ROUNDS_AT_A_TIME = 10
"""Rounds between two looks at what is left."""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def spec(longest: float) -> RoundSpec:
    return RoundSpec(
        target_tokens=10_000,
        min_seconds=2.0,
        max_seconds=longest,
        exchange_seconds=60.0,
        min_peers=2,
        codec="int8",
    )


class Month:
    """Rounds of four peers, one of which has a budget, one after the other on a clock."""

    def __init__(self, budget: float, longest: float, chatter: float = 0.0) -> None:
        """chatter: bytes per second for being in the swarm."""
        self.budget, self.round, self.chatter = budget, spec(longest), chatter
        self.now = datetime(2026, 11, 1).timestamp()
        self.used = 0.0
        self.codecs: set[str] = set()
        self.stopped_at: float | None = None

    def run(self) -> None:
        end = month_ends(self.now)
        while self.now < end:
            if is_used_up(self.used, self.budget):
                self.stopped_at = self.now
                self.used += goodbye(self.budget) / 2  # its last round and its last words
                return
            self._round()

    def _round(self) -> None:
        allowance = Allowance(data=sustained_rate(self.used, self.budget, self.now))
        own = allowance.of(FAST)
        assert own.both_ways <= max(1000, allowance.data)
        size = PARAMETERS * 260 // 256
        needed = exchange_seconds(size, [own, FAST, FAST, FAST]) / EXCHANGE_SHARE
        seconds = min(max(needed, self.round.min_seconds), self.round.max_seconds)
        codec = own_codec(self.round, PARAMETERS, allowance)
        self.codecs.add(codec.name)
        # it owns next to nothing: its own parts one way, the answers the other
        moved = codec.encoded_bytes(PARAMETERS) + size + self.chatter * seconds
        at_a_time = ROUNDS_AT_A_TIME if self.budget > GB else 1
        self.used += at_a_time * moved
        self.now += at_a_time * seconds


def test_a_peer_takes_part_all_month_and_ends_near_its_budget() -> None:
    month = Month(budget=50 * GB, longest=3600.0, chatter=2000.0)
    month.run()
    assert month.used <= month.budget
    assert month.used >= 0.85 * month.budget
    assert month.stopped_at is None or month.stopped_at > datetime(2026, 11, 27).timestamp()
    assert month.codecs == {"int8"}, "longer rounds are enough"


def test_where_rounds_cannot_be_longer_it_sends_less_and_then_rests() -> None:
    month = Month(budget=20 * GB, longest=20.0)
    month.run()
    assert month.used <= month.budget
    assert month.used >= 0.98 * month.budget, "all but what is kept for the goodbye"
    assert month.stopped_at is not None
    assert "sparse" in month.codecs
    unlimited = 2 * PARAMETERS / 20 * (month.stopped_at - datetime(2026, 11, 1).timestamp())
    assert month.used < 0.7 * unlimited, "it lasts longer than with the run's codec"


def test_a_tiny_budget_is_kept_too() -> None:
    month = Month(budget=0.05 * GB, longest=20.0, chatter=500.0)
    month.run()
    assert month.stopped_at is not None
    assert 0.8 * month.budget <= month.used <= month.budget
