"""A few seconds of training with a run's model, in a real trainer; nothing of it is kept."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import anyio

from peer.doctor.findings import Trial
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import MicroBatch, Notice, Progress
from peer.training.options import TrainerOptions
from peer.training.resident import resident
from peer.training.text_cache import text_path
from swarmpb.spec import RunSpec

READY_SECONDS = 300.0
"""For the trainer's imports, the text and the model."""
TRIAL_SECONDS = 6.0
"""After the first inner step, which is slower than the others."""
PATIENCE_SECONDS = 60.0
"""For two inner steps, on a machine where they take long."""
LARGEST_DOWNLOAD = 256_000_000
"""Bytes; of a larger text another one takes the place: it is only to be read."""
_CHUNKS = 4096


class NoTrial(Exception):
    """It could not be done; says why in one line."""

    def __init__(self, reason: str, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


def text_here(spec: RunSpec, cache: Path) -> int:
    """Bytes of the run's text in its cache folder; 0 also if it is part of Python."""
    if spec.data.source == "python-stdlib":
        return 0
    try:
        return text_path(spec.data.downloads, cache).stat().st_size
    except OSError:
        return 0


async def try_training(
    spec: RunSpec, options: TrainerOptions, own_folder: Path, seconds: float = TRIAL_SECONDS
) -> Trial:
    """Train for some seconds; raises `NoTrial`.

    options: as a peer would have them, its cache folder included, which is only read; own_folder:
    where what has to be fetched may lie meanwhile.
    """
    stand_in = False
    if not text_here(spec, options.cache_folder):
        options = replace(options, cache_folder=own_folder)
        if sum(it.bytes for it in spec.data.downloads) > LARGEST_DOWNLOAD:
            spec, stand_in = _with_pythons_text(spec), True
    steps = _Steps()
    trainer = await Trainer.start(spec.canonical(), options, steps.hear)
    try:
        with anyio.fail_after(READY_SECONDS):
            ready = await trainer.ready()
        await trainer.lease(range(_CHUNKS))
        await trainer.train(True)
        await _wait(trainer, steps, seconds)
        taken = resident(trainer.pid).private
    except TrainerDied as error:
        raise NoTrial(str(error), error.death.cause in ("too_large", "memory")) from error
    except TimeoutError as error:
        raise NoTrial(f"the trainer was not ready within {READY_SECONDS:.0f} s") from error
    finally:
        with anyio.CancelScope(shield=True):
            await trainer.stop()
    speed, inner_steps, elapsed = steps.told()
    return Trial(
        speed,
        inner_steps,
        elapsed,
        ready.parameters,
        taken,
        trainer.accelerator,
        trainer.micro_batch,
        spec.inner.batch_size,
        stand_in,
    )


class _Steps:
    """Inner steps as a trainer tells of them."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, Progress]] = []
        self._news = anyio.Event()

    def hear(self, event: Progress | Notice | MicroBatch) -> None:
        if isinstance(event, Progress):
            self._seen.append((time.monotonic(), event))
            del self._seen[1:-1]  # the first and the last
            self._news.set()
            self._news = anyio.Event()

    async def next(self) -> None:
        """Wait for the next one."""
        await self._news.wait()

    def told(self) -> tuple[float, int, float]:
        """Tokens a second, inner steps after the first, and the seconds that they took."""
        if len(self._seen) < 2:
            return 0.0, 0, 0.0
        (start, first), (end, last) = self._seen
        seconds = max(end - start, 1e-9)
        return (
            (last.tokens - first.tokens) / seconds,
            last.inner_steps - first.inner_steps,
            seconds,
        )


async def _wait(trainer: Trainer, steps: _Steps, seconds: float) -> None:
    """Until it has trained for long enough, or was waited for long enough."""
    with anyio.move_on_after(PATIENCE_SECONDS + seconds):
        async with anyio.create_task_group() as tasks:

            async def end_with_trainer() -> None:
                await trainer.wait_dead()
                tasks.cancel_scope.cancel()

            tasks.start_soon(end_with_trainer)
            while steps.told()[2] < seconds:
                await steps.next()
            tasks.cancel_scope.cancel()


def _with_pythons_text(spec: RunSpec) -> RunSpec:
    """The same work on a text that every machine has."""
    data = spec.data.model_copy(update={"source": "python-stdlib", "downloads": ()})
    return spec.model_copy(update={"data": data})
