"""One contract, two networks: in memory, and libp2p with real p2pd processes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from peer.swarm.interface import (
    MAX_REASON_LENGTH,
    Method,
    Network,
    Refused,
    Stream,
    Unreachable,
    call,
    unary,
)
from peer.swarm.libp2p import Libp2pNetwork
from peer.swarm.memory import Hub
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import swarm_pb2

pytestmark = pytest.mark.anyio

ECHO = Method("echo", swarm_pb2.PartChunk, swarm_pb2.PartChunk, max_bytes=1 << 20)
Join = Callable[[], Awaitable[Network]]


@asynccontextmanager
async def libp2p_swarm() -> AsyncIterator[Join]:
    async with AsyncExitStack() as stack:
        known: list[str] = []

        async def join() -> Network:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mt-")))
            (folder / "id").write_bytes(PeerIdentity.generate().to_bytes())
            network = await Libp2pNetwork.start(folder / "id", folder, "127.0.0.1", 0, known)
            stack.push_async_callback(network.close)
            known.extend(network.addresses)
            return network

        yield join


@asynccontextmanager
async def memory_swarm() -> AsyncIterator[Join]:
    async with anyio.create_task_group() as tasks:
        hub = Hub(tasks)

        async def join() -> Network:
            return hub.join()

        yield join
        tasks.cancel_scope.cancel()


@pytest.fixture(params=[memory_swarm, libp2p_swarm], ids=["memory", "libp2p"])
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    async with request.param() as join:
        yield join


async def echo(caller: str, stream: Stream) -> None:
    while (message := await stream.receive(5)) is not None:
        await stream.send(message, 5)


async def test_a_record_is_found_by_everybody_under_the_id_of_who_signed_it(join: Join) -> None:
    first, second = await join(), await join()
    await first.publish("record:run", b"one", 30)
    await second.publish("record:run", b"two", 30)
    expected = {first.peer_id: b"one", second.peer_id: b"two"}
    assert await first.lookup("record:run") == expected
    assert await second.lookup("record:run") == expected


async def test_a_newer_record_replaces_the_older_one_and_other_kinds_are_apart(join: Join) -> None:
    first, second = await join(), await join()
    await first.publish("record:a", b"old", 20)
    await first.publish("record:a", b"new", 30)
    assert await second.lookup("record:a") == {first.peer_id: b"new"}
    assert await second.lookup("record:b") == {}


async def test_a_record_that_is_too_large_is_refused_by_its_writer(join: Join) -> None:
    network = await join()
    with pytest.raises(ValueError, match="at most"):
        await network.publish("record:a", b"x" * 20_000, 30)


async def test_a_call_says_who_called_and_gets_the_reply(join: Join) -> None:
    first, second = await join(), await join()
    callers = []

    async def answer(caller: str, request: swarm_pb2.PartChunk) -> swarm_pb2.PartChunk:
        callers.append(caller)
        return swarm_pb2.PartChunk(data=request.data[::-1])

    await second.serve({ECHO: unary(answer)})
    reply = await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(data=b"abc"), 5)
    assert reply.data == b"cba"
    assert callers == [first.peer_id]


async def test_a_stream_carries_megabytes_both_ways_and_counts_them(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    pieces = [bytes([index]) * 900_000 for index in range(8)]
    echoed = []
    async with first.open(second.peer_id, ECHO, 5) as stream, anyio.create_task_group() as tasks:

        async def upload() -> None:
            for piece in pieces:
                await stream.send(swarm_pb2.PartChunk(data=piece), 5)
            await stream.finish(5)

        tasks.start_soon(upload)
        while (message := await stream.receive(5)) is not None:
            echoed.append(message.data)
    assert echoed == pieces
    assert stream.sent == stream.received > 8 * 900_000


async def test_a_refusal_is_one_short_line_whatever_the_other_side_says(join: Join) -> None:
    first, second = await join(), await join()

    async def refuse(caller: str, stream: Stream) -> None:
        raise Refused("\x1b[2J\nno" + "!" * 10_000)

    await second.serve({ECHO: refuse})
    with pytest.raises(Refused) as refused:
        await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(data=b"x"), 5)
    assert str(refused.value).startswith("?[2J?no!!!")
    assert len(str(refused.value)) == MAX_REASON_LENGTH


async def test_a_refusal_reaches_the_caller_with_its_reason(join: Join) -> None:
    first, second = await join(), await join()

    async def refuse(caller: str, stream: Stream) -> None:
        raise Refused("not today")

    await second.serve({ECHO: refuse})
    with pytest.raises(Refused, match="not today"):
        await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(), 5)


async def test_a_silent_peer_costs_no_more_than_the_deadline(join: Join) -> None:
    first, second = await join(), await join()

    async def say_nothing(caller: str, stream: Stream) -> None:
        await stream.receive(30)
        await stream.receive(30)

    await second.serve({ECHO: say_nothing})
    with anyio.fail_after(10), pytest.raises(Unreachable, match="silent"):
        await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(), 0.2)


async def test_a_peer_that_does_not_read_stops_the_sender_at_the_deadline(join: Join) -> None:
    first, second = await join(), await join()
    over = anyio.Event()

    async def never_read(caller: str, stream: Stream) -> None:
        await over.wait()

    async def send_for_ever() -> None:
        async with first.open(second.peer_id, ECHO, 5) as stream:
            while True:
                await stream.send(swarm_pb2.PartChunk(data=bytes(1_000_000)), 0.5)

    await second.serve({ECHO: never_read})
    with anyio.fail_after(60), pytest.raises(Unreachable, match="did not read"):
        await send_for_ever()
    over.set()


async def test_a_peer_that_is_gone_is_unreachable(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    await second.close()
    with anyio.fail_after(20), pytest.raises(Unreachable):
        await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(), 5)


async def test_a_peer_that_hangs_up_in_the_middle_is_unreachable_at_once(join: Join) -> None:
    first, second = await join(), await join()

    async def hang_up(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        raise Unreachable("gone")

    await second.serve({ECHO: hang_up})
    with anyio.fail_after(5), pytest.raises(Unreachable, match="hung up"):
        await call(first, second.peer_id, ECHO, swarm_pb2.PartChunk(), 30)


async def test_a_message_over_the_limit_never_leaves(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    async with first.open(second.peer_id, ECHO, 5) as stream:
        with pytest.raises(ValueError, match="too large"):
            await stream.send(swarm_pb2.PartChunk(data=bytes(1 << 20)), 5)


async def test_a_name_that_is_no_peer_id_is_unreachable(join: Join) -> None:
    network = await join()
    for name in ("garbage!!", "p\u00e4er", ""):
        with pytest.raises(Unreachable):
            await call(network, name, ECHO, swarm_pb2.PartChunk(), 5)
