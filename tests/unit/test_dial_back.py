"""Who asks to be dialled gets itself dialled, now and then, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from peer.swarm.dial_back import ASK_SECONDS, AT_ONCE, DIAL_BACK, DialBack, Found, ask
from peer.swarm.dial_quota import IN_ALL, PER_ASKER, REFILL_SECONDS, REMEMBERED, DialQuota
from peer.swarm.interface import Refused, Stream, call
from peer.swarm.memory import Hub
from swarmpb.v1 import swarm_pb2
from tests.sim.swarm import IDENTITIES

pytestmark = pytest.mark.anyio

OWN, *OTHERS = IDENTITIES
STRANGERS = cycle(OTHERS)


class FromSomewhere:
    """A stream as it comes from an address: what a network in memory does not have."""

    def __init__(self, inner: Stream, remote: str) -> None:
        self._inner = inner
        self.remote = remote

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Witness:
    """Dials nobody, and remembers whom it would have dialled."""

    def __init__(self, hub: Hub) -> None:
        self.now = 0.0
        self.dialled: list[tuple[str, int]] = []
        self.go_on = anyio.Event()
        self.go_on.set()
        self.remote = "/ip4/8.8.4.4/tcp/50000"
        self._hub = hub
        self._network = hub.join(OWN)
        self._served = DialBack(lambda: self.now, self._dial)

    async def begin(self) -> None:
        await self._network.serve({DIAL_BACK: self._serve})

    async def asked(self, port: int = 4001) -> swarm_pb2.DialBackReply:
        """Its answer to a peer that is new to it."""
        request = swarm_pb2.DialBackRequest(port=port)
        asker = self._hub.join(next(STRANGERS))
        return await call(asker, self._network.peer_id, DIAL_BACK, request, ASK_SECONDS)

    async def refusal(self, port: int = 4001) -> str:
        """Why it does not do it."""
        with pytest.raises(Refused) as refused:
            await self.asked(port)
        return str(refused.value)

    async def _dial(self, address: str, port: int) -> swarm_pb2.DialBackReply.Found:
        self.dialled.append((address, port))
        await self.go_on.wait()
        return Found.LIBP2P

    async def _serve(self, caller: str, stream: Stream) -> None:
        (handler,) = self._served.handlers().values()
        await handler(caller, FromSomewhere(stream, self.remote))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with anyio.create_task_group() as tasks:
        yield Hub(tasks)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def witness(hub: Hub) -> Witness:
    witness = Witness(hub)
    await witness.begin()
    return witness


async def test_only_the_address_that_the_connection_comes_from_is_dialled(witness: Witness) -> None:
    reply = await witness.asked(4001)
    assert witness.dialled == [("8.8.4.4", 4001)]
    assert (reply.found, reply.address) == (Found.LIBP2P, "8.8.4.4")


async def test_who_comes_over_a_relay_does_not_get_the_relay_dialled(witness: Witness) -> None:
    witness.remote = "/ip4/9.9.9.9/tcp/1/p2p/QmRelay/p2p-circuit"
    assert (await witness.asked()).found == Found.RELAYED
    assert witness.dialled == []


@pytest.mark.parametrize("remote", ["", "/unix/tmp/x", "/ip4/224.0.0.251/tcp/5353"])
async def test_nobody_is_dialled_for_who_has_no_address(witness: Witness, remote: str) -> None:
    witness.remote = remote
    assert "not known" in await witness.refusal()
    assert witness.dialled == []


@pytest.mark.parametrize("port", [0, 65536, 2**32 - 1])
async def test_what_is_no_port_is_not_dialled(witness: Witness, port: int) -> None:
    assert "is no port" in await witness.refusal(port)
    assert witness.dialled == []


async def test_an_address_is_dialled_a_few_times_under_however_many_names_it_asks(
    witness: Witness,
) -> None:
    for port in range(1, PER_ASKER + 1):
        await witness.asked(port)
    assert "often enough" in await witness.refusal()
    assert len(witness.dialled) == PER_ASKER
    witness.remote = "/ip4/8.8.4.5/tcp/1"
    await witness.asked()  # somebody else
    witness.remote, witness.now = "/ip4/8.8.4.4/tcp/1", REFILL_SECONDS
    await witness.asked()
    assert "often enough" in await witness.refusal()


async def test_few_are_dialled_at_once_and_the_others_are_told_so(witness: Witness) -> None:
    witness.go_on = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for number in range(AT_ONCE):
            witness.remote = f"/ip4/8.8.4.{number}/tcp/1"
            tasks.start_soon(witness.asked)
            with anyio.fail_after(5):
                while len(witness.dialled) <= number:
                    await anyio.lowlevel.checkpoint()
        witness.remote = "/ip4/8.8.8.8/tcp/1"
        assert "being dialled just now" in await witness.refusal()
        witness.go_on.set()
    await witness.asked()


async def test_a_witness_that_refuses_or_does_not_know_how_has_no_word(
    hub: Hub, witness: Witness
) -> None:
    witness.remote = ""
    asker, other = hub.join(next(STRANGERS)), hub.join(next(STRANGERS))
    assert await ask(asker, OWN.peer_id, 4001) is None
    assert await ask(asker, other.peer_id, 4001) is None


def test_many_askers_together_are_bounded_and_so_is_what_is_remembered_of_them() -> None:
    quota = DialQuota(0.0)
    answers = [quota.refusal((f"asker {number}",), 0.0) for number in range(2 * REMEMBERED)]
    assert answers.count("") == IN_ALL
    assert set(answers[IN_ALL:]) == {"too many peers ask to be dialled just now"}
    assert quota.refusal(("late",), 1.0) == ""
    assert quota.refusal(("later",), 1.0) != ""


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    quota = DialQuota(100.0)
    for _ in range(PER_ASKER):
        assert quota.refusal(("asker",), 100.0) == ""
    assert quota.refusal(("asker",), 50.0) != ""
