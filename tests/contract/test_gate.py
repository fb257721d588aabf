"""Who may take part, on both networks: refused before it is heard, and ended when banned."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from peer.swarm.interface import Barred, Method, Network, Refused, Stream, Unreachable, call
from swarmpb.v1 import swarm_pb2
from tests.contract.test_network import libp2p_swarm, memory_swarm

pytestmark = pytest.mark.anyio

ECHO = Method("echo", swarm_pb2.Envelope, swarm_pb2.Envelope)
NEWS = Method("news", swarm_pb2.Envelope, swarm_pb2.Envelope, for_anybody=True)
QUESTION = swarm_pb2.Envelope(payload=b"?")


class Door:
    """A gate that a test opens and shuts."""

    def __init__(self, shown: bytes = b"member") -> None:
        self.shown = shown
        self.banned: set[str] = set()
        self.wanted: bytes | None = None
        """What others must show."""

    def credentials(self) -> bytes:
        return self.shown

    def check(self, peer_id: str, credentials: bytes | None) -> None:
        if peer_id in self.banned:
            raise Barred("banned by the owner")
        if None not in (self.wanted, credentials) and credentials != self.wanted:
            raise Barred(f"shows {credentials!r}")


class Place:
    """A peer that answers, and how often it did."""

    def __init__(self, network: Network, door: Door) -> None:
        self.network = network
        self.door = door
        self.heard = 0
        self.serving = anyio.Event()

    @property
    def name(self) -> str:
        return self.network.peer_id

    async def answer(self, caller: str, stream: Stream) -> None:
        self.heard += 1
        self.serving.set()
        while (message := await stream.receive(20)) is not None:
            await stream.send(message, 5)

    async def asks(
        self, other: Place, method: Method[swarm_pb2.Envelope, swarm_pb2.Envelope]
    ) -> None:
        assert (await call(self.network, other.name, method, QUESTION, 10)).payload == b"?"


@pytest.fixture(params=[memory_swarm, libp2p_swarm], ids=["memory", "libp2p"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Place, Place]]:
    async with request.param() as join:
        places = []
        for _ in range(2):
            door = Door()
            place = Place(await join(door), door)
            await place.network.serve({ECHO: place.answer, NEWS: place.answer})
            places.append(place)
        yield places[0], places[1]


async def test_members_hear_each_other(two: tuple[Place, Place]) -> None:
    anna, bert = two
    anna.door.wanted = bert.door.wanted = b"member"
    await anna.asks(bert, ECHO)
    await bert.asks(anna, ECHO)


async def test_who_shows_nothing_that_lets_it_in_is_refused_before_it_is_heard(
    two: tuple[Place, Place],
) -> None:
    anna, bert = two
    anna.door.shown, bert.door.wanted = b"stranger", b"member"
    with pytest.raises(Refused, match="shows b'stranger'"):
        await anna.asks(bert, ECHO)
    assert bert.heard == 0


async def test_what_a_stranger_answers_is_not_heard_either(two: tuple[Place, Place]) -> None:
    anna, bert = two
    anna.door.wanted, bert.door.shown = b"member", b"stranger"
    with pytest.raises(Barred, match="shows b'stranger'"):
        await anna.asks(bert, ECHO)


async def test_a_banned_peer_is_refused_and_nobody_calls_it(two: tuple[Place, Place]) -> None:
    anna, bert = two
    bert.door.banned.add(anna.name)
    with pytest.raises(Refused, match="banned by the owner"):
        await anna.asks(bert, ECHO)
    with pytest.raises(Barred, match="banned by the owner"):
        await bert.asks(anna, ECHO)
    assert (anna.heard, bert.heard) == (0, 0)


async def test_whoever_may_not_take_part_can_still_ask_why(two: tuple[Place, Place]) -> None:
    anna, bert = two
    bert.door.banned.add(anna.name)
    await anna.asks(bert, NEWS)
    await bert.asks(anna, NEWS)


async def test_a_ban_ends_the_streams_that_a_peer_has_open(two: tuple[Place, Place]) -> None:
    anna, bert = two
    async with anna.network.open(bert.name, ECHO, 10) as stream:
        await stream.send(QUESTION, 5)
        assert (await stream.receive(10)).payload == b"?"
        bert.door.banned.add(anna.name)
        bert.network.review()
        with anyio.fail_after(10), pytest.raises(Refused, match="banned by the owner"):
            await stream.receive(30)


async def test_a_ban_ends_the_streams_that_were_opened_to_a_peer(two: tuple[Place, Place]) -> None:
    anna, bert = two
    async with anna.network.open(bert.name, ECHO, 10) as stream:
        await stream.send(QUESTION, 5)
        assert (await stream.receive(10)).payload == b"?"
        anna.door.banned.add(bert.name)
        anna.network.review()
        with anyio.fail_after(10), pytest.raises(Unreachable, match="hung up"):
            await stream.receive(30)


async def test_a_review_leaves_the_streams_of_members_alone(two: tuple[Place, Place]) -> None:
    anna, bert = two
    async with anna.network.open(bert.name, ECHO, 10) as stream:
        await stream.send(QUESTION, 5)
        await stream.receive(10)
        anna.door.wanted = bert.door.wanted = b"member"
        for place in two:
            place.network.review()
        await stream.send(QUESTION, 5)
        assert (await stream.receive(10)).payload == b"?"


async def test_a_ban_ends_a_stream_while_its_handler_does_something_else(
    two: tuple[Place, Place],
) -> None:
    anna, bert = two
    over = anyio.Event()

    async def think(caller: str, stream: Stream) -> None:
        bert.serving.set()
        try:
            await anyio.sleep(60)
        finally:
            over.set()

    await bert.network.serve({Method("think", swarm_pb2.Envelope, swarm_pb2.Envelope): think})
    async with anna.network.open(
        bert.name, Method("think", swarm_pb2.Envelope, swarm_pb2.Envelope), 10
    ):
        with anyio.fail_after(10):
            await bert.serving.wait()
            bert.door.banned.add(anna.name)
            bert.network.review()
            await over.wait()
