"""What a trainer has on top of the state is in the checkpoint, or it is said; no draft is left."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import numpy as np
import pytest

from peer import checkpoint, checkpoint_keeper
from peer.averaging.history import History
from peer.averaging.state import GlobalState
from peer.checkpoint_keeper import Checkpoints, FoundCheckpoints
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.notices import Notices
from peer.work import Callbacks, LocalWork
from tests.unit.fake_trainer import TOKENS, VALUES, FakeTrainer, as_trainer, step

pytestmark = pytest.mark.anyio

ZEROS = np.zeros(VALUES, np.float32)
CHUNKS = [5, 6, 7]


def state(round_: int) -> GlobalState:
    return GlobalState(round_, 10 * round_, ZEROS - round_, ZEROS)


class Machine:
    """A peer's work and its checkpoints, in a process that ends when the test says so."""

    def __init__(self, folder: Path) -> None:
        def nothing(*_: object) -> None: ...

        self.work = LocalWork("own", Callbacks(*[nothing] * 5))
        self.trainer = FakeTrainer()
        self.history = History("int8")
        self.notices = Notices()
        self.folder = folder / "checkpoints"
        found = FoundCheckpoints(folder)
        disk = Disk(LimitsInForce(Limits(disk_free=0.0)), folder)
        self.checkpoints = Checkpoints(found, self.work, self.history, self.notices, disk)

    async def begin(self, at: int = 3) -> None:
        await self.work.attach(as_trainer(self.trainer))
        await self.work.begin(state(at))
        await self.trainer.lease(CHUNKS)

    async def resume(self) -> GlobalState | None:
        await self.work.attach(as_trainer(self.trainer))
        taken = await self.checkpoints.take_up()
        if taken is not None:
            await self.work.begin(taken)
        return taken

    async def replace_trainer(self) -> None:
        self.trainer.die()
        self.work.detach()
        self.trainer = FakeTrainer()

    @property
    def there(self) -> list[str]:
        """Names of what lies in the folder."""
        return sorted(it.name for it in self.folder.iterdir())


async def trained_and_saved(folder: Path, steps: int = 2) -> Machine:
    machine = Machine(folder)
    await machine.begin()
    machine.trainer.steps(steps)
    await machine.checkpoints.save()
    assert machine.there == ["3-1"]
    return machine


async def test_inner_work_and_what_is_owed_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Machine(tmp_path)
    owed = {"sent": np.arange(VALUES, dtype=np.float32)}
    before.history.feedback.restore(owed, VALUES)
    await before.begin()
    before.trainer.steps(2)
    await before.checkpoints.save()

    after = Machine(tmp_path)
    assert await after.resume() is not None
    assert "resumed round 3 and 64 tokens of inner work, written " in caplog.text
    assert after.work.pending_tokens == 2 * TOKENS
    expected = state(3).parameters - sum(step(it) for it in CHUNKS[:2])
    np.testing.assert_array_equal(after.trainer.parameters, expected)
    np.testing.assert_array_equal(after.history.feedback.arrays()["sent"], owed["sent"])
    resumed = after.history.resumed
    assert resumed is not None
    assert resumed.work is not None
    np.testing.assert_array_equal(resumed.work, state(3).parameters - expected)
    assert after.work.merged_tokens == before.work.merged_tokens
    await after.checkpoints.save()
    assert after.there == ["3-1"], "it is there already"


async def test_the_age_of_a_checkpoint_is_that_of_what_is_in_it(tmp_path: Path) -> None:
    machine = await trained_and_saved(tmp_path)
    first = machine.checkpoints.written_at
    assert first is not None
    asked, on = machine.trainer.hold("written")
    machine.trainer.steps(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.checkpoints.save)
        await asked.wait()
        copied = time.monotonic()
        assert machine.checkpoints.written_at == first, "it is not written yet"
        on.set()
    later = machine.checkpoints.written_at
    assert later is not None
    assert first < later <= copied
    after = Machine(tmp_path)
    assert after.checkpoints.written_at is None
    await after.resume()
    assert after.checkpoints.written_at is not None
    assert after.checkpoints.written_at <= time.monotonic()


async def test_a_round_that_ends_while_the_trainer_writes_is_in_the_checkpoint(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    await machine.begin()
    machine.trainer.steps(2)
    asked, on = machine.trainer.hold("written")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.checkpoints.save)
        await asked.wait()
        await machine.work.begin(state(4))
        machine.trainer.holds.clear()
        on.set()
    after = Machine(tmp_path)
    taken = await after.resume()
    assert taken is not None
    assert taken.round == 4
    assert machine.there == ["4-1"]
    np.testing.assert_array_equal(after.trainer.parameters, machine.trainer.parameters)


async def test_when_rounds_end_all_the_time_the_state_is_kept_and_the_rest_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    await machine.begin()
    machine.trainer.steps(2)
    rounds = iter(range(4, 100))
    written = machine.trainer.snapshot_written

    async def a_round_ends() -> object:
        await machine.work.begin(state(next(rounds)))
        return await written()

    with monkeypatch.context() as patch:
        patch.setattr(machine.trainer, "snapshot_written", a_round_ends)
        await machine.checkpoints.save()
    assert machine.there == ["6-1"]
    assert not list((machine.folder / "6-1").glob("local*"))
    await machine.checkpoints.save()  # although no inner step was done since
    assert machine.there == ["6-1", "6-2"]
    assert (machine.folder / "6-2" / "local.safetensors").is_file()


@pytest.mark.parametrize("command", ["snapshot", "written"])
async def test_a_trainer_that_dies_meanwhile_costs_only_what_it_had(
    tmp_path: Path, command: str
) -> None:
    machine = Machine(tmp_path)
    await machine.begin()
    machine.trainer.steps(2)
    asked, _ = machine.trainer.hold(command)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.checkpoints.save)
        await asked.wait()
        await machine.replace_trainer()
    assert machine.there == ["3-1"]
    assert [it.name for it in (machine.folder / "3-1").iterdir() if "local" in it.name] == []
    after = Machine(tmp_path)
    await after.resume()
    assert after.work.pending_tokens == 0
    np.testing.assert_array_equal(after.trainer.parameters, state(3).parameters)


async def test_a_damaged_copy_of_the_trainer_is_said_and_the_state_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = await trained_and_saved(tmp_path)
    (machine.folder / "3-1" / "local.safetensors").unlink()
    after = Machine(tmp_path)
    assert "without what this peer did since" in caplog.text
    assert await after.resume() is not None
    assert after.work.pending_tokens == 0
    assert after.history.resumed is not None, "a round since may have sent what it owes"
    assert after.history.resumed.work is None


async def test_the_next_trainer_takes_up_what_the_first_one_died_of(tmp_path: Path) -> None:
    await trained_and_saved(tmp_path)
    after = Machine(tmp_path)
    after.trainer.die()
    assert await after.checkpoints.take_up() is None
    assert not after.work.has_state, "it is asked for again when there is a trainer"
    after.trainer = FakeTrainer()
    assert await after.resume() is not None
    assert after.work.pending_tokens == 2 * TOKENS


async def test_a_checkpoint_that_kills_every_trainer_is_used_without_its_inner_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await trained_and_saved(tmp_path)
    after = Machine(tmp_path)
    for _ in range(checkpoint_keeper._DEATHS):
        await after.work.attach(as_trainer(after.trainer))
        asked, _on = after.trainer.hold("resume")
        taken: list[GlobalState | None] = []
        async with anyio.create_task_group() as tasks:

            async def take_up(taken: list[GlobalState | None] = taken) -> None:
                taken.append(await after.checkpoints.take_up())

            tasks.start_soon(take_up)
            await asked.wait()
            await after.replace_trainer()
    (state_,) = taken
    assert state_ is not None
    assert state_.round == 3
    assert "the checkpoint's inner work is lost: this peer's trainer died" in caplog.text


def _nth(number: int, real: Callable[..., object]) -> Callable[..., object]:
    """A function that finds the disk full at its `number`-th call."""
    calls = iter(range(100))

    def maybe(*arguments: object, **more: object) -> object:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **more)

    return maybe


STAGES = [(tempfile, "mkdtemp", 0), (checkpoint, "_save", 0), (checkpoint, "_save", 1),
          (os, "fsync", 0), (os, "fsync", 1), (Path, "write_bytes", 0), (Path, "write_bytes", 1),
          (Path, "rename", 0)]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "number"), STAGES)
async def test_a_disk_that_is_full_at_any_moment_costs_only_the_new_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str, number: int
) -> None:
    machine = await trained_and_saved(tmp_path)
    machine.history.feedback.restore({"sent": ZEROS + 1}, VALUES)
    machine.history.lineage.add(state(3).header)
    await machine.work.begin(state(4))
    machine.history.arrive(state(4))
    with monkeypatch.context() as patch:
        patch.setattr(module, name, _nth(number, getattr(module, name)))
        await machine.checkpoints.save()
    assert machine.there == ["3-1"]
    assert "no checkpoint can be written, the last is of round 3: No space left on device" in str(
        machine.notices.current()
    )
    await machine.checkpoints.save()
    assert machine.there == ["3-1", "4-2"]
    assert machine.notices.current() == ["checkpoints are written again: round 4"]


async def test_a_disk_that_is_full_for_the_trainer_is_told_too(tmp_path: Path) -> None:
    machine = await trained_and_saved(tmp_path)
    machine.trainer.steps(1)
    machine.trainer.unwritable = "No space left on device"
    await machine.checkpoints.save()
    assert machine.there == ["3-1"]
    assert "No space left on device" in str(machine.notices.current())
    machine.trainer.unwritable = ""
    await machine.checkpoints.save()
    assert machine.there == ["3-1", "3-2"]


async def test_a_checkpoint_waits_for_the_end_of_an_attempt_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_keeper, "CHECKPOINT_SECONDS", 0.0)
    waited: list[float] = []
    machine = Machine(tmp_path)
    await machine.begin()
    machine.trainer.steps(1)
    machine.work.began("a leader")
    saved, over = anyio.Event(), machine.work.attempt_over
    real = machine.checkpoints.save

    async def save() -> None:
        waited.append(anyio.current_time())
        await real()
        saved.set()

    monkeypatch.setattr(machine.checkpoints, "save", save)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.checkpoints.keep)
        await anyio.wait_all_tasks_blocked()
        assert machine.there == []
        over.set()
        await saved.wait()
        assert machine.there == ["3-1"]
        tasks.cancel_scope.cancel()

    machine.trainer.steps(1)
    machine.work.began("a leader")
    saved = anyio.Event()
    monkeypatch.setattr(checkpoint_keeper, "ATTEMPT_SECONDS", 0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.checkpoints.keep)
        await saved.wait()
        assert machine.there == ["3-1", "3-2"], "an attempt that never ends"
        tasks.cancel_scope.cancel()
