"""Reports that wait for the disk, and are taken together once it is free: group commit.

One report costs a transaction and a sync of the disk, and so do a hundred. What arrives while the
worker writes waits here, and goes with the next batch; nobody is answered before the batch that
its report is in is on disk. The queue is bounded: beyond it the sender is told to come later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from coordinator.domain import Acknowledgement, BusyError, RefusedError
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

Answer = Acknowledgement | RefusedError
Take = Callable[[Sequence[swarm_pb2.Envelope]], Sequence[Answer]]
"""Keeps what is fit to be kept of these reports, and answers each, in order."""


@dataclass(frozen=True)
class QueueLimits:
    """How much waits, and how much is taken at a time."""

    waiting: int = 2048
    """Reports; about two seconds of a coordinator with 10,000 peers."""
    waiting_bytes: int = 32 << 20
    batch: int = 256
    """Reports: what is read while a batch is written waits no longer than that takes."""
    gather_seconds: float = 0.02
    """From the beginning of one batch to that of the next. Fewer and larger ones cost less; a
    report that comes after a silence does not wait."""


@dataclass(frozen=True)
class _Waiting:
    envelope: swarm_pb2.Envelope
    size: int
    """Bytes."""
    answered: asyncio.Future[Answer]


class IntakeQueue:
    """Belongs to one event loop; the batches are taken by `worker`, one at a time."""

    def __init__(self, take: Take, worker: Executor, limits: QueueLimits | None = None) -> None:
        """`worker` has one thread, in which alone `take` is called."""
        self._take = take
        self._worker = worker
        self._limits = limits or QueueLimits()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._working: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Reports that wait for a batch."""
        return len(self._waiting)

    async def take(self, envelope: swarm_pb2.Envelope) -> Acknowledgement:
        """Have one report taken; returns once it is on disk.

        Raises `BusyError` if too many wait, and whatever refuses the report.
        """
        size = envelope.ByteSize()
        limits = self._limits
        if len(self._waiting) >= limits.waiting or self._bytes + size > limits.waiting_bytes:
            raise BusyError
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(envelope, size, answered))
        self._bytes += size
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        answer = await answered
        if isinstance(answer, RefusedError):
            raise answer
        return answer

    async def _work(self) -> None:
        """Take batch after batch until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                next_at = loop.time() + self._limits.gather_seconds
                await self._take_batch()
                await asyncio.sleep(max(0.0, next_at - loop.time()))
        finally:
            self._working = None

    async def _take_batch(self) -> None:
        count = min(self._limits.batch, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        self._bytes -= sum(report.size for report in batch)
        answers = await self._answers([report.envelope for report in batch])
        for report, answer in zip(batch, answers, strict=True):
            if report.answered.done():  # its caller gave up
                continue
            if isinstance(answer, (Acknowledgement, RefusedError)):
                report.answered.set_result(answer)
            else:
                report.answered.set_exception(answer)

    async def _answers(self, envelopes: list[swarm_pb2.Envelope]) -> Sequence[Answer | Exception]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, self._take, envelopes)
        except Exception as error:  # a bug that one report found must not take the rest along
            if len(envelopes) == 1:
                return [error]
        log.warning(
            "%d reports were not taken together, so each is taken for itself", len(envelopes)
        )
        one_by_one: list[Answer | Exception] = []
        for envelope in envelopes:
            one_by_one += await self._answers([envelope])
        return one_by_one
