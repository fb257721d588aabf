"""Holds a peer's processes to what its user allows of processor, memory and accelerator."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable

import anyio

from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.memory_guard import MemoryGuard, Verdict
from peer.limits.micro_batches import MicroBatches
from peer.limits.process_times import ProcessTimes, Rate, Used
from peer.limits.settings import Limits, processors_here
from peer.limits.units import bytes_text, share_text
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import Allow, UsedElsewhere
from peer.training.priority import give_way
from peer.training.resident import forget_peak, resident, together

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""What the daemon uses is told to the trainer so often, while there is a limit to it."""
CALM_SECONDS = 2.0
"""Without a limit it is only counted."""
MEMORY_SECONDS = 2.0
DAEMON_NICENESS = 5
"""The daemon itself is no nicer: others wait for its answers in a round."""
_RESERVE_BYTES = 100_000_000
"""For p2pd, and for what the daemon holds besides vectors of the model."""
_ACTS = 0.85
"""A limit acts when so much of it is used."""


_TEXT_SHARE = 0.75
"""Of the download rate, while a run's text is fetched; the rest is for the swarm."""


class Resources:
    """What trainers may use, told to them, measured, and corrected."""

    def __init__(
        self,
        limits: LimitsInForce,
        sizes: MicroBatches,
        disk: Disk,
    ) -> None:
        self.disk = disk
        self.trainer: Callable[[], Trainer | None] = lambda: None
        """The one that works now; its supervisor says which."""
        self.give_up: Callable[[str], None] = lambda reason: None
        """Called when this peer's memory is too little even for the smallest micro-batch."""
        self.on_use: list[Callable[[Used, float], None]] = []
        """Called with what was used since the last time, and the monotonic time."""
        self._limits = limits
        self._sizes = sizes
        self._base = resident(os.getpid()).private
        self._times = ProcessTimes()
        self._rate = Rate()
        self._guard = MemoryGuard()
        self._memory_at = 0.0
        limits.on_change.append(self._changed)
        limits.on_slow.append(self._slowed)

    def give_way(self) -> None:
        """Have this process, and children that it starts later, let others go first."""
        give_way(min(self._limits.limits.niceness, DAEMON_NICENESS), idle_io=False)

    @property
    def processors(self) -> float:
        """In use by daemon, trainer and p2pd, on average over the last ten seconds."""
        return self._rate.processors

    # ---- what trainers are told ----------------------------------------------------------

    def allow(self) -> Allow:
        """For a trainer, now."""
        limits = self._limits.limits
        ours = resident(os.getpid())
        slowed_to, here = self._limits.slowed_to, processors_here()
        return Allow(
            threads=threads_allowed(limits, here),
            processors=processor_time(limits, here, slowed_to),
            accelerator=(limits.accelerator or 1.0) * slowed_to,
            accelerator_memory=int(limits.accelerator_memory or 0),
            memory=_for_vectors(limits.memory, self._base),
            held=max(0, ours.private + ours.shared - self._base),
            micro_batch=self._sizes.most(limits, time.time()),
            text_room=self.disk.room(),
            download=int(_TEXT_SHARE * (limits.download or 0) / 8),
            niceness=limits.niceness,
            idle_io=limits.io == "idle",
        )

    def ran_out(self, trainer: Trainer, why: str) -> bool:
        """A trainer died for want of memory; whether one with a smaller micro-batch may live."""
        limits = self._limits.limits
        wall = time.time()
        sequences = trainer.micro_batch or self._sizes.most(limits, wall)
        return bool(self._sizes.too_many(sequences, limits, wall, why))

    def started(self, trainer: Trainer) -> None:
        """A trainer has begun, or changed its micro-batch."""
        self._guard.changed(time.monotonic())
        whole, now = self._sizes.batch_size, trainer.micro_batch
        limit = self._limits.limits.memory
        if not 0 < now < whole:
            self._limits.ceases("memory")
        else:
            why = f"to stay within {bytes_text(limit)}" if limit else "as memory is short"
            self._limits.acts("memory", f"{now} of {whole} sequences at a time, {why}")
        if trainer.accelerator and (share := self._limits.limits.accelerator):
            self._limits.acts("accelerator", f"held at {share_text(share)} of its time")

    def _changed(self, limits: Limits) -> None:
        self._guard.changed(time.monotonic())
        self.give_way()
        for name in ("memory", "accelerator", "processor"):
            self._limits.ceases(name)
        if (trainer := self.trainer()) is not None:
            self._tell(trainer, self.allow())
            self.started(trainer)

    def _slowed(self) -> None:
        if (trainer := self.trainer()) is not None:
            self._tell(trainer, self.allow())

    def _tell(self, trainer: Trainer, what: Allow | UsedElsewhere) -> None:
        try:
            trainer.bound(what)
        except TrainerDied as error:
            log.debug("no trainer to tell: %s", error)  # its death is told by its own event

    # ---- what they use -----------------------------------------------------------------

    async def keep(self) -> None:
        """Measure, and correct, until cancelled."""
        while True:
            limits = self._limits.limits
            watched = limits.processor is not None or limits.memory is not None
            await anyio.sleep(TICK_SECONDS if watched else CALM_SECONDS)
            now = time.monotonic()
            self._look_at_processors(now)
            if limits.memory is not None and now - self._memory_at >= MEMORY_SECONDS:
                self._memory_at = now
                self._look_at_memory(limits.memory, now)

    def _look_at_processors(self, now: float) -> None:
        trainer = self.trainer()
        used = self._times.used(trainer.pid if trainer is not None else None)
        self._rate.add(used.whole, now)
        for tell in self.on_use:
            tell(used, now)
        share = self._limits.limits.processor
        if share is None:
            return
        if trainer is not None:
            self._tell(trainer, UsedElsewhere(used.elsewhere))
        allowed, there = share * processors_here(), processors_here()
        if self._rate.processors >= _ACTS * allowed:
            words = f"held at {_count(allowed)} of {_count(there)} processors"
            self._limits.acts("processor", f"{words}, {self._rate.processors:.2f} in use")
        else:
            self._limits.ceases("processor")

    def _look_at_memory(self, limit: float, now: float) -> None:
        trainer = self.trainer()
        taken = together([resident(pid) for pid in self._times.pids])
        for pid in self._times.pids:
            forget_peak(pid)
        sequences = trainer.micro_batch if trainer is not None else 0
        verdict = self._guard.look(taken, limit, sequences, now)
        if verdict is Verdict.FINE or trainer is None:
            return
        why = f"{bytes_text(taken)} of memory taken and {bytes_text(limit)} allowed"
        if verdict is Verdict.HOPELESS:
            self.give_up(
                f"{why}, with one sequence at a time: raise limits.memory, or join a run with a "
                "smaller model"
            )
        elif self._sizes.too_many(sequences, self._limits.limits, time.time(), why):
            self._tell(trainer, self.allow())


def threads_allowed(limits: Limits, processors: int) -> int:
    """No more than have a processor each: a few that go on are better than many that wait."""
    if limits.processor is None:
        return limits.threads
    return min(limits.threads, max(1, math.ceil(limits.processor * processors - 1e-9)))


def processor_time(limits: Limits, processors: int, slowed_to: float) -> float:
    """How many processors may be busy on average; 0: as many as there are threads.

    slowed_to: the share of its time that a trainer may compute on a machine that gets too hot.
    """
    allowed = (limits.processor or 0.0) * processors
    if slowed_to >= 1:
        return allowed
    threads = threads_allowed(limits, processors)
    return slowed_to * (min(allowed, threads) if allowed else threads)


def _for_vectors(limit: float | None, base: int) -> int:
    """Bytes for a trainer and the daemon's vectors; 0: no limit."""
    return 0 if limit is None else max(1, int(limit) - base - _RESERVE_BYTES)


def _count(processors: float) -> str:
    return f"{processors:.3g}"
