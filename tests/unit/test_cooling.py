"""A peer that slows down where a machine gets too hot, on machines that warm in different ways."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.limits.cooling import (
    DANGER,
    FIRST_SHARE,
    IN_VAIN_SECONDS,
    LEAST_SHARE,
    Cooling,
    cooled,
)
from peer.limits.resources import processor_time
from peer.limits.settings import Limits

LIMIT = 80.0
LOOK = 5.0
"""Seconds."""


@dataclass
class Warming:
    """A chip on a heat sink: each is so many °C hotter at full load, and lags by some seconds."""

    cold: float
    chip: float
    sink: float
    chip_seconds: float = 3.0
    sink_seconds: float = 90.0
    hotter_chip: float = 0.0
    hotter_sink: float = 0.0

    def run(self, share: float, seconds: float) -> float:
        """The temperature after training at a share for so long."""
        tick = 0.25
        for _ in range(int(seconds / tick)):
            self.hotter_chip += (self.chip * share - self.hotter_chip) * tick / self.chip_seconds
            self.hotter_sink += (self.sink * share - self.hotter_sink) * tick / self.sink_seconds
        return self.cold + self.hotter_chip + self.hotter_sink


MACHINES = {
    "desktop": Warming(35, 20, 45),
    "laptop with a small sink": Warming(45, 30, 40, sink_seconds=30),
    "laptop with next to none": Warming(35, 45, 10, sink_seconds=60),
    "workstation": Warming(35, 5, 60, sink_seconds=200),
}


def trained(machine: Warming, seconds: float, limit: float = LIMIT) -> list[tuple[float, Cooling]]:
    """The temperature and the controller at each look; the sensor is noisy."""
    noise, cooling, told = random.Random(7), Cooling(), []
    for _ in range(int(seconds / LOOK)):
        temperature = machine.run(cooling.share, LOOK)
        cooling = cooled(cooling, temperature + noise.gauss(0, 1.0), limit, LOOK)
        told.append((temperature, cooling))
    return told


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_machine_that_would_get_too_hot_is_held_just_below_the_limit(name: str) -> None:
    machine = replace(MACHINES[name])
    assert replace(machine).run(1.0, 3600) > LIMIT, "else there is nothing to hold"
    told = trained(machine, 3600)
    assert not any(cooling.in_vain for _, cooling in told), "it need not rest"
    settled = told[len(told) // 3 :]
    assert max(temperature for temperature, _ in settled) <= LIMIT
    assert min(temperature for temperature, _ in settled) > LIMIT - 8, "it trains no less than that"
    shares = [cooling.share for _, cooling in settled]
    assert max(shares) - min(shares) < 0.25, "it does not swing"


def test_a_cool_machine_trains_all_the_time_after_a_while() -> None:
    told = trained(Warming(30, 10, 10), 600)
    assert told[0][1].share > FIRST_SHARE
    assert all(cooling.share == 1.0 for _, cooling in told[len(told) // 2 :])


def test_it_recovers_when_the_room_gets_cooler() -> None:
    machine = Warming(35, 20, 45)
    warm = trained(machine, 1800)[-1][1].share
    machine.cold = 20
    assert trained(machine, 1800)[-1][1].share > warm + 0.15


def test_where_something_else_heats_it_rests_in_the_end() -> None:
    told = trained(Warming(86, 0.5, 0.5), 600)
    first = next(at for at, (_, cooling) in enumerate(told) if cooling.in_vain)
    slowest = next(at for at, (_, cooling) in enumerate(told) if cooling.share == LEAST_SHARE)
    assert (first - slowest) * LOOK >= IN_VAIN_SECONDS, "it tries to be slow before"


def test_far_above_the_limit_it_rests_at_once() -> None:
    assert cooled(Cooling(), LIMIT + DANGER + 0.1, LIMIT, LOOK).in_vain
    assert not cooled(Cooling(), LIMIT + DANGER, LIMIT, LOOK).in_vain


def test_a_slowed_trainer_gets_that_share_of_the_processors_it_would_use() -> None:
    free, held = Limits(threads=3), Limits(threads=3, processor=0.5)
    assert processor_time(free, 4, 1.0) == 0.0, "as many as there are threads"
    assert processor_time(free, 4, 0.5) == 1.5
    assert processor_time(held, 4, 1.0) == 2.0
    assert processor_time(held, 4, 0.5) == 1.0
    assert processor_time(Limits(threads=1, processor=0.9), 4, 0.5) == 0.5


def test_a_night_of_sleep_is_no_look_of_eight_hours() -> None:
    before = Cooling(share=0.8, away=-4.0)
    assert cooled(before, LIMIT - 1, LIMIT, 8 * 3600).share > 0.5


@given(
    st.floats(LEAST_SHARE, 1), st.none() | st.floats(-150, 150),
    st.floats(-50, 150), st.floats(30, 120), st.floats(-10, 1e6),
)  # fmt: skip
def test_a_share_stays_a_share(
    share: float, away: float | None, temperature: float, limit: float, seconds: float
) -> None:
    after = cooled(Cooling(share, away), temperature, limit, seconds)
    assert LEAST_SHARE <= after.share <= 1.0
    assert math.isfinite(after.helpless_seconds)
