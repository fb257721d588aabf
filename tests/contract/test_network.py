"""One contract, two networks: in memory, and libp2p with real p2pd processes."""

from __future__ import annotations

import contextlib
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Protocol

import anyio
import psutil
import pytest

from peer.swarm import p2pd
from peer.swarm.gate import OPEN, Gate
from peer.swarm.inbound import DATA_BYTES
from peer.swarm.interface import (
    MAX_REASON_LENGTH,
    Handler,
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

ECHO = Method("echo", swarm_pb2.Envelope, swarm_pb2.Envelope, 1 << 20, max_request_bytes=1 << 20)


class Join(Protocol):
    def __call__(self, gate: Gate = OPEN) -> Awaitable[Network]: ...


@asynccontextmanager
async def libp2p_swarm(acquainted: bool = True) -> AsyncIterator[Join]:
    async with AsyncExitStack() as stack:
        known: list[str] = []

        async def join(gate: Gate = OPEN) -> Network:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mt-")))
            (folder / "id").write_bytes(PeerIdentity.generate().to_bytes())
            network = await Libp2pNetwork.start(folder / "id", folder, "127.0.0.1", 0, known, gate)
            stack.push_async_callback(network.close)
            if acquainted:
                known.extend(network.addresses)
            return network

        yield join


@asynccontextmanager
async def memory_swarm() -> AsyncIterator[Join]:
    async with anyio.create_task_group() as tasks:
        hub = Hub(tasks)

        async def join(gate: Gate = OPEN) -> Network:
            return hub.join(gate=gate)

        yield join
        tasks.cancel_scope.cancel()


@pytest.fixture(params=[memory_swarm, libp2p_swarm], ids=["memory", "libp2p"])
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    async with request.param() as join:
        yield join


@pytest.fixture(params=[memory_swarm, partial(libp2p_swarm, False)], ids=["memory", "libp2p"])
async def strangers(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Networks that begin without knowing of each other."""
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

    async def answer(caller: str, request: swarm_pb2.Envelope) -> swarm_pb2.Envelope:
        callers.append(caller)
        return swarm_pb2.Envelope(payload=request.payload[::-1])

    await second.serve({ECHO: unary(answer)})
    reply = await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(payload=b"abc"), 5)
    assert reply.payload == b"cba"
    assert callers == [first.peer_id]


async def test_a_stream_carries_megabytes_both_ways_and_counts_them(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    pieces = [bytes([index]) * 900_000 for index in range(8)]
    echoed = []
    async with first.open(second.peer_id, ECHO, 5) as stream, anyio.create_task_group() as tasks:

        async def upload() -> None:
            for piece in pieces:
                await stream.send(swarm_pb2.Envelope(payload=piece), 5)
            await stream.finish(5)

        tasks.start_soon(upload)
        while (message := await stream.receive(5)) is not None:
            echoed.append(message.payload)
    assert echoed == pieces
    assert stream.sent == stream.received > 8 * 900_000


# ---- data ------------------------------------------------------------------------------

SILENCE = 1.0
"""Long enough for a busy machine, short enough to wait for."""


def some_bytes(count: int) -> bytes:
    return Random(count).randbytes(count)


async def say(stream: Stream, text: str) -> None:
    await stream.send(swarm_pb2.Envelope(payload=text.encode()), 5)


async def hear(stream: Stream) -> str:
    message: swarm_pb2.Envelope = await stream.receive(5)
    return message.payload.decode()


@asynccontextmanager
async def stream_to(join: Join, handler: Handler) -> AsyncIterator[Stream]:
    """A stream to another peer, which serves it so. Failures of the handler end the test."""
    first, second = await join(), await join()
    problems: list[BaseException] = []

    async def serve(caller: str, stream: Stream) -> None:
        try:
            await handler(caller, stream)
        except AssertionError as problem:
            problems.append(problem)
            raise Refused("the test has failed") from problem

    await second.serve({ECHO: serve})
    try:
        async with first.open(second.peer_id, ECHO, 5) as stream:
            yield stream
    finally:
        for problem in problems:
            raise problem


async def test_data_arrives_as_it_was_sent(join: Join) -> None:
    """Sent in pieces and taken in others, between two messages, and back again."""
    sizes = [0, 1, 1000, DATA_BYTES - 1, DATA_BYTES, DATA_BYTES + 1, 3_000_000]

    async def take(caller: str, stream: Stream) -> None:
        for size in sizes:
            assert await hear(stream) == "here it comes"
            into, part = memoryview(bytearray(size)), size // 3
            assert await stream.receive_data(into[:part], 5) == part
            assert await stream.receive_data(into[part:], 5) == size - part
            assert into == some_bytes(size)
            assert await hear(stream) == "that was it"
            await stream.send_data(into, 5)
        assert await stream.receive(5) is None
        assert stream.received >= sum(sizes)
        await say(stream, "thanks")

    async with stream_to(join, take) as stream:
        for size in sizes:
            await say(stream, "here it comes")
            # whatever fits: both sides' pieces are nobody's business but their own
            for piece in pieces_of(some_bytes(size), (size // 3 or 1, size)):
                await stream.send_data(piece, 5)
            await say(stream, "that was it")
            back = memoryview(bytearray(size))
            assert await stream.receive_data(back, 5) == size
            assert back == some_bytes(size)
        await stream.finish(5)
        assert await hear(stream) == "thanks"
        assert await stream.receive(5) is None
        assert stream.sent >= sum(sizes)
        assert stream.received >= sum(sizes)


def pieces_of(data: bytes, stops: tuple[int, ...]) -> list[memoryview]:
    bounds = (0, *stops)
    return [memoryview(data)[start:stop] for start, stop in pairwise(bounds)]


async def test_data_of_several_sends_fills_one_buffer(join: Join) -> None:
    pieces = [some_bytes(size) for size in (1, DATA_BYTES, 77, 300_000)]

    async def take(caller: str, stream: Stream) -> None:
        into = bytearray(sum(map(len, pieces)))
        assert await stream.receive_data(memoryview(into), 5) == len(into)
        assert into == b"".join(pieces)
        await say(stream, "all of it")

    async with stream_to(join, take) as stream:
        for piece in pieces:
            await stream.send_data(memoryview(piece), 5)
        assert await hear(stream) == "all of it"


async def test_data_that_ends_early_is_counted(join: Join) -> None:
    async def take(caller: str, stream: Stream) -> None:
        into = bytearray(1000)
        assert await stream.receive_data(memoryview(into), 5) == 600
        assert into == some_bytes(600) + bytes(400)
        assert await stream.receive_data(memoryview(into), 5) == 0, "it is still over"
        assert await stream.receive(5) is None
        await say(stream, "short")

    async with stream_to(join, take) as stream:
        await stream.send_data(memoryview(some_bytes(600)), 5)
        await stream.finish(5)
        assert await hear(stream) == "short"


async def test_a_message_where_data_was_due_ends_the_data_and_is_received(join: Join) -> None:
    async def take(caller: str, stream: Stream) -> None:
        into = memoryview(bytearray(1000))
        assert await stream.receive_data(into, 5) == 600
        assert await hear(stream) == "no more of that"
        assert await stream.receive_data(into, 5) == 1000
        await say(stream, "fine")

    async with stream_to(join, take) as stream:
        await stream.send_data(memoryview(some_bytes(600)), 5)
        await say(stream, "no more of that")
        await stream.send_data(memoryview(some_bytes(1000)), 5)
        assert await hear(stream) == "fine"


async def test_data_where_a_message_was_due_is_unreachable(join: Join) -> None:
    async def take(caller: str, stream: Stream) -> None:
        with pytest.raises(Unreachable, match="sent data where a message was due"):
            await stream.receive(5)
        await say(stream, "surprised")

    async with stream_to(join, take) as stream:
        await stream.send_data(memoryview(b"surprise"), 5)
        assert await hear(stream) == "surprised"


async def test_more_data_than_fits_is_unreachable(join: Join) -> None:
    async def take(caller: str, stream: Stream) -> None:
        into = bytearray(999)
        with pytest.raises(Unreachable, match="more data than fits"):
            await stream.receive_data(memoryview(into), 5)
        await say(stream, "too much")

    async with stream_to(join, take) as stream:
        await stream.send_data(memoryview(some_bytes(1000)), 5)
        assert await hear(stream) == "too much"


async def test_a_refusal_reaches_who_waits_for_data(join: Join) -> None:
    async def refuse(caller: str, stream: Stream) -> None:
        await stream.send_data(memoryview(b"some"), 5)
        raise Refused("no more today")

    async with stream_to(join, refuse) as stream:
        with pytest.raises(Refused, match="no more today"):
            await stream.receive_data(memoryview(bytearray(100)), 5)


async def test_a_refusal_reaches_who_sends_data_and_then_asks(join: Join) -> None:
    """The refusing side has not read what is still on its way."""

    async def refuse(caller: str, stream: Stream) -> None:
        await stream.receive_data(memoryview(bytearray(10)), 5)
        raise Refused("that is enough")

    async with stream_to(join, refuse) as stream:
        await stream.send_data(memoryview(bytes(10)), 5)
        with contextlib.suppress(Unreachable):
            for _ in range(8):
                await stream.send_data(memoryview(bytes(DATA_BYTES)), 0.5)
        with pytest.raises(Refused, match="that is enough"):
            await stream.receive(5)


async def test_silence_where_data_was_due_costs_no_more_than_the_deadline(join: Join) -> None:
    async def say_nothing_more(caller: str, stream: Stream) -> None:
        await stream.send_data(memoryview(b"some"), 5)
        await stream.receive(60)

    async with stream_to(join, say_nothing_more) as stream:
        with anyio.fail_after(20), pytest.raises(Unreachable, match=r"was silent for 0.3 s"):
            await stream.receive_data(memoryview(bytearray(100)), 0.3)


async def test_a_trickle_of_data_is_no_silence(join: Join) -> None:
    async def trickle(caller: str, stream: Stream) -> None:
        for _ in range(8):
            await anyio.sleep(SILENCE / 4)
            await stream.send_data(memoryview(b"drop"), 5)

    async with stream_to(join, trickle) as stream:
        into = bytearray(32)
        assert await stream.receive_data(memoryview(into), SILENCE) == 32
        assert into == b"drop" * 8


async def test_data_crosses_both_ways_at_once(join: Join) -> None:
    """Each side would wait for ever if one direction had to end first."""
    size = 8_000_000
    up, down = some_bytes(size), some_bytes(size + 1)

    async def both(stream: Stream, mine: bytes, theirs: bytes) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send_data, memoryview(mine), 5)
            into = bytearray(len(theirs))
            assert await stream.receive_data(memoryview(into), 5) == len(theirs)
            assert into == theirs

    async def serve(caller: str, stream: Stream) -> None:
        await both(stream, down, up)

    with anyio.fail_after(60):
        async with stream_to(join, serve) as stream:
            await both(stream, up, down)
            assert await stream.receive(5) is None


async def test_data_that_nobody_reads_stops_the_sender_at_the_deadline(join: Join) -> None:
    over = anyio.Event()

    async def never_read(caller: str, stream: Stream) -> None:
        await over.wait()

    async def send_for_ever(stream: Stream) -> None:
        while True:
            await stream.send_data(memoryview(bytes(4 * DATA_BYTES)), 0.5)

    async with stream_to(join, never_read) as stream:
        with anyio.fail_after(60), pytest.raises(Unreachable, match="did not read"):
            await send_for_ever(stream)
        over.set()


async def test_a_peer_that_hangs_up_in_the_middle_of_data_is_unreachable_at_once(
    join: Join,
) -> None:
    async def hang_up(caller: str, stream: Stream) -> None:
        await stream.send_data(memoryview(b"some"), 5)
        raise Unreachable("gone")

    async with stream_to(join, hang_up) as stream:
        with anyio.fail_after(10), pytest.raises(Unreachable, match="hung up"):
            await stream.receive_data(memoryview(bytearray(100)), 30)


# ---- p2pd ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_p2pd_that_does_not_answer_breaks_the_network_and_goes_with_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p2pd, "HEARTBEAT_SECONDS", 0.3)
    (tmp_path / "id").write_bytes(PeerIdentity.generate().to_bytes())
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:  # a socket's path must be short
        network = await Libp2pNetwork.start(tmp_path / "id", Path(folder), "127.0.0.1", 0)
        (process,) = [it for it in psutil.Process().children() if it.name() == "p2pd"]
        with anyio.move_on_after(2):
            pytest.fail(await network.wait_broken())
        process.send_signal(number)
        with anyio.fail_after(30):
            why = await network.wait_broken()
        assert why.startswith("p2pd ")
        await network.close()
        assert not process.is_running()
        assert [it async for it in anyio.Path(folder).iterdir()] == []


# ---- meeting again ---------------------------------------------------------------------


async def test_who_answers_at_known_addresses_is_met_again(join: Join) -> None:
    first, second = await join(), await join()
    known = [*first.addresses, *second.addresses]
    assert await second.reconnect(known) == 1, "itself does not count"
    await first.close()
    with anyio.fail_after(30):
        assert await second.reconnect(known) == 0


async def test_two_that_began_apart_find_each_others_records_after_reconnecting(
    strangers: Join,
) -> None:
    first, second = await strangers(), await strangers()
    await first.publish("kind", b"first", 30)
    assert await second.reconnect(first.addresses) == 1
    await second.publish("kind", b"second", 30)
    both = {first.peer_id: b"first", second.peer_id: b"second"}
    with anyio.fail_after(20):
        for network in (first, second):
            while await network.lookup("kind") != both:  # noqa: ASYNC110  no event tells
                await anyio.sleep(0.1)


# ---- what goes wrong -------------------------------------------------------------------


async def test_a_refusal_is_one_short_line_whatever_the_other_side_says(join: Join) -> None:
    first, second = await join(), await join()

    async def refuse(caller: str, stream: Stream) -> None:
        raise Refused("\x1b[2J\nno" + "!" * 10_000)

    await second.serve({ECHO: refuse})
    with pytest.raises(Refused) as refused:
        await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(payload=b"x"), 5)
    assert str(refused.value).startswith("?[2J?no!!!")
    assert len(str(refused.value)) == MAX_REASON_LENGTH


async def test_a_refusal_reaches_the_caller_with_its_reason(join: Join) -> None:
    first, second = await join(), await join()

    async def refuse(caller: str, stream: Stream) -> None:
        raise Refused("not today")

    await second.serve({ECHO: refuse})
    with pytest.raises(Refused, match="not today"):
        await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(), 5)


async def test_a_silent_peer_costs_no_more_than_the_deadline(join: Join) -> None:
    first, second = await join(), await join()

    async def say_nothing(caller: str, stream: Stream) -> None:
        await stream.receive(30)
        await stream.receive(30)

    await second.serve({ECHO: say_nothing})
    with anyio.fail_after(10), pytest.raises(Unreachable, match="silent"):
        await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(), 0.2)


async def test_a_peer_that_does_not_read_stops_the_sender_at_the_deadline(join: Join) -> None:
    first, second = await join(), await join()
    over = anyio.Event()

    async def never_read(caller: str, stream: Stream) -> None:
        await over.wait()

    async def send_for_ever() -> None:
        async with first.open(second.peer_id, ECHO, 5) as stream:
            while True:
                await stream.send(swarm_pb2.Envelope(payload=bytes(1_000_000)), 0.5)

    await second.serve({ECHO: never_read})
    with anyio.fail_after(60), pytest.raises(Unreachable, match="did not read"):
        await send_for_ever()
    over.set()


async def test_a_peer_that_is_gone_is_unreachable(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    await second.close()
    with anyio.fail_after(20), pytest.raises(Unreachable):
        await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(), 5)


async def test_a_peer_that_hangs_up_in_the_middle_is_unreachable_at_once(join: Join) -> None:
    first, second = await join(), await join()

    async def hang_up(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        raise Unreachable("gone")

    await second.serve({ECHO: hang_up})
    with anyio.fail_after(5), pytest.raises(Unreachable, match="hung up"):
        await call(first, second.peer_id, ECHO, swarm_pb2.Envelope(), 30)


async def test_a_message_over_the_limit_never_leaves(join: Join) -> None:
    first, second = await join(), await join()
    await second.serve({ECHO: echo})
    async with first.open(second.peer_id, ECHO, 5) as stream:
        with pytest.raises(ValueError, match="too large"):
            await stream.send(swarm_pb2.Envelope(payload=bytes(1 << 20)), 5)


async def test_requests_have_a_limit_of_their_own(join: Join) -> None:
    """Anybody may ask; what is answered was asked for."""
    first, second = await join(), await join()
    asymmetric = Method("ask", swarm_pb2.Envelope, swarm_pb2.Envelope, 1 << 20, 1000)
    announced: list[str] = []

    async def answer(caller: str, stream: Stream) -> None:
        try:
            await stream.receive(5)
        except Unreachable as error:
            announced.append(str(error))
            raise
        await stream.send(swarm_pb2.Envelope(payload=bytes(900_000)), 5)

    await second.serve({asymmetric: answer})
    small, large = (swarm_pb2.Envelope(payload=bytes(size)) for size in (900, 1001))
    reply = await call(first, second.peer_id, asymmetric, small, 5)
    assert len(reply.payload) == 900_000
    with pytest.raises(ValueError, match="too large"):
        await call(first, second.peer_id, asymmetric, large, 5)
    if isinstance(first, Libp2pNetwork):  # in memory nobody can break the sender's rule
        careless = Method("ask", swarm_pb2.Envelope, swarm_pb2.Envelope, 1 << 20, 1 << 20)
        with anyio.fail_after(20), pytest.raises(Unreachable, match="hung up"):
            await call(first, second.peer_id, careless, large, 10)
        # the call before, which was not even sent, may be heard of later
        assert any(re.search(r"announced a message of 1\d\d\d bytes", it) for it in announced)


async def test_a_name_that_is_no_peer_id_is_unreachable(join: Join) -> None:
    network = await join()
    for name in ("garbage!!", "p\u00e4er", ""):
        with pytest.raises(Unreachable):
            await call(network, name, ECHO, swarm_pb2.Envelope(), 5)
