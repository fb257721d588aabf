"""Framing on a reader in memory: what a stranger announces costs nothing until it has come."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any, cast

import pytest

from peer.swarm.framing import FramedStream
from peer.swarm.interface import MAX_REASON_LENGTH, Barred, Method, Refused, Unreachable
from swarmpb.v1 import swarm_pb2

pytestmark = pytest.mark.anyio

LARGE = 64 << 20
ASK: Method[Any, Any] = Method("ask", swarm_pb2.Envelope, swarm_pb2.Envelope, LARGE, 1000)
MESSAGE, END, REFUSAL, DATA, CREDENTIALS, ROOM = range(6)
ENDLESS = (2**64 - 1).to_bytes(8, "big")
"""How much data the other end takes: any."""
SECRET = b"let me in"


def header(kind: int, length: int) -> bytes:
    return bytes([kind]) + length.to_bytes(4, "big")


def credentials(said: bytes, room: bytes = ENDLESS) -> bytes:
    return header(CREDENTIALS, len(room + said)) + room + said


def a_stream(*, is_reply: bool, met: bool = True) -> tuple[asyncio.StreamReader, FramedStream]:
    """One end that only receives, and what feeds it; met: the other end has said who it is."""
    reader = asyncio.StreamReader()
    writer = cast(asyncio.StreamWriter, None)
    if met:
        reader.feed_data(credentials(SECRET))
    return reader, FramedStream(reader, writer, ASK, is_reply, "somebody", only_with_the_secret)


def only_with_the_secret(credentials: bytes) -> None:
    if credentials != SECRET:
        raise Barred("not with that")


async def test_a_large_message_takes_memory_only_for_the_bytes_that_came() -> None:
    reader, stream = a_stream(is_reply=False)
    reader.feed_data(header(MESSAGE, LARGE) + bytes(100_000))
    tracemalloc.start()
    try:
        with pytest.raises(Unreachable, match="was silent"):
            await stream.receive(0.2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


async def test_a_message_of_many_pieces_is_put_together() -> None:
    reader, stream = a_stream(is_reply=False)
    data = swarm_pb2.Envelope(payload=bytes(range(256)) * 2000).SerializeToString()
    reader.feed_data(header(MESSAGE, len(data)) + data)
    assert (await stream.receive(5)).payload == bytes(range(256)) * 2000


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (MESSAGE, 1001),
        (END, 1),
        (REFUSAL, 5 * MAX_REASON_LENGTH),
        (DATA, LARGE),
        (6, 0),
        (ROOM, 9),
        (CREDENTIALS, 2000),
    ],
)
async def test_what_is_announced_beyond_its_limit_is_not_waited_for(kind: int, length: int) -> None:
    reader, stream = a_stream(is_reply=True)
    reader.feed_data(header(kind, length))
    with pytest.raises(Unreachable, match=f"announced a message of {length} bytes"):
        await stream.receive(60)


async def test_a_refusal_of_the_longest_words_arrives() -> None:
    reader, stream = a_stream(is_reply=False)
    reason = ("\U0001f641" * MAX_REASON_LENGTH).encode()
    reader.feed_data(header(REFUSAL, len(reason)) + reason)
    with pytest.raises(Refused):
        await stream.receive(5)


async def test_who_does_not_say_how_much_data_it_takes_is_not_dealt_with() -> None:
    for said in (header(CREDENTIALS, 7) + bytes(7), credentials(SECRET) + header(ROOM, 3) + b"123"):
        reader, stream = a_stream(is_reply=True, met=False)
        reader.feed_data(said)
        with pytest.raises(Unreachable, match="did not say how much data it takes"):
            await stream.receive(5)


# ---- who is there ----------------------------------------------------------------------


async def test_nothing_is_heard_of_who_does_not_say_first_what_lets_it_in() -> None:
    for kind in (MESSAGE, END, DATA):
        reader, stream = a_stream(is_reply=True, met=False)
        reader.feed_data(header(kind, 0))
        with pytest.raises(Unreachable, match="did not say who it is"):
            await stream.receive(5)


async def test_nothing_is_heard_of_who_is_not_let_in_however_often_one_listens() -> None:
    reader, stream = a_stream(is_reply=True, met=False)
    reader.feed_data(credentials(b"bad") + header(MESSAGE, 0))
    with pytest.raises(Barred, match="not with that"):
        await stream.meet(5)
    with pytest.raises(Unreachable):
        await stream.receive(5)


async def test_who_is_let_in_cannot_become_somebody_else() -> None:
    reader, stream = a_stream(is_reply=True)
    reader.feed_data(credentials(SECRET))
    with pytest.raises(Unreachable, match="said twice who it is"):
        await stream.receive(5)


async def test_the_refusal_of_one_that_says_no_more_is_heard() -> None:
    """It may have nothing to show itself, and its reason is what a banned peer learns it by."""
    reader, stream = a_stream(is_reply=False, met=False)
    reader.feed_data(header(REFUSAL, 6) + b"banned")
    with pytest.raises(Refused, match="banned"):
        await stream.receive(5)
