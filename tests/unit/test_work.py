"""What a peer has trained is claimed once, merged once, and on top of its state until then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
import pytest

from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.coverage import Claim, Coverage, after_round
from peer.averaging.local import Fate
from peer.averaging.state import GlobalState
from peer.checkpoint import Checkpoint
from peer.swarm.interface import Refused
from peer.work import Callbacks, LocalWork
from tests.sim.clock import run_at_once
from tests.unit.fake_trainer import TOKENS, VALUES, FakeTrainer, as_trainer, step

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all tasks wait, the lease is there."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", run_at_once)


ZEROS = np.zeros(VALUES, np.float32)
FIRST = GlobalState(0, 0, ZEROS, ZEROS)


class Story:
    """A peer's work, its trainer, and the leases that it is kept supplied with."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        def nothing(*_: object) -> None: ...

        callbacks = Callbacks(nothing, nothing, nothing, nothing, nothing)
        self.work = LocalWork("own", callbacks)
        self.trainer = FakeTrainer()
        self._tasks = tasks

    async def begin(self, state: GlobalState = FIRST) -> None:
        await self.work.attach(as_trainer(self.trainer))
        await self.work.begin(state)
        self.keep_leased()

    def keep_leased(self) -> None:
        self._tasks.start_soon(self.work.leasing.keep, as_trainer(self.trainer))

    async def train(self, steps: int) -> None:
        await anyio.wait_all_tasks_blocked()  # the lease is there
        self.trainer.steps(steps)

    async def replace_trainer(self) -> None:
        self.trainer.die()
        self.work.detach()
        self.trainer = FakeTrainer()
        await self.work.attach(as_trainer(self.trainer))
        self.keep_leased()

    async def cut(self) -> LocalCut:
        self.work.began("a leader")
        cut = await self.work.take_cut()
        return replace(cut, parameters=cut.parameters.copy())

    def after(self, cut: LocalCut, merged: bool = True) -> GlobalState:
        """The state after a round with this cut, or without it, whatever its values."""
        return state_after(self.work.state, cut, merged)

    async def adopt(self, cut: LocalCut, merged: bool = True) -> GlobalState:
        old, new = self.work.state, self.after(cut, merged)
        shift = new.parameters - (cut.parameters if merged else old.parameters)
        await self.work.adopt(new, shift, outcome(cut, merged))
        return new

    async def assert_all_is_claimed_that_is_on_top(self) -> LocalCut:
        """The next cut's chunks and tokens are those of the work in it, each once."""
        cut = await self.cut()
        done = cut.chunks.done
        assert cut.tokens == TOKENS * len(done) == self.work.pending_tokens
        on_top = sum(step(chunk) for chunk in done)
        np.testing.assert_array_equal(cut.parameters, self.work.state.parameters - on_top)
        assert not set(done) & set(cut.chunks.ahead)
        return cut


def state_after(state: GlobalState, cut: LocalCut, merged: bool = True) -> GlobalState:
    coverage = Coverage.decode(state.coverage)
    values = state.parameters - np.float32(256)
    tokens = state.tokens + (cut.tokens if merged else 0)
    encoded = after_round(coverage, {"own": Claim(cut.tokens, cut.chunks, merged)}).encode()
    return GlobalState(state.round + 1, tokens, values, ZEROS, (state.digest,), encoded)


def outcome(cut: LocalCut, merged: bool = True, member_index: int = 0) -> Outcome:
    return Outcome(
        attempt=b"attempt", leader="a leader", round=1, committed=True, reason="", members=2,
        member_index=member_index, merged=merged, tokens=cut.tokens, loss=cut.loss, seconds=1.0,
        bytes_sent=0, bytes_received=0,
    )  # fmt: skip


@asynccontextmanager
async def story() -> AsyncIterator[Story]:
    async with anyio.create_task_group() as tasks:
        yield Story(tasks)
        tasks.cancel_scope.cancel()


# ---- cuts and rounds -------------------------------------------------------------------


async def test_work_is_claimed_until_a_round_has_merged_it() -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.assert_all_is_claimed_that_is_on_top()
        assert cut.tokens == 3 * TOKENS
        await it.train(2)  # while the others are being heard
        await it.adopt(cut)
        assert it.work.merged_tokens == 3 * TOKENS
        second = await it.assert_all_is_claimed_that_is_on_top()
        assert second.tokens == 2 * TOKENS
        assert not set(second.chunks.done) & set(cut.chunks.done)


async def test_what_a_round_left_out_is_claimed_again_with_what_came_after() -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.cut()
        await it.train(2)
        await it.adopt(cut, merged=False)
        assert it.work.merged_tokens == 0
        second = await it.assert_all_is_claimed_that_is_on_top()
        assert second.tokens == 5 * TOKENS
        assert set(cut.chunks.done) < set(second.chunks.done)


@pytest.mark.parametrize("merged", [True, False])
async def test_a_trainer_that_dies_before_the_rounds_end_costs_only_what_was_not_merged(
    merged: bool,
) -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.cut()
        await it.replace_trainer()
        assert it.work.pending_tokens == 0
        await it.adopt(cut, merged)
        await it.train(4)
        claimed = await it.assert_all_is_claimed_that_is_on_top()
        assert claimed.tokens == 4 * TOKENS
        assert it.work.merged_tokens == (3 * TOKENS if merged else 0)
        assert it.work.inner_steps == 7


async def test_a_round_that_ends_while_the_next_trainer_loads_is_loaded_too() -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.cut()
        it.trainer.die()
        it.work.detach()
        it.trainer = FakeTrainer()
        asked, on = it.trainer.hold("load", answer=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.work.attach, as_trainer(it.trainer))
            await asked.wait()
            assert "trainer" in it.work.unwilling()
            await it.adopt(cut)
            on.set()
        it.keep_leased()
        await it.train(1)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == TOKENS


async def test_a_cut_of_a_trainer_that_is_gone_is_none() -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        asked, on = it.trainer.hold("cut", answer=True)
        async with anyio.create_task_group() as tasks:

            async def cut() -> None:
                with pytest.raises(Refused, match="restarted"):
                    await it.work.take_cut()

            tasks.start_soon(cut)
            await asked.wait()
            it.work.detach()
            await it.work.attach(as_trainer(FakeTrainer()))
            on.set()
        assert not it.work.holds_cut


async def test_a_void_try_does_not_hide_which_cut_is_in_doubt() -> None:
    """The cut of a round that never came about cannot be what the others have merged."""
    async with story() as it:
        await it.begin()
        await it.train(3)
        doubtful = await it.cut()
        await it.work.conclude(replace(outcome(doubtful, merged=False), committed=False))
        await it.train(2)
        nobody_came = await it.cut()
        await it.work.conclude(outcome(nobody_came, merged=False, member_index=-1))
        new = it.after(doubtful)
        shift = new.parameters - doubtful.parameters
        await it.work.follow(new, shift, Fate.MERGED, outcome(doubtful))
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == 2 * TOKENS
        assert it.work.merged_tokens == 3 * TOKENS


async def test_what_nobody_can_tell_of_is_neither_kept_nor_claimed_nor_counted() -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        doubtful = await it.cut()
        await it.train(1)
        new = it.after(doubtful)
        await it.work.follow(new, new.parameters - doubtful.parameters, Fate.DROPPED, None)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == TOKENS
        assert it.work.merged_tokens == 0


async def test_nothing_is_trained_twice_although_leases_take_effect_late() -> None:
    async with story() as it:
        await it.begin()
        await it.train(20)
        for _ in range(5):
            asked, on = it.trainer.hold("lease")
            cut = await it.cut()
            await it.train(3)
            await it.adopt(cut)
            await asked.wait()
            await it.train(10)  # of the old list
            on.set()
            del it.trainer.holds["lease"]
            await it.train(7)
        await it.assert_all_is_claimed_that_is_on_top()
        trained = it.trainer.trained
        assert len(trained) == 120
        assert len(set(trained)) == len(trained)


# ---- snapshots -------------------------------------------------------------------------


async def test_a_snapshot_says_what_it_holds(tmp_path: Path) -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        taken = await it.work.snapshot(tmp_path)
        assert taken is not None
        state, pending = taken
        assert state is FIRST
        assert (pending.tokens, pending.inner_steps) == (3 * TOKENS, 3)
        assert pending.chunks == sorted(it.trainer.trained)


async def test_a_snapshot_during_which_a_round_ends_is_none(tmp_path: Path) -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.cut()
        found: list[object] = []
        asked, on = it.trainer.hold("snapshot", answer=True)
        async with anyio.create_task_group() as tasks:

            async def snapshot() -> None:
                found.append(await it.work.snapshot(tmp_path))

            tasks.start_soon(snapshot)
            await asked.wait()
            await it.adopt(cut)
            on.set()
        assert found == [None]


async def test_a_snapshot_on_the_way_to_a_new_state_is_none(tmp_path: Path) -> None:
    async with story() as it:
        await it.begin()
        await it.train(3)
        cut = await it.cut()
        asked, on = it.trainer.hold("shift")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.adopt, cut)
            await asked.wait()
            assert it.work.state.round == 1
            assert await it.work.snapshot(tmp_path) is None, "it sits on the state before"
            on.set()
        assert await it.work.snapshot(tmp_path) is not None


async def test_a_trainer_that_dies_of_its_snapshot_gives_none(tmp_path: Path) -> None:
    async with story() as it:
        await it.begin()
        it.trainer.die()
        assert await it.work.snapshot(tmp_path) is None


# ---- an earlier process's work ---------------------------------------------------------


async def checkpoint(folder: Path, steps: int = 3) -> Checkpoint:
    """Of a peer that has trained so much on the first state."""
    async with story() as it:
        await it.begin()
        await it.train(steps)
        taken = await it.work.snapshot(folder)
        assert taken is not None
        return Checkpoint(taken[0], folder / "local.safetensors", taken[1], merged_tokens=1000)


async def resume(it: Story, found: Checkpoint) -> None:
    await it.work.attach(as_trainer(it.trainer))
    resumed = await it.work.take_up(found)
    assert resumed.work is not None
    await it.work.begin(found.state)
    it.keep_leased()


async def test_resumed_work_is_claimed_in_the_next_cut_and_not_trained_again(
    tmp_path: Path,
) -> None:
    found = await checkpoint(tmp_path)
    async with story() as it:
        await resume(it, found)
        assert it.work.pending_tokens == 3 * TOKENS
        assert it.work.merged_tokens == 1000
        await it.train(5)
        assert not set(it.trainer.trained) & set(found.pending.chunks)
        cut = await it.assert_all_is_claimed_that_is_on_top()
        assert set(found.pending.chunks) < set(cut.chunks.done)
        assert cut.tokens == 8 * TOKENS
        await it.adopt(cut)
        await it.train(1)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == TOKENS
        assert it.work.merged_tokens == 1000 + 8 * TOKENS


async def test_a_second_checkpoint_holds_what_the_first_one_gave(tmp_path: Path) -> None:
    found = await checkpoint(tmp_path)
    async with story() as it:
        await resume(it, found)
        await it.train(2)
        (tmp_path / "again").mkdir()
        taken = await it.work.snapshot(tmp_path / "again")
        assert taken is not None
        state, pending = taken
        assert (pending.tokens, pending.inner_steps) == (5 * TOKENS, 5)
        again = Checkpoint(state, tmp_path / "again" / "local.safetensors", pending)
    async with story() as it:
        await resume(it, again)
        await it.train(1)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == 6 * TOKENS


async def test_what_others_merged_of_resumed_work_is_not_pending_any_more(tmp_path: Path) -> None:
    found = await checkpoint(tmp_path)
    async with story() as it:
        await resume(it, found)
        await it.train(2)
        old_work = it.work.state.parameters - resumed_parameters(found)
        nothing = LocalCut(ZEROS, 0, 0.0)
        new = it.after(nothing)
        it.work.settle_resumed(7 * TOKENS)  # its former life had trained more, and it was merged
        shift = new.parameters - it.work.state.parameters + old_work
        await it.work.follow(new, shift, Fate.CARRIED, None)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == 2 * TOKENS
        assert it.work.merged_tokens == 1000 + 7 * TOKENS


def resumed_parameters(found: Checkpoint) -> FlatVector:
    assert found.local is not None
    loaded: FlatVector = np.load(found.local)
    return loaded


async def test_a_trainer_that_dies_takes_resumed_work_with_it(tmp_path: Path) -> None:
    found = await checkpoint(tmp_path)
    async with story() as it:
        await it.work.attach(as_trainer(it.trainer))
        resumed = await it.work.take_up(found)
        await it.work.begin(found.state)
        it.trainer.die()
        it.work.detach()
        assert resumed.work is None, "no later round may take it out of what is not there"
        assert it.work.pending_tokens == 0
        await it.replace_trainer()
        await it.train(2)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == 2 * TOKENS


@pytest.mark.parametrize("command", ["resume", "cut"])
async def test_a_trainer_that_dies_of_a_checkpoint_leaves_nothing_of_it(
    tmp_path: Path, command: str
) -> None:
    found = await checkpoint(tmp_path)
    async with story() as it:
        await it.work.attach(as_trainer(it.trainer))
        asked, _ = it.trainer.hold(command, answer=True)
        async with anyio.create_task_group() as tasks:

            async def take_up() -> None:
                with pytest.raises(Refused, match="it crashed"):
                    await it.work.take_up(found)

            tasks.start_soon(take_up)
            await asked.wait()
            it.trainer.die()
        assert it.work.pending_tokens == 0
        await it.replace_trainer()
        resumed = await it.work.take_up(found)
        assert resumed.work is not None, "the next one can have it"
        assert it.work.pending_tokens == 3 * TOKENS


async def test_a_copy_that_is_of_no_use_leaves_the_checkpoints_state(tmp_path: Path) -> None:
    found = replace(await checkpoint(tmp_path), local=tmp_path / "nothing here")
    async with story() as it:
        await it.work.attach(as_trainer(it.trainer))
        assert (await it.work.take_up(found)).work is None
        await it.work.begin(found.state)
        it.keep_leased()
        await it.train(2)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == 2 * TOKENS


async def test_who_begins_elsewhere_than_at_its_checkpoint_has_nothing_of_it(
    tmp_path: Path,
) -> None:
    found = await checkpoint(tmp_path)
    elsewhere = GlobalState(9, 900, ZEROS + 5, ZEROS)
    async with story() as it:
        await it.work.attach(as_trainer(it.trainer))
        await it.work.take_up(found)
        await it.work.begin(elsewhere)
        it.keep_leased()
        await it.train(1)
        assert (await it.assert_all_is_claimed_that_is_on_top()).tokens == TOKENS


async def test_an_attempt_is_over_when_it_is_adopted_void_or_lost() -> None:
    async with story() as it:
        await it.begin()
        await it.train(1)
        for end in ("adopt", "conclude", "fell behind"):
            cut = await it.cut()
            assert not it.work.attempt_over.is_set()
            if end == "adopt":
                await it.adopt(cut)
            elif end == "conclude":
                await it.work.conclude(outcome(cut, merged=False))
            else:
                it.work.fell_behind("for a reason")
            assert it.work.attempt_over.is_set(), end
