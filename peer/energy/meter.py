"""How much energy this peer takes: measured where the machine tells it, else estimated."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import psutil

from peer.energy.nvml import accelerator_of
from peer.energy.rapl import Rapl
from peer.limits.process_times import Used
from peer.limits.resources import Resources
from peer.limits.settings import Energy
from peer.limits.usage import add_energy, energy_used
from peer.notices import Notices
from swarmpb.v1 import control_pb2

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
KEEP_SECONDS = 60.0
"""A daemon that is killed loses what it has counted in so long."""


class Counter(Protocol):
    """Counts joules; see `Rapl` and `Nvml`."""

    def joules(self) -> float:
        """Since the last question."""


def default_watts(processors: int) -> float:
    """A guess of what so many processors take at full load beyond an idle machine."""
    return 10.0 + 6.0 * processors


class EnergyMeter:
    """`keep` it as long as the peer lives."""

    def __init__(
        self,
        settings: Energy,
        resources: Resources,
        place: tuple[Path, str],
        notices: Notices,
        rapl: Counter | None = None,
    ) -> None:
        """place: state folder and run."""
        self.joules = 0.0
        """In this run on this machine, as far back as it is kept."""
        self.watts = 0.0
        """Lately."""
        self._settings = settings
        self._resources = resources
        self._state_dir, self._run_id = place
        self._notices = notices
        self._rapl = rapl
        self._accelerator: tuple[int, Counter | None] = (0, None)
        """With the process id of the trainer that it was looked for."""
        self._unkept = 0.0
        self._used = 0.0
        self._looked = time.monotonic()
        self._busy = _busy_seconds()
        resources.on_use.append(self._add)

    @property
    def source(self) -> str:
        """Where the figures come from."""
        watts = self._settings.watts
        processors = os.cpu_count() or 1
        if self._rapl is not None:
            words = "measured by RAPL, by this peer's share of the processors' time"
        elif watts is not None:
            words = f"estimated: {watts:.0f} W at full load, as set"
        else:
            guess = f"{default_watts(processors):.0f} W at full load"
            words = f"estimated: {guess}, a guess from {processors} processors"
        if self._accelerator[1] is not None:
            words += "; the whole accelerator, measured by NVML"
        return words

    @property
    def told_joules(self) -> float:
        """What the run's coordinator is told: 0, unless the user agrees."""
        return self.joules if self._settings.report else 0.0

    def describe(self, reply: control_pb2.StatusReply) -> None:
        """What was taken, and what it costs."""
        settings = self._settings
        reply.energy.CopyFrom(
            control_pb2.Energy(
                joules=self.joules,
                watts=self.watts,
                source=self.source,
                price_per_kwh=settings.price or 0.0,
                currency=settings.currency,
            )
        )

    async def keep(self) -> None:
        """Look, and note what was taken, until cancelled."""
        self.joules += await anyio.to_thread.run_sync(self._so_far)
        try:
            while True:
                due = anyio.current_time() + KEEP_SECONDS
                while anyio.current_time() < due:
                    await anyio.sleep(LOOK_SECONDS)
                    await self._find_accelerator()
                    self.look(time.monotonic(), _busy_seconds())
                await anyio.to_thread.run_sync(self._note)
        finally:
            with anyio.CancelScope(shield=True):
                self.look(time.monotonic(), _busy_seconds())
                await anyio.to_thread.run_sync(self._note)

    def look(self, now: float, busy: float) -> None:
        """Count what was taken since the last look.

        now: monotonic seconds; busy: processor seconds of the whole machine.
        """
        used, self._used = self._used, 0.0
        taken = self._of_processors(used, busy - self._busy)
        self._busy = busy
        try:
            if self._accelerator[1] is not None:
                taken += self._accelerator[1].joules()
        except Exception as error:  # its library raises what it likes, from a driver's update on
            log.warning("the accelerator tells its energy no more: %s", error)
            self._accelerator = (self._accelerator[0], None)
        self.joules += taken
        self._unkept += taken
        if now > self._looked:
            self.watts = taken / (now - self._looked)
        self._looked = now

    def _of_processors(self, used: float, busy: float) -> float:
        """Joules of so many of the machine's busy processor seconds."""
        if self._rapl is not None:
            try:
                return self._rapl.joules() * min(1.0, used / max(busy, used, 1e-9))
            except OSError as error:
                log.warning("the processors tell their energy no more: %s", error)
                self._rapl = None
        processors = os.cpu_count() or 1
        return (self._settings.watts or default_watts(processors)) * used / processors

    def _add(self, used: Used, _now: float) -> None:
        self._used += used.whole

    async def _find_accelerator(self) -> None:
        trainer = self._resources.trainer()
        if trainer is None or not trainer.accelerator:
            self._accelerator = (0, None)
        elif trainer.pid != self._accelerator[0]:
            found = await anyio.to_thread.run_sync(accelerator_of, trainer.pid)
            self._accelerator = (trainer.pid, found)

    def _so_far(self) -> float:
        try:
            return energy_used(self._state_dir, self._run_id)
        except (OSError, sqlite3.Error) as error:
            log.warning("what energy was used before cannot be read: %s", error)
            return 0.0

    def _note(self) -> None:
        more = self._unkept
        try:
            add_energy(self._state_dir, self._run_id, datetime.now().date(), more)
        except (OSError, sqlite3.Error) as error:
            self._notices.trouble("energy", f"cannot note how much energy was used: {error}")
        else:
            self._unkept -= more
            self._notices.over("energy", "energy used is noted again")


def rapl_here() -> Rapl | None:
    """The processors' counters, if this user may read them."""
    try:
        return Rapl()
    except OSError as error:
        log.debug("no energy from the processors: %s", error)
        return None


def _busy_seconds() -> float:
    """Processor seconds that this machine has spent on anything since it was started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
