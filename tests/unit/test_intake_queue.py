"""Reports that arrive together are kept together, and each is answered for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import anyio
import pytest

from coordinator.domain import (
    Acknowledgement,
    BusyError,
    InvalidReportError,
    RefusedError,
    StorageError,
)
from coordinator.reports.intake_queue import IntakeQueue, QueueLimits
from swarmpb.v1 import swarm_pb2

pytestmark = pytest.mark.anyio


def envelope(name: str, size: int = 0) -> swarm_pb2.Envelope:
    return swarm_pb2.Envelope(kind=name, payload=b"x" * size)


@dataclass
class Disk:
    """Writes no batch before the test lets it."""

    free: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)

    def take(self, envelopes: Sequence[swarm_pb2.Envelope]) -> list[Acknowledgement | RefusedError]:
        names = [envelope.kind for envelope in envelopes]
        self.batches.append(names)
        self.begun.set()
        assert self.free.wait(10)
        if "poison" in names:
            raise ZeroDivisionError("a bug of ours")
        return [
            InvalidReportError("no report") if name == "bad" else Acknowledgement(len(name), 0)
            for name in names
        ]


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def began(disk: Disk) -> None:
    """Wait until the disk is busy with a batch."""
    await anyio.to_thread.run_sync(disk.begun.wait, 10)


async def sent(queue: IntakeQueue, *names: str) -> list[asyncio.Task[Acknowledgement]]:
    """Reports that wait in the queue, in this order."""
    tasks = [asyncio.create_task(queue.take(envelope(name))) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_what_arrives_while_the_disk_is_busy_is_taken_together(
    worker: ThreadPoolExecutor,
) -> None:
    disk = Disk()
    queue = IntakeQueue(disk.take, worker)
    tasks = await sent(queue, "a")
    await began(disk)
    tasks += await sent(queue, "bb", "ccc", "dddd")
    disk.free.set()
    assert [it.sequence for it in await asyncio.gather(*tasks)] == [1, 2, 3, 4]
    assert disk.batches == [["a"], ["bb", "ccc", "dddd"]]


async def test_nobody_is_answered_before_the_disk_has_the_batch(worker: ThreadPoolExecutor) -> None:
    disk = Disk()
    (task,) = await sent(IntakeQueue(disk.take, worker), "a")
    await began(disk)
    assert not task.done()
    disk.free.set()
    assert await task == Acknowledgement(1, 0)


async def test_each_report_is_refused_for_itself(worker: ThreadPoolExecutor) -> None:
    disk = Disk()
    disk.free.set()
    tasks = await sent(IntakeQueue(disk.take, worker), "a", "bad", "ccc")
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, third) == (Acknowledgement(1, 0), Acknowledgement(3, 0))
    assert isinstance(second, InvalidReportError)


async def test_a_report_that_finds_a_bug_does_not_take_the_others_along(
    worker: ThreadPoolExecutor,
) -> None:
    disk = Disk()
    disk.free.set()
    tasks = await sent(IntakeQueue(disk.take, worker), "a", "poison", "ccc")
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, third) == (Acknowledgement(1, 0), Acknowledgement(3, 0))
    assert isinstance(second, ZeroDivisionError)
    assert disk.batches == [["a", "poison", "ccc"], ["a"], ["poison"], ["ccc"]]


async def test_a_disk_that_takes_nothing_refuses_the_whole_batch(
    worker: ThreadPoolExecutor,
) -> None:
    def full(envelopes: Sequence[swarm_pb2.Envelope]) -> list[Acknowledgement | RefusedError]:
        return [StorageError("the disk is full")] * len(envelopes)

    tasks = await sent(IntakeQueue(full, worker), "a", "bb")
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(it) for it in answers] == [StorageError, StorageError]


async def test_a_full_queue_sends_away_and_takes_again_once_there_is_room(
    worker: ThreadPoolExecutor,
) -> None:
    disk = Disk()
    queue = IntakeQueue(disk.take, worker, QueueLimits(waiting=2, waiting_bytes=1000))
    tasks = await sent(queue, "a")
    await began(disk)
    tasks += await sent(queue, "b")
    with pytest.raises(BusyError, match="later"):
        await queue.take(envelope("large", size=1000))
    tasks += await sent(queue, "c")
    with pytest.raises(BusyError, match="later"):
        await queue.take(envelope("d"))
    disk.free.set()
    await asyncio.gather(*tasks)
    assert await queue.take(envelope("later")) == Acknowledgement(5, 0)


async def test_a_batch_is_bounded(worker: ThreadPoolExecutor) -> None:
    disk = Disk()
    disk.free.set()
    queue = IntakeQueue(disk.take, worker, QueueLimits(batch=2, gather_seconds=0.0))
    await asyncio.gather(*await sent(queue, "a", "b", "c", "d", "e"))
    assert disk.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_report_whose_caller_gave_up_is_taken_all_the_same(
    worker: ThreadPoolExecutor,
) -> None:
    disk = Disk()
    queue = IntakeQueue(disk.take, worker)
    (hasty,) = await sent(queue, "a")
    await began(disk)
    hasty.cancel()
    (patient,) = await sent(queue, "b")
    disk.free.set()
    await patient
    assert hasty.cancelled()
    assert disk.batches == [["a"], ["b"]]
