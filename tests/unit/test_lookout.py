"""A peer that looks after its limits, while it takes part and while it waits."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest

from peer.limits.cooling import FIRST_SHARE, LEAST_SHARE
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.resting import lookout as lookout_module
from peer.resting.due import LINGER_SECONDS
from peer.resting.lookout import Lookout, keep_looking, until_next_look
from peer.resting.observing import Observing
from peer.resting.pause_file import save_pause
from peer.resting.rest import Pause, Rest
from peer.resting.rest_file import REMEMBERED_SECONDS
from tests.unit.seeing import Seen

MONDAY_NOON = datetime(2026, 11, 2, 12, 0, tzinfo=timezone.utc).timestamp()


class Machine:
    """What a machine shows and what its clocks say, whichever process looks."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder = folder
        self.limits = LimitsInForce(Limits.model_validate(limits))
        self.seen = Seen()
        self.wall = MONDAY_NOON
        self.steady = 1000.0

    def process(self) -> Lookout:
        """A process that has just begun."""
        return Lookout(
            self.folder,
            self.limits,
            Observing(self.seen.senses()),
            lambda: self.wall,
            lambda: self.steady,
        )

    async def passes(self, seconds: float, lookout: Lookout) -> Rest | None:
        """Look every five seconds of a time; what is due in the end."""
        for _ in range(int(seconds // 5)):
            self.wall += 5.0
            self.steady += 5.0
            await lookout.look()
            due = lookout.rest()
        return due


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "runs" / "demo"
    found.mkdir(parents=True)
    return found


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    yield
    monkeypatch.undo()
    time.tzset()


def reason(lookout: Lookout) -> str:
    due = lookout.rest()
    assert due is not None
    return due.reason


def test_it_knows_at_its_start_what_holds(folder: Path) -> None:
    machine = Machine(folder, not_while=["steam"])
    machine.seen.running = ("steam",)
    assert reason(machine.process()) == "steam is running (limits.not_while)"


def test_a_pause_counts_as_ever(folder: Path) -> None:
    save_pause(folder, Pause(MONDAY_NOON + 60))
    machine = Machine(folder)
    lookout = machine.process()
    assert reason(lookout).startswith("paused by you until 12:01")
    machine.wall += 60
    assert lookout.rest() is None


@pytest.mark.anyio
async def test_a_limit_that_is_changed_while_it_rests_ends_the_rest(folder: Path) -> None:
    machine = Machine(folder, hours="mon-fri 19:00-08:00")
    lookout = machine.process()
    assert "until 19:00" in reason(lookout)
    machine.limits.change(Limits(hours="mon 11:00-13:00"))
    assert lookout.rest() is None


@pytest.mark.anyio
async def test_a_limit_that_is_set_while_it_looks_is_looked_at_before_it_counts(
    folder: Path,
) -> None:
    machine = Machine(folder, max_temperature=80.0)
    lookout = machine.process()
    machine.steady += 100
    changed = Limits.model_validate({"max_temperature": 80.0, "idle_after": "5 min"})

    def change() -> float:
        machine.limits.change(changed)
        return 50.0

    machine.seen.idle = 1000.0
    machine.seen.looks["heat"] = change
    await lookout.look()
    assert machine.limits.limits == changed
    assert lookout.rest() is None, "else it would say that use cannot be seen here"


@pytest.mark.anyio
async def test_the_process_that_waits_goes_on_from_what_the_other_saw(folder: Path) -> None:
    machine = Machine(folder)
    lookout = machine.process()
    machine.seen.battery = True
    assert await machine.passes(5, lookout) is not None
    machine.seen.battery = False
    waiting = machine.process()
    assert "on battery a moment ago" in reason(waiting)
    assert await machine.passes(LINGER_SECONDS - 5, waiting) is not None
    assert await machine.passes(5, waiting) is None
    assert machine.process().rest() is None
    assert not (folder / "rest.json").exists()


@pytest.mark.anyio
async def test_what_another_process_saw_long_ago_or_wrote_badly_does_not_count(
    folder: Path,
) -> None:
    machine = Machine(folder, max_temperature=80.0)
    machine.seen.heat = 90.5
    machine.process().rest()
    machine.seen.heat = 79.0
    assert reason(machine.process()).startswith("cooling down: 79 °C")
    machine.wall += REMEMBERED_SECONDS
    assert machine.process().rest() is None
    (folder / "rest.json").write_text('{"causes": [{"name": 1, "seen": "x"}]}')
    assert machine.process().rest() is None


@pytest.mark.anyio
async def test_too_hot_a_trainer_is_slowed_down_before_the_peer_rests(folder: Path) -> None:
    machine = Machine(folder, max_temperature=80.0)
    lookout = machine.process()
    told: list[float] = []
    machine.limits.on_slow.append(lambda: told.append(machine.limits.slowed_to))
    lookout.trains()
    machine.seen.heat = 60.0
    assert await machine.passes(300, lookout) is None
    assert told[0] == FIRST_SHARE
    assert told[-1] == 1.0, "there is no need to be slow"
    assert machine.limits.acting() == {}
    machine.seen.heat = 84.0
    assert await machine.passes(30, lookout) is None
    assert LEAST_SHARE < machine.limits.slowed_to < 0.9
    words = machine.limits.acting()["max_temperature"]
    assert re.fullmatch(r"84 °C, 80 °C allowed: training \d\d% of the time", words)
    due = await machine.passes(600, lookout)
    assert due is not None
    assert due.reason.startswith("too hot: 84 °C, though it was slowed down")
    machine.limits.change(Limits())
    assert await machine.passes(5, lookout) is None
    assert machine.limits.slowed_to == 1.0
    assert machine.limits.acting() == {}


@pytest.mark.anyio
async def test_a_peer_that_waits_does_not_begin_on_a_machine_that_is_too_hot(folder: Path) -> None:
    machine = Machine(folder, max_temperature=80.0)
    machine.seen.heat = 81.0
    assert reason(machine.process()).startswith("too hot: 81 °C")
    assert machine.limits.slowed_to == 1.0, "there is nothing to slow down"


@pytest.mark.anyio
async def test_the_daemon_is_told_once_and_again_when_somebody_needs_the_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout_module, "LOOK_SECONDS", 0.001)
    machine = Machine(folder, hours="tue", not_while=["steam"])
    lookout = machine.process()
    told: list[str] = []
    looks = 0

    def rest(due: Rest) -> None:
        told.append(due.reason)

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 5:
            lookout.pause = Pause(None)
        if looks == 10:
            tasks.cancel_scope.cancel()

    monkeypatch.setattr(lookout, "look", look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_looking, lookout, rest)
    assert [it.partition(" (")[0] for it in told] == [
        "outside the hours you allow",
        "paused by you; `peer resume` ends it",
    ]


def test_it_looks_when_a_second_of_the_clock_begins() -> None:
    assert until_next_look(1000.75) == 0.25
    assert until_next_look(1000.0) == 1.0


def test_the_process_that_waits_has_nothing_large_in_memory() -> None:
    """All that `peer join` imports until it may take part."""
    heavy = ("torch", "hivemind", "numpy", "transformers", "pynvml", "sqlalchemy", "peer.joining")
    program = (
        "import sys, peer.cli, peer.commands.join, peer.anew, peer.resting.waiting\n"
        f"print([it for it in {heavy!r} if it in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
