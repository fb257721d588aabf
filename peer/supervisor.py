"""Keeps one trainer process running: starts it, hands it its work, tells of its death."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import anyio

from peer.events import TrainerLost, TrainerReady
from peer.limits.resources import Resources
from peer.loss_history import LossHistory
from peer.status import Speedometer
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import MicroBatch, Notice, Progress
from peer.training.options import TrainerOptions
from peer.work import LocalWork

log = logging.getLogger(__name__)


class TrainerSupervisor:
    """Runs one trainer after the other for a peer's work."""

    def __init__(
        self,
        spec_bytes: bytes,
        options: TrainerOptions,
        resources: Resources,
        work: LocalWork,
        post: Callable[[TrainerReady | TrainerLost], None],
    ) -> None:
        self.speed = Speedometer()
        self.losses = LossHistory()
        self._spec_bytes = spec_bytes
        self._options = options
        self._resources = resources
        resources.trainer = lambda: work.trainer
        resources.give_up = lambda reason: post(TrainerLost("too_large", reason))
        self._work = work
        self._post = post
        self._end = (0, 0)

    async def run_one(self) -> None:
        """Run a trainer until it dies."""
        self.speed.reset()
        self.losses.trainer_replaced()
        options = replace(self._options, allow=self._resources.allow())
        trainer = await Trainer.start(self._spec_bytes, options, self._on_event)
        try:
            await trainer.ready()
            if any(self._end):
                await trainer.schedule(*self._end)
            await self._work.attach(trainer)
            self._resources.started(trainer)
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
        smaller = end.cause == "memory" and self._resources.ran_out(trainer, end.reason)
        self._post(TrainerLost(end.cause, end.reason, smaller))

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

    def _on_event(self, event: Progress | Notice | MicroBatch) -> None:
        if isinstance(event, Notice):
            log.warning("%s", event.text)
        elif isinstance(event, MicroBatch):
            if self._work.trainer is not None:
                self._resources.started(self._work.trainer)
        else:
            self.speed.add(event, time.monotonic())
            self.losses.add(event, self._work.run_tokens)
            if self._work.trainer is not None:
                self._work.leasing.has_progressed(self._work.trainer)
