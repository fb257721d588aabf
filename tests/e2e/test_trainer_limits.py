"""A real trainer keeps to what it is allowed, and answers commands meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import Allow, MicroBatch, UsedElsewhere
from peer.training.options import TrainerOptions
from peer.training.resident import resident
from swarmpb.spec import RunSpec
from tests.tiny import tiny_config, tiny_spec

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
START_SECONDS = 240
WINDOW_SECONDS = 6.0
CHUNKS = range(250)


def allow(**values: Any) -> Allow:
    return Allow(**{"niceness": 0, "idle_io": False, **values})  # other tests run beside this one


def slow_spec() -> RunSpec:
    """An inner step takes a few hundredths of a second."""
    config = tiny_config(hidden_size=128, intermediate_size=256, num_hidden_layers=2)
    model = {"architecture": "LlamaForCausalLM", "config": config}
    return tiny_spec(
        model=model,
        inner={"batch_size": 16},
        data={"sequence_length": 64},
        round={"target_tokens": 10_000},
    )


@asynccontextmanager
async def training(folder: Path, start: Allow) -> AsyncIterator[Trainer]:
    options = TrainerOptions(folder, "cpu", start)
    trainer = await Trainer.start(slow_spec().canonical(), options)
    try:
        with anyio.fail_after(START_SECONDS):
            await trainer.ready()
            await trainer.lease(CHUNKS)
            await trainer.train(True)
            yield trainer
    finally:
        await trainer.stop()


async def use(trainer: Trainer) -> float:
    """Processors in use over some seconds, while cuts are asked for."""
    process, began = psutil.Process(trainer.pid), time.monotonic()
    before = process.cpu_times()
    while time.monotonic() < began + WINDOW_SECONDS:
        await trainer.cut()
        await anyio.sleep(0.2)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return spent / (time.monotonic() - began)


async def inner_steps(trainer: Trainer, more: int) -> None:
    then = (await trainer.cut()).inner_steps + more
    while (await trainer.cut()).inner_steps < then:  # noqa: ASYNC110  a trainer tells no events
        await anyio.sleep(0.1)  # cuts without a pause would use up all that it is allowed


async def test_a_quarter_of_a_processor_is_a_quarter_however_many_there_are(
    tmp_path: Path,
) -> None:
    async with training(tmp_path, allow(processors=0.25)) as trainer:
        await inner_steps(trainer, 1)  # its imports are paid for
        before = trainer.totals.inner_steps
        assert await use(trainer) < 0.25 * 1.1
        assert trainer.totals.inner_steps > before


async def test_what_others_of_the_peer_use_holds_it_still_and_commands_are_answered_meanwhile(
    tmp_path: Path,
) -> None:
    async with training(tmp_path, allow(processors=0.1)) as trainer:
        await inner_steps(trainer, 1)
        trainer.bound(UsedElsewhere(1e6))  # ten seconds of stillness, and no more
        before = await trainer.cut()
        with anyio.fail_after(8):
            for _ in range(10):
                after = await trainer.cut()
        assert after.inner_steps == before.inner_steps
        trainer.bound(allow(processors=0.001))  # a micro-batch in half a minute
        await trainer.cut()
        trainer.bound(allow())
        await inner_steps(trainer, 20)


async def test_memory_decides_on_the_micro_batch_and_changes_it_while_training(
    tmp_path: Path,
) -> None:
    sizes: list[int] = []

    def seen(event: object) -> None:
        if isinstance(event, MicroBatch):
            sizes.append(event.sequences)

    spec = slow_spec().canonical()
    options = TrainerOptions(tmp_path, "cpu", allow(micro_batch=5))
    trainer = await Trainer.start(spec, options, seen)
    try:
        with anyio.fail_after(START_SECONDS):
            await trainer.ready()
            assert (sizes, trainer.micro_batch) == ([5], 5)
            await trainer.lease(CHUNKS)
            await trainer.train(True)
            await inner_steps(trainer, 1)
            trainer.bound(allow(memory=1))
            trainer.bound(allow(memory=1))  # which changes nothing, and is not told
            trainer.bound(allow())
            await inner_steps(trainer, 2)
            assert sizes == [5, 1, 16]
    finally:
        await trainer.stop()


async def test_a_model_that_does_not_fit_in_its_limit_is_refused_before_it_is_built(
    tmp_path: Path,
) -> None:
    options = TrainerOptions(tmp_path, "cpu", allow(memory=1))
    trainer = await Trainer.start(slow_spec().canonical(), options)
    try:
        left = r"left of limits\.memory"
        with anyio.fail_after(START_SECONDS), pytest.raises(TrainerDied, match=left):
            await trainer.ready()
        assert (await trainer.wait_dead()).cause == "too_large"
    finally:
        await trainer.stop()


async def test_a_trainer_gives_way_to_all_others_and_its_memory_is_known(tmp_path: Path) -> None:
    async with training(tmp_path, Allow()) as trainer:
        await inner_steps(trainer, 1)
        process = psutil.Process(trainer.pid)
        assert process.nice() == 10
        assert process.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
        trainer.bound(Allow(niceness=15))
        await trainer.cut()
        assert process.nice() == 15
        known = resident(trainer.pid)
        assert 50e6 < known.private < process.memory_info().rss + 200e6
        assert known.shared > 0
