"""Keeps one trainer process running: starts it, hands it its work, tells of its death."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import anyio

from peer.events import TrainerLost, TrainerReady
from peer.loss_history import LossHistory
from peer.status import Speedometer
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import Notice, Progress
from peer.training.options import TrainerOptions
from peer.work import LocalWork

log = logging.getLogger(__name__)


class TrainerSupervisor:
    """Runs one trainer after the other for a peer's work."""

    def __init__(
        self,
        spec_bytes: bytes,
        batch_size: int,
        options: TrainerOptions,
        work: LocalWork,
        post: Callable[[TrainerReady | TrainerLost], None],
    ) -> None:
        self.speed = Speedometer()
        self.losses = LossHistory()
        self._spec_bytes = spec_bytes
        self._batch_size = batch_size
        self._options = options
        self._work = work
        self._post = post
        self._end = (0, 0)

    async def run_one(self, smaller: bool = False) -> None:
        """Run a trainer until it dies; smaller: with half the micro-batch of the one before."""
        if smaller:
            batch = self._options.micro_batch or self._batch_size
            self._options = replace(self._options, micro_batch=max(1, batch // 2))
            log.warning("training with micro-batches of %d", self._options.micro_batch)
        self.speed.reset()
        self.losses.trainer_replaced()
        trainer = await Trainer.start(self._spec_bytes, self._options, self._on_event)
        try:
            await trainer.ready()
            if any(self._end):
                await trainer.schedule(*self._end)
            await self._work.attach(trainer)
            self._post(TrainerReady())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._work.leasing.keep, trainer)
                end = await trainer.wait_dead()
                tasks.cancel_scope.cancel()
        except TrainerDied as error:
            end = error.death
        finally:
            with anyio.CancelScope(shield=True):
                await trainer.stop()
            self._work.detach()
        log.info("its trainer is gone: %s", end.reason)
        log.debug("the trainer's last words: %s", end.stderr)
        self._post(TrainerLost(end.cause, end.reason))

    async def train(self, on: bool) -> None:
        """Let the trainer do inner steps, or hold still."""
        if self._work.trainer is None:
            return
        try:
            await self._work.trainer.train(on)
        except TrainerDied as error:
            log.debug("no trainer to tell: %s", error)  # its death is told by its own event

    async def schedule(self, stop_tokens: int, cooldown_tokens: int) -> None:
        """Have this trainer and those after it see the run's end there (`Trainer.schedule`)."""
        self._end = (stop_tokens, cooldown_tokens)
        if self._work.trainer is None:
            return
        try:
            await self._work.trainer.schedule(*self._end)
        except TrainerDied as error:
            log.debug("no trainer to tell: %s", error)  # as above

    def _on_event(self, event: Progress | Notice) -> None:
        if isinstance(event, Notice):
            log.warning("%s", event.text)
        else:
            self.speed.add(event, time.monotonic())
            self.losses.add(event, self._work.run_tokens)
            if self._work.trainer is not None:
                self._work.leasing.has_progressed(self._work.trainer)
