"""The swarm's time goes on evenly; who is right when a machine's clock was set."""

from __future__ import annotations

import pytest

from peer.swarm.clock import SwarmClock


class Machine:
    """A clock on the wall and one that nobody can set."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.steady = 50.0
        self.clock = SwarmClock(lambda: self.wall, lambda: self.steady)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_step_of_the_machines_clock_moves_nothing_and_is_said_once(
    machine: Machine, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    machine.wall += seconds
    machine.wait(10)
    assert machine.clock.now() == 1_000_010
    assert machine.clock.in_question
    for _ in range(3):
        machine.clock.compare([0.2, -0.1, 0.0])
    (line,) = caplog.messages
    way = "ahead" if seconds > 0 else "back"
    assert line == (f"this machine's clock was set 3,600 s {way}; going on with the swarm's time")
    assert machine.clock.now() == 1_000_010


def test_a_clock_that_is_set_right_again_is_no_news_but_the_next_step_is(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (60.0, -60.0, 60.0):
        machine.wall += seconds
        machine.clock.compare([0.0])
    assert len(caplog.messages) == 2
    assert machine.clock.now() == 1_000_000


def test_a_step_that_the_swarm_agrees_with_is_taken(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a virtual machine was paused and its clock then set right."""
    machine.wall += 600
    machine.clock.compare([599.0, 600.5, -7000.0])
    assert machine.clock.now() == 1_000_600
    assert not machine.clock.in_question
    assert "was set 600 s ahead, and the swarm agrees with it" in caplog.text


def test_the_others_alone_cannot_move_it(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        machine.clock.compare([600.0, 601.0, 599.0])
    assert machine.clock.now() == 1_000_000
    (line,) = caplog.messages
    assert "is 600 s behind the swarm's" in line
    assert "timedatectl set-ntp" in line


def test_a_step_counts_where_there_is_nobody_to_differ_from(machine: Machine) -> None:
    machine.wall += 600
    machine.clock.compare([], anybody_known=False)
    assert machine.clock.now() == 1_000_600
    machine.wall += 600
    machine.clock.compare([], anybody_known=True)
    assert machine.clock.now() == 1_000_600, "they may only be out of reach"


def test_who_knew_others_before_its_network_broke_does_not_believe_its_own_clock(
    machine: Machine,
) -> None:
    """A new network has met nobody yet, and that says nothing about the clock."""
    machine.clock.compare([0.0], anybody_known=True)
    machine.wall += 3600
    machine.clock.compare([], anybody_known=False)
    assert machine.clock.now() == 1_000_000
