"""Rates that streams keep together, over real sockets: fair, without stopping what is small."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from peer.swarm.bucket import BURST_SECONDS, DEBT_SECONDS, Bucket
from peer.swarm.framing import FramedStream
from peer.swarm.inbound import DATA_BYTES
from peer.swarm.interface import Method, Unreachable
from peer.swarm.shaping import FREE_BYTES, Permit, Shaper
from swarmpb.v1 import swarm_pb2

pytestmark = pytest.mark.anyio

RATE = 400_000.0
TALK: Method[Any, Any] = Method("talk", swarm_pb2.Envelope, swarm_pb2.Envelope)
SILENCE = 3.0


# ---- arithmetic ------------------------------------------------------------------------


def test_a_bucket_lets_pass_its_rate_after_a_short_burst() -> None:
    bucket, now, passed = Bucket(1000.0), 0.0, 0
    while now < 10:
        while not bucket.wait(now):
            bucket.take(50, now)
            passed += 50
        now += bucket.wait(now)
    assert 10_000 <= passed <= 10_000 + BURST_SECONDS * 1000 + 100


def test_what_passes_without_asking_is_paid_for_but_not_for_ever() -> None:
    bucket = Bucket(1000.0)
    bucket.take(0, 0.0)
    bucket.take(700, 0.0)
    assert bucket.wait(0.0) == pytest.approx(0.7 - BURST_SECONDS)
    bucket.take(1_000_000, 0.0)
    assert bucket.wait(0.0) == DEBT_SECONDS < SILENCE


def test_a_bucket_without_a_limit_never_waits() -> None:
    bucket = Bucket()
    bucket.take(1e12, 0.0)
    assert bucket.wait(0.0) == 0
    bucket.change(1000.0, 1.0)
    assert bucket.wait(1.0) == 0
    bucket.take(500, 1.0)
    bucket.change(math.inf, 1.0)
    assert bucket.wait(1.0) == 0


def test_a_new_rate_keeps_a_debt_as_long_as_it_was() -> None:
    bucket = Bucket(1000.0)
    bucket.take(1200, 0.0)
    before = bucket.wait(0.0)
    bucket.change(10.0, 0.0)
    assert bucket.wait(0.0) == pytest.approx(before)


def test_a_permit_pays_once_for_what_it_permits() -> None:
    async def story() -> None:
        shaper, told = Shaper(), list[int]()
        shaper.change(math.inf, RATE)
        permit = Permit(shaper.download, told.append)
        permit.want(100_000)
        permit.grant(5000)
        assert told == [FREE_BYTES + 5000]
        permit.came(FREE_BYTES + 5000)
        assert shaper.download.counted == FREE_BYTES + 5000
        permit.grant(7000)
        permit.close()
        assert shaper.download.counted == FREE_BYTES + 5000, "what did not come is given back"

    anyio.run(story)


# ---- streams ---------------------------------------------------------------------------


@asynccontextmanager
async def pair(sender: Shaper, receiver: Shaper) -> AsyncIterator[tuple[FramedStream, ...]]:
    """Both ends of a stream: the one that opened it, and the one that serves it."""
    streams, writers = [], []
    shapers = (sender, receiver)
    for end, shaper, is_reply in zip(socket.socketpair(), shapers, (False, True), strict=True):
        reader, writer = await asyncio.open_connection(sock=end)
        writers.append(writer)
        place = (reader, writer, TALK, is_reply, "other")
        streams.append(FramedStream(*place, lambda credentials: None, shaper))
    try:
        for stream in streams:
            await stream.show(b"", 1)
        yield tuple(streams)
    finally:
        for stream, writer in zip(streams, writers, strict=True):
            stream.end()
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def granting(shaper: Shaper) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shaper.keep_granting)
        yield
        tasks.cancel_scope.cancel()


async def carry(size: int, streams: Iterable[tuple[FramedStream, FramedStream]]) -> list[float]:
    """Send so much over each of these; when each was there, seconds from now."""
    began, ends = anyio.current_time(), list[float]()

    async def take(stream: FramedStream) -> None:
        assert await stream.receive_data(memoryview(bytearray(size)), SILENCE) == size
        ends.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        for near, far in streams:
            tasks.start_soon(near.send_data, memoryview(bytes(size)), SILENCE)
            tasks.start_soon(take, far)
    return ends


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_streams_share_a_rate_fairly_and_keep_it(direction: str) -> None:
    limited, free = Shaper(), Shaper()
    limited.change(*((RATE, math.inf) if direction == "upload" else (math.inf, RATE)))
    ends = (limited, free) if direction == "upload" else (free, limited)
    size = int(RATE / 3)
    async with granting(limited), pair(*ends) as one, pair(*ends) as two, pair(*ends) as three:
        seconds = await carry(size, [one, two, three])  # type: ignore[list-item]  # of two each
    spent = 3 * FREE_BYTES / RATE if direction == "download" else 0.0
    assert max(seconds) >= 1 - BURST_SECONDS - spent - 0.05, "faster than it may"
    assert max(seconds) <= 1.3, "slower than it could"
    assert min(seconds) >= 0.7 * max(seconds), "one was served before the others"


async def test_a_message_does_not_wait_behind_data() -> None:
    limited, free = Shaper(), Shaper()
    limited.change(RATE, math.inf)
    size = int(RATE)
    async with (
        pair(limited, free) as bulk,
        pair(limited, free) as talk,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(bulk[0].send_data, memoryview(bytes(size)), SILENCE)
        tasks.start_soon(bulk[1].receive_data, memoryview(bytearray(size)), SILENCE)
        await anyio.sleep(0.1)
        began = anyio.current_time()
        await talk[0].send(swarm_pb2.Envelope(kind="cut"), SILENCE)
        assert (await talk[1].receive(SILENCE)).kind == "cut"
        assert anyio.current_time() - began < 0.2
        tasks.cancel_scope.cancel()


async def test_who_sends_data_hears_how_much_is_taken_and_loses_no_message() -> None:
    """A donor sends blocks while the joiner asks for the next ones, and permits the last."""
    limited, free = Shaper(), Shaper()
    limited.change(math.inf, RATE)
    size = int(RATE / 4)
    async with granting(limited), pair(limited, free) as (joiner, donor):

        async def give() -> None:
            await donor.send_data(memoryview(bytes(size)), SILENCE)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(give)
            for number in range(5):
                await joiner.send(swarm_pb2.Envelope(kind=str(number)), SILENCE)
            assert await joiner.receive_data(memoryview(bytearray(size)), SILENCE) == size
        await joiner.finish(SILENCE)
        heard = [(await donor.receive(SILENCE)).kind for _ in range(5)]
        assert heard == ["0", "1", "2", "3", "4"]
        assert await donor.receive(SILENCE) is None


async def test_a_limit_that_comes_and_goes_holds_for_streams_that_are_open() -> None:
    changing, free = Shaper(), Shaper()
    block = memoryview(bytearray(DATA_BYTES))
    async with granting(changing), pair(free, changing) as (near, far):

        async def send() -> None:
            for _ in range(48):
                await near.send_data(memoryview(bytes(DATA_BYTES)), SILENCE)

        async def take(blocks: int) -> float:
            began = anyio.current_time()
            for _ in range(blocks):
                assert await far.receive_data(block, SILENCE) == DATA_BYTES
            return anyio.current_time() - began

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await take(4)
            changing.change(math.inf, RATE)
            await take(3)  # what was under way
            assert await take(1) > DATA_BYTES / RATE - BURST_SECONDS - 0.05
            changing.change(math.inf, math.inf)
            assert await take(40) < 40 * DATA_BYTES / RATE / 8


async def test_a_sender_that_may_not_send_gives_up_on_who_is_silent() -> None:
    limited, free = Shaper(), Shaper()
    limited.change(math.inf, RATE)
    async with pair(free, limited) as (near, _):
        with pytest.raises(Unreachable, match=r"did not read for 0\.2 s"):
            await near.send_data(memoryview(bytes(4 * FREE_BYTES)), 0.2)


async def test_who_waits_for_its_own_limit_does_not_call_the_other_silent() -> None:
    """Many streams and a low rate: each may have nothing to expect for longer than a silence."""
    limited, free = Shaper(), Shaper()
    limited.change(math.inf, 20_000.0)
    async with granting(limited), pair(free, limited) as one, pair(free, limited) as two:
        for _, far in (one, two):
            far._shaper.download.count(40_000)  # messages came, and are paid for first
        size = FREE_BYTES + 10_000

        async def take(far: FramedStream) -> None:
            assert await far.receive_data(memoryview(bytearray(size)), 0.5) == size

        async with anyio.create_task_group() as tasks:
            for near, far in (one, two):
                tasks.start_soon(near.send_data, memoryview(bytes(size)), 10)
                tasks.start_soon(take, far)
