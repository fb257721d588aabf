"""A trainer always has chunks before it, each of them once, whatever becomes of the rounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import anyio.to_thread
import pytest

from peer.averaging.coverage import MAX_DONE, Claim, Coverage, after_round
from peer.leasing import LEAST_LEASED, Leasing, Trained
from peer.training.lease_queue import MAX_LEASE
from tests.sim.clock import run_at_once
from tests.unit.fake_trainer import FakeTrainer, as_trainer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all tasks wait, the lease is there."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", run_at_once)


class Lessee:
    """A trainer that is kept supplied."""

    def __init__(self, tasks: anyio.abc.TaskGroup, carried: tuple[int, ...] = ()) -> None:
        self.trainer = FakeTrainer()
        self.coverage: Coverage | None = Coverage()
        self.since = 0
        self.carried = carried
        self.leasing = Leasing("own", self._encoded, self._trained)
        self.lists = 0
        tasks.start_soon(self.leasing.keep, as_trainer(self.trainer))

    def _encoded(self) -> bytes | None:
        self.lists += 1
        return self.coverage.encode() if self.coverage is not None else None

    def _trained(self) -> Trained:
        return Trained(as_trainer(self.trainer), self.since, self.carried)

    async def train(self, steps: int) -> None:
        """As a trainer that says after each inner step that it has done it."""
        for _ in range(steps):
            before = len(self.trainer.trained)
            self.trainer.steps(1)
            assert len(self.trainer.trained) == before + 1, "it ran dry"
            self.leasing.has_progressed(as_trainer(self.trainer))
            if len(self.ahead) < LEAST_LEASED // 4:
                await anyio.wait_all_tasks_blocked()

    @property
    def ahead(self) -> list[int]:
        return self.trainer.own_leases.left(self.trainer.totals.inner_steps)

    def merge(self, others: tuple[int, ...] = ()) -> None:
        """A round merges all that was trained, and what another has."""
        assert self.coverage is not None
        cut = self._trained().cut(self.trainer.totals.inner_steps)
        tokens = 32 * len(cut.done)
        claims = {"own": Claim(tokens, cut, True)}
        if others:
            claims["other"] = Claim(tokens, type(cut)(others), True)
        self.coverage = after_round(self.coverage, claims)
        self.since, self.carried = self.trainer.totals.inner_steps, ()
        self.leasing.renew()


@asynccontextmanager
async def lessee(carried: tuple[int, ...] = ()) -> AsyncIterator[Lessee]:
    async with anyio.create_task_group() as tasks:
        it = Lessee(tasks, carried)
        await anyio.wait_all_tasks_blocked()
        yield it
        tasks.cancel_scope.cancel()


async def test_the_list_is_made_longer_before_it_runs_dry() -> None:
    async with lessee() as it:
        assert len(it.ahead) >= LEAST_LEASED
        await it.train(1000)
        assert len(set(it.trainer.trained)) == 1000
        assert it.lists < 20, "the longer nothing is merged, the longer the list"


async def test_without_a_state_there_is_nothing_to_lease_until_there_is_one() -> None:
    async with anyio.create_task_group() as tasks:
        it = Lessee(tasks)
        it.coverage = None
        await anyio.wait_all_tasks_blocked()
        assert it.ahead == []
        it.coverage = Coverage()
        it.leasing.renew()
        await anyio.wait_all_tasks_blocked()
        assert len(it.ahead) >= LEAST_LEASED
        tasks.cancel_scope.cancel()


async def test_after_a_round_nothing_that_anybody_has_merged_is_ahead() -> None:
    async with lessee() as it:
        await it.train(10)
        soon = tuple(sorted(it.ahead[:5]))
        it.merge(others=soon)
        await anyio.wait_all_tasks_blocked()
        assert it.coverage is not None
        assert it.coverage.merged_within(0, 2**53) == 15
        assert not set(it.ahead) & {*it.trainer.trained, *soon}
        assert len(it.ahead) >= LEAST_LEASED


async def test_what_an_earlier_process_has_done_is_not_ahead() -> None:
    async with lessee() as it:
        before = tuple(sorted(it.ahead[:40]))
    async with lessee(carried=before) as it:
        assert not set(it.ahead) & set(before)
        await it.train(100)
        assert not set(it.trainer.trained) & set(before)
        cut = it._trained().cut(it.trainer.totals.inner_steps)
        assert set(cut.done) == {*before, *it.trainer.trained}


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_trained_twice_whenever_rounds_end(seed: int) -> None:
    random = Random(seed)
    async with lessee() as it:
        for _ in range(20):
            await it.train(random.randrange(90))
            if random.random() < 0.3:
                it.trainer.hold("lease")
                it.merge()
                await anyio.wait_all_tasks_blocked()
                it.trainer.steps(random.randrange(5))  # before the new list has taken effect
                it.trainer.holds.pop("lease").set()
            else:
                it.merge()
            await anyio.wait_all_tasks_blocked()
        trained = it.trainer.trained
        assert len(set(trained)) == len(trained) > 200


async def test_a_peer_that_is_alone_for_long_goes_on_and_claims_what_a_cut_can_hold() -> None:
    async with lessee() as it:
        await it.train(2 * MAX_DONE)
        trained = it.trainer.trained
        assert len(set(trained)) == len(trained) == 2 * MAX_DONE
        assert len(it.ahead) <= MAX_LEASE
        cut = it._trained().cut(it.trainer.totals.inner_steps)
        assert len(cut.done) == MAX_DONE
        assert set(cut.done) < set(trained)
        assert not set(cut.ahead) & set(trained)


async def test_a_trainer_that_is_gone_is_supplied_no_more() -> None:
    async with anyio.create_task_group() as tasks:
        it = Lessee(tasks)
        await anyio.wait_all_tasks_blocked()
        it.trainer.die()
        it.leasing.renew()
    assert it.ahead, "`keep` has returned, or this group would not have ended"
