"""A trainer without a process: its commands can be held up, and it dies when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import numpy as np

from peer.averaging.codecs import FlatVector
from peer.files import file_digest
from peer.training.client import NotResumed, Trainer
from peer.training.death import TrainerDeath, TrainerDied
from peer.training.lease_queue import LeaseQueue
from peer.training.messages import CutDone, Progress, SnapshotTaken, SnapshotWritten

VALUES = 8
TOKENS = 32
"""Of an inner step."""
DEATH = TrainerDeath("exited", "it crashed", 1, "")


class FakeTrainer:
    """Inner step n subtracts `step(chunk)` from all parameters, chunk being what it trains on."""

    pid = 1
    pass_chunks = 1000
    silent_seconds = 0.0

    def __init__(self) -> None:
        self.parameters: FlatVector = np.zeros(VALUES, np.float32)
        self.vectors = SimpleNamespace(
            inbox=np.zeros(VALUES, np.float32), outbox=np.zeros(VALUES, np.float32)
        )
        self.leases = LeaseQueue()
        self.own_leases = LeaseQueue()
        """What the process itself would keep: it knows of a list when that takes effect."""
        self.totals = Progress(0, 0, 0.0)
        self.base = ""
        self.trained: list[int] = []
        """Chunks, in order."""
        self.holds: dict[str, anyio.Event] = {}
        """Commands that wait for an event before they are done."""
        self.asked: dict[str, anyio.Event] = {}
        self.answers_late: dict[str, anyio.Event] = {}
        """The same, after they are done."""
        self.unwritable = ""
        self._dead = anyio.Event()
        self._snapshots = 0

    # ---- what a test does --------------------------------------------------------------

    def steps(self, count: int) -> None:
        """Inner steps, as far as there are chunks for them."""
        for _ in range(count):
            chunk = self.own_leases.chunk(self.totals.inner_steps)
            if chunk is None:
                return
            self.trained.append(chunk)
            self.parameters = self.parameters - np.float32(step(chunk))
            then = self.totals
            self.totals = Progress(then.inner_steps + 1, then.tokens + TOKENS, then.loss_sum + 1.0)

    def hold(self, command: str, *, answer: bool = False) -> tuple[anyio.Event, anyio.Event]:
        """Have a command wait; events: it was asked for, and it may go on."""
        asked, on = anyio.Event(), anyio.Event()
        self.asked[command] = asked
        (self.answers_late if answer else self.holds)[command] = on
        return asked, on

    def die(self) -> None:
        self._dead.set()
        for event in (*self.holds.values(), *self.answers_late.values()):
            event.set()

    # ---- what the daemon asks ----------------------------------------------------------

    async def load(self, vector: FlatVector, run_tokens: int, base: str) -> None:
        await self._turn("load")
        self.parameters, self.base = vector.copy(), base
        await self._answer("load")

    async def shift(self, vector: FlatVector, run_tokens: int, base: str) -> None:
        await self._turn("shift")
        self.parameters, self.base = self.parameters + vector, base
        await self._answer("shift")

    async def cut(self) -> CutDone:
        await self._turn("cut")
        self.vectors.outbox[:] = self.parameters
        done = CutDone(1, self.totals.inner_steps, self.totals.tokens, self.totals.loss_sum)
        await self._answer("cut")
        return done

    async def lease(self, chunks: Sequence[int]) -> int:
        self.leases.given(chunks)
        self.own_leases.given(chunks)
        await self._turn("lease")
        begun = self.totals.inner_steps
        self.own_leases.took_effect(begun)
        self.leases.took_effect(begun)
        await self._answer("lease")
        return begun

    async def snapshot(self, folder: Path) -> SnapshotTaken:
        await self._turn("snapshot")
        self._snapshots += 1
        self._folder = folder
        totals, base = self.totals, self.base
        np.save(folder / "copy.npy", self.parameters)
        (folder / "copy.npy").rename(folder / "local.safetensors")
        await self._answer("snapshot")
        return SnapshotTaken(base, totals.inner_steps, totals.tokens, totals.loss_sum, 0.1)

    async def snapshot_written(self) -> SnapshotWritten:
        if not self._snapshots:
            raise RuntimeError("there was no snapshot")
        await self._turn("written")
        if self.unwritable:
            raise OSError(self.unwritable)
        path = self._folder / "local.safetensors"
        return SnapshotWritten(file_digest(path), path.stat().st_size, "")

    async def resume(self, path: Path, base: str, run_tokens: int) -> None:
        await self._turn("resume")
        try:
            self.parameters, self.base = np.load(path), base
        except (OSError, ValueError) as error:
            raise NotResumed(str(error)) from error
        await self._answer("resume")

    async def stop(self) -> TrainerDeath:
        self.die()
        return DEATH

    async def _turn(self, command: str) -> None:
        await anyio.lowlevel.checkpoint()
        if command in self.holds:
            self.asked[command].set()
            await self.holds[command].wait()
        if self._dead.is_set():
            raise TrainerDied(DEATH)

    async def _answer(self, command: str) -> None:
        if command in self.answers_late:
            self.asked[command].set()
            await self.answers_late[command].wait()
        if self._dead.is_set():
            raise TrainerDied(DEATH)


def step(chunk: int) -> float:
    """What an inner step on a chunk subtracts; sums of few of them are exact."""
    return float(1 + chunk % 61)


def as_trainer(fake: FakeTrainer) -> Trainer:
    return cast(Trainer, fake)
