"""The real trainer process, through the daemon's `Trainer`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, ByT5Tokenizer

from peer.files import file_digest
from peer.training import data
from peer.training.client import NotResumed, Trainer
from peer.training.death import TrainerDied
from peer.training.inner import InnerTraining
from peer.training.lease_queue import MAX_LEASE
from peer.training.local_state import LOCAL_FILE
from peer.training.messages import MicroBatch, Notice, Progress
from peer.training.model import build_model
from peer.training.options import TrainerOptions
from swarmpb.spec import RunSpec, preset
from tests.tiny import tiny_config, tiny_spec

pytestmark = pytest.mark.anyio
START_SECONDS = 60


class Watch:
    """Collects a trainer's events; waits for a number of inner steps."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self._steps = 0
        self._changed = asyncio.Event()

    def __call__(self, event: Progress | Notice | MicroBatch) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)
        elif isinstance(event, Progress):
            self._steps = event.inner_steps
        self._changed.set()

    async def until(self, enough: Callable[[int], bool]) -> None:
        with anyio.fail_after(START_SECONDS):
            while not enough(self._steps):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(
    spec: RunSpec, folder: Path, watch: Watch | None = None, options: TrainerOptions | None = None
) -> AsyncIterator[Trainer]:
    options = options or TrainerOptions(folder, device="cpu")
    trainer = await Trainer.start(spec.canonical(), options, watch or Watch())
    try:
        with anyio.fail_after(START_SECONDS):
            yield trainer
    finally:
        await trainer.stop()
        assert not psutil.pid_exists(trainer.pid)


def replay(spec: RunSpec, inner_steps: int, micro_batch: int = 0) -> InnerTraining:
    """The same inner steps in this process."""
    torch.set_num_threads(1)
    model = build_model(spec, torch.device("cpu"))
    text, _ = data.split(data.standard_library(), spec)
    inner = InnerTraining(spec, model, data.TextStream(text, spec), micro_batch)
    inner.lease(list(range(inner_steps)))
    inner.load(model.vector.clone(), 0, "")
    for _ in range(inner_steps):
        inner.inner_step()
    return inner


async def test_it_trains_cuts_shifts_evaluates_and_exports(tmp_path: Path) -> None:
    spec, watch = tiny_spec(), Watch()
    async with running(spec, tmp_path, watch) as trainer:
        ready = await trainer.ready()
        first = trainer.vectors.outbox.copy()
        assert first.shape == (ready.parameters,)
        await trainer.load(first, 0, "a0")
        assert await trainer.lease(range(MAX_LEASE)) == 0
        first_loss = await trainer.evaluate(first)
        assert first_loss == pytest.approx(np.log(384), rel=0.05)

        # an evaluation in the middle leaves no trace in what training does
        await trainer.train(True)
        await watch.until(lambda steps: steps >= 5)
        assert await trainer.evaluate(first) == first_loss
        cut = await trainer.cut()
        at_cut = trainer.vectors.outbox.copy()
        expected = replay(spec, cut.inner_steps)
        assert cut.inner_steps >= 5
        assert (cut.tokens, cut.loss_sum) == (cut.inner_steps * 32, expected.loss_sum)
        assert np.array_equal(at_cut, expected.model.vector.numpy())

        # a shift is one exact addition
        await trainer.train(False)
        still = await trainer.cut()
        before = trainer.vectors.outbox.copy()
        delta = np.random.default_rng(0).normal(0, 0.01, before.shape).astype(np.float32)
        await trainer.shift(delta, 3200, "a1")
        after = await trainer.cut()
        assert after == replace(still, cut_id=after.cut_id)
        assert np.array_equal(trainer.vectors.outbox, before + delta)

        # training goes on from there, and what comes out can be loaded elsewhere
        await trainer.train(True)
        await watch.until(lambda steps: steps >= still.inner_steps + 200)
        await trainer.cut()
        trained = trainer.vectors.outbox.copy()
        assert await trainer.evaluate(trained) < first_loss - 0.5
        await trainer.export(trained, tmp_path / "model")
        occupied = tmp_path / "occupied"
        occupied.mkdir()
        (occupied / "thesis.txt").write_text("mine")
        with pytest.raises(OSError, match="choose another folder"):
            await trainer.export(trained, occupied)
        assert (await trainer.cut()).inner_steps > still.inner_steps
    assert_exported(tmp_path / "model")


def assert_exported(folder: Path) -> None:
    """The folder loads by transformers alone, nothing lies beside it, and it can write."""
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model", "occupied"]
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = ByT5Tokenizer.from_pretrained(folder)
    prompt = tokenizer("def main(", return_tensors="pt", add_special_tokens=False)
    written = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    assert tokenizer.decode(written[0]).startswith("def main(")
    assert written.shape[1] > prompt["input_ids"].shape[1]


async def test_it_works_off_its_lease_and_then_waits(tmp_path: Path) -> None:
    watch = Watch()
    async with running(tiny_spec(), tmp_path, watch) as trainer:
        await trainer.ready()
        await trainer.train(True)
        assert await trainer.lease([4, 2, 6]) == 0
        await watch.until(lambda steps: steps == 3)
        assert await trainer.lease([6, 9, 4]) == 3
        await watch.until(lambda steps: steps == 4)
        assert (await trainer.cut()).inner_steps == 4
        assert trainer.leases.chunks_between(0, 4) == [4, 2, 6, 9]
        assert trainer.leases.left(4) == []

        # the run's owner has it end: from the next inner step on the rate is that of the new end
        before = trainer.vectors.outbox.copy()
        await trainer.schedule(1, 1)
        await trainer.lease([11])
        await watch.until(lambda steps: steps == 5)
        await trainer.cut()
        assert np.array_equal(trainer.vectors.outbox, before)
        with pytest.raises(ValueError, match="no chunk"):
            await trainer.lease([-1])


async def test_a_killed_trainers_successor_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    spec, watch = tiny_spec(), Watch()
    async with running(spec, tmp_path, watch) as trainer:
        await trainer.ready()
        await trainer.load(trainer.vectors.outbox.copy(), 0, "a0")
        await trainer.lease(range(1000))
        await trainer.train(True)
        await watch.until(lambda steps: steps >= 20)
        taken = await trainer.snapshot(tmp_path)
        written = await trainer.snapshot_written()
        again = await trainer.snapshot(tmp_path / "not there")
        with pytest.raises(OSError, match="not there"):
            await trainer.snapshot_written()
        assert again.inner_steps >= taken.inner_steps >= 20
        chunks = trainer.leases.chunks_between(0, taken.inner_steps)
        os.kill(trainer.pid, signal.SIGKILL)
        await trainer.wait_dead()
    path = tmp_path / LOCAL_FILE
    assert (written.bytes, written.digest) == (path.stat().st_size, file_digest(path))
    assert (taken.base, taken.tokens) == ("a0", taken.inner_steps * 32)
    assert chunks == list(range(taken.inner_steps))

    watch = Watch()
    async with running(spec, tmp_path, watch) as trainer:
        await trainer.ready()
        with pytest.raises(NotResumed, match="it sits on the state a0"):
            await trainer.resume(path, "b0", 0)
        await trainer.resume(path, "a0", 0)
        await trainer.lease(range(taken.inner_steps, taken.inner_steps + 10))
        await trainer.train(True)
        await watch.until(lambda steps: steps == 10)
        assert (await trainer.cut()).tokens == 320
        expected = replay(spec, taken.inner_steps + 10)
        assert np.array_equal(trainer.vectors.outbox, expected.model.vector.numpy())


async def test_whatever_is_pending_ends_with_the_trainer(tmp_path: Path) -> None:
    async with running(tiny_spec(), tmp_path) as trainer:
        await trainer.ready()
        os.kill(trainer.pid, signal.SIGSTOP)
        vector = trainer.vectors.outbox.copy()
        calls = [
            trainer.cut(),
            trainer.evaluate(vector),
            trainer.shift(vector, 0, ""),
            trainer.cut(),
        ]
        pending = [asyncio.ensure_future(call) for call in calls]
        abandoned = asyncio.ensure_future(trainer.shift(vector, 0, ""))
        await asyncio.wait(pending, timeout=0)
        abandoned.cancel()
        os.kill(trainer.pid, signal.SIGKILL)
        for call in pending:
            with pytest.raises(TrainerDied, match="signal 9"):
                await call
        assert (await trainer.wait_dead()).cause == "killed"
        with pytest.raises(TrainerDied):
            await trainer.cut()
        with pytest.raises(TrainerDied):
            await trainer.train(True)


async def test_a_model_that_does_not_fit_is_told_before_it_is_allocated(tmp_path: Path) -> None:
    config = {**preset("demo").model.config, "hidden_size": 65_536, "num_hidden_layers": 96}
    model = {"architecture": "LlamaForCausalLM", "config": config}
    async with running(tiny_spec(model=model), tmp_path) as trainer:
        with pytest.raises(TrainerDied, match=r"this run's model needs about .* GB of memory"):
            await trainer.ready()
        death = await trainer.wait_dead()
        assert (death.cause, death.status) == ("too_large", 3)


async def test_a_spec_that_no_model_can_be_built_from_is_told(tmp_path: Path) -> None:
    model = {"architecture": "LlamaForCausalLM", "config": tiny_config(hidden_act="sillu")}
    async with running(tiny_spec(model=model), tmp_path) as trainer:
        with pytest.raises(TrainerDied, match=r"model\.config: no model can be built: .*sillu"):
            await trainer.ready()
        assert (await trainer.wait_dead()).cause == "spec"


PARENT = """
import asyncio, sys
from pathlib import Path
from peer.training.client import Trainer
from peer.training.options import TrainerOptions
from tests.tiny import tiny_spec

async def main():
    options = TrainerOptions(Path(sys.argv[1]), device="cpu")
    trainer = await Trainer.start(tiny_spec().canonical(), options)
    await trainer.ready()
    await trainer.train(True)
    print(trainer.pid, flush=True)
    await trainer.wait_dead()

asyncio.run(main())
"""


async def test_a_killed_daemon_takes_its_trainer_along(tmp_path: Path) -> None:
    daemon = subprocess.Popen(  # noqa: ASYNC220 - a test may wait
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with daemon:
        assert daemon.stdout is not None
        trainer = psutil.Process(int(daemon.stdout.readline()))
        daemon.kill()
    trainer.wait(timeout=5)
