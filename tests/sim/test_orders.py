"""Orders go from peer to peer: a whole swarm obeys in seconds what one peer has heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest

from peer.members import Members
from peer.membership import SwarmView
from peer.notices import Notices
from peer.orders import Rank
from peer.orders_exchange import MOST_ASKERS, ORDERS, OrdersExchange
from peer.presence import Presence
from peer.run_metadata import RunMetadata
from peer.status import Snapshot
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Handler, Method, Refused, Stream, Unreachable, call, unary
from peer.swarm.memory import Hub, MemoryNetwork
from swarmpb.membership import RunState
from swarmpb.v1 import membership_pb2, swarm_pb2
from tests.sim.swarm import IDENTITIES
from tests.standing import Throne
from tests.tiny import tiny_spec

pytestmark = pytest.mark.anyio

SPEC = tiny_spec()
BAN_SECONDS = 30.0
"""In which the issue wants every peer to refuse a banned one."""
ECHO = Method("echo", swarm_pb2.Envelope, swarm_pb2.Envelope)


class Citizen:
    """A peer as far as it takes part in what this is about: records, views, orders, and a gate."""

    def __init__(self, hub: Hub, number: int, throne: Throne, folder: Path) -> None:
        identity = IDENTITIES[number]
        self.members = Members(throne.run, identity.peer_id, CLOCK.now)
        self.members.on_change.append(self._obey)
        self.network: MemoryNetwork = hub.join(identity, self.members)
        self.exchange = OrdersExchange(self.members, Random(number))
        self.view = SwarmView()
        self._changed = anyio.Event()
        self.heard_at = float("inf")
        self.named: Rank | None = None
        """The orders that it says it knows; None: those that it does."""
        metadata = RunMetadata(SPEC, throne.run.owner_key, b"", ())
        self.presence = Presence(
            metadata, folder, self._snapshot, self._see, Notices(), self.members
        )

    @property
    def name(self) -> str:
        return self.network.peer_id

    def _obey(self) -> None:
        self.heard_at = anyio.current_time()
        self.network.review()
        self.presence.changed()

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            SPEC.run_id, self.name, "", orders=self.named or self.members.rank,
            certificate=self.members.credentials(),
        )  # fmt: skip

    def _see(self, view: SwarmView, wall: float) -> None:
        self.view = view
        self.exchange.see(view.orders_named())
        self._changed.set()

    async def live(self) -> None:
        echo = {ECHO: unary(self._echo)}
        await self.network.serve(self.exchange.handlers() | echo)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.presence.keep_publishing, self.network)
            tasks.start_soon(self.presence.keep_looking, self.network)
            tasks.start_soon(self.exchange.keep_asking, self.network)

    async def until(self, true: Callable[[Citizen], bool], seconds: float = BAN_SECONDS) -> None:
        """Wait for a view with which something is so."""
        with anyio.fail_after(seconds):
            while not true(self):
                self._changed = anyio.Event()
                await self._changed.wait()

    async def _echo(self, caller: str, request: swarm_pb2.Envelope) -> swarm_pb2.Envelope:
        return request

    async def talks_to(self, other: Citizen) -> None:
        await call(self.network, other.name, ECHO, swarm_pb2.Envelope(), 5)

    def sees(self) -> set[str]:
        return {it.peer_id for it in self.view.others(self.name)}


class Land:
    def __init__(self, hub: Hub, citizens: list[Citizen], throne: Throne) -> None:
        self.hub = hub
        self.citizens = citizens
        self.throne = throne

    async def all_hear(self, seconds: float = BAN_SECONDS) -> None:
        """Wait until everybody knows the newest orders."""
        newest = max(it.members.rank for it in self.citizens)
        for citizen in self.citizens:
            await citizen.until(lambda it: it.members.rank == newest, seconds)


@asynccontextmanager
async def land(folder: Path, citizens: int, knowing: bool = True) -> AsyncIterator[Land]:
    """Peers that all see each other; knowing: they have heard that the run is open."""
    throne = Throne(spec_hash=SPEC.hash())
    async with anyio.create_task_group() as tasks:
        hub = Hub(tasks)
        everybody = []
        opening = throne.orders()
        for number in range(citizens):
            (folder / str(number)).mkdir()
            citizen = Citizen(hub, number, throne, folder / str(number))
            if knowing:
                citizen.members.take(opening)
            everybody.append(citizen)
            tasks.start_soon(citizen.live)
        for citizen in everybody:
            await citizen.until(lambda it: len(it.sees()) == citizens - 1)
        yield Land(hub, everybody, throne)
        tasks.cancel_scope.cancel()


async def test_a_ban_that_one_peer_has_heard_is_everybodys_within_seconds(tmp_path: Path) -> None:
    """The coordinator told only one of them, and died."""
    async with land(tmp_path, 10) as here:
        first, *_, eve = here.citizens
        began = anyio.current_time()
        first.members.take(here.throne.orders(banned=(eve.name,)))
        await here.all_hear()
        assert max(it.heard_at for it in here.citizens) - began < BAN_SECONDS / 2
        assert eve.members.course.banned, "it learns it from those that refuse it"
        for citizen in here.citizens[:-1]:
            with pytest.raises(Refused, match="banned from run tiny"):
                await eve.talks_to(citizen)
            with pytest.raises(Refused, match="banned from run tiny"):
                await citizen.talks_to(eve)
            await citizen.until(lambda it: eve.name not in it.sees())
            assert len(citizen.sees()) == 8


async def test_two_halves_of_a_split_swarm_obey_the_higher_orders_when_they_meet(
    tmp_path: Path,
) -> None:
    async with land(tmp_path, 6) as here:
        left, right = here.citizens[:3], here.citizens[3:]
        here.hub.split([it.name for it in left], [it.name for it in right])
        left[0].members.take(here.throne.orders(RunState.PAUSED, reason="the left one's"))
        right[0].members.take(here.throne.orders(RunState.PAUSED, reason="the right one's"))
        for half, word in ((left, "left"), (right, "right")):
            for citizen in half:
                await citizen.until(partial(says, word))
        here.hub.heal()
        await here.all_hear()
        assert {it.members.course.paused for it in here.citizens} == {
            "paused by the run's owner: the right one's"
        }


async def test_who_knows_no_orders_at_all_hears_of_them(tmp_path: Path) -> None:
    """It joined with a coordinator that has none, as a run that was registered long ago."""
    async with land(tmp_path, 4, knowing=False) as here:
        here.citizens[0].members.take(here.throne.orders(RunState.PAUSED))
        await here.all_hear()


async def test_members_hear_of_a_new_authority_although_none_is_a_member_by_its_word(
    tmp_path: Path,
) -> None:
    """Its orders come from one that the old ones make an outsider."""
    async with land(tmp_path, 4) as here:
        throne = here.throne
        for citizen in here.citizens:
            citizen.members.certificate = throne.certificate(citizen.name, CLOCK.now() - 60)
        here.citizens[0].members.take(throne.orders(invite_only=True))
        await here.all_hear()
        await here.citizens[1].talks_to(here.citizens[2])

        throne.is_succeeded()
        here.citizens[0].members.take(throne.orders(invite_only=True))
        here.citizens[0].members.certificate = throne.certificate(
            here.citizens[0].name, CLOCK.now() - 60
        )
        await here.all_hear()
        with pytest.raises(Refused, match="not signed by who speaks for the run now"):
            await here.citizens[1].talks_to(here.citizens[2])
        for citizen in here.citizens[1:]:
            citizen.members.certificate = throne.certificate(citizen.name, CLOCK.now() - 60)
        await here.citizens[1].talks_to(here.citizens[2])


async def test_liars_that_name_the_newest_orders_do_not_keep_a_swarm_from_the_true_ones(
    tmp_path: Path,
) -> None:
    """One promises and gives old orders, one gives forged ones, and one hangs up."""
    async with land(tmp_path, 7) as here:
        *honest, old, forger, silent = here.citizens
        for liar, answer in (
            (old, gives(here.throne.orders(sequence=0))),
            (forger, gives(Throne(spec_hash=SPEC.hash()).orders(sequence=2**60))),
            (silent, hangs_up),
        ):
            liar.members.take(here.throne.orders(sequence=1))
            await liar.network.serve({ORDERS: answer})
            liar.named = (2**63, 9)
            liar.presence.changed()
        await anyio.sleep(5)
        honest[0].members.take(here.throne.orders(RunState.PAUSED, reason="true"))
        for citizen in honest:
            await citizen.until(lambda it: "true" in it.members.course.paused)


def says(word: str, citizen: Citizen) -> bool:
    return word in citizen.members.course.paused


def gives(signed: membership_pb2.SignedOrders) -> Handler:
    async def answer(
        caller: str, request: membership_pb2.OrdersRequest
    ) -> membership_pb2.SignedOrders:
        return signed

    return unary(answer)


async def hangs_up(caller: str, stream: Stream) -> None:
    raise Unreachable("gone")


async def test_no_more_than_some_are_given_orders_at_once(tmp_path: Path) -> None:
    async with land(tmp_path, 2) as here:
        anna, bert = here.citizens
        async with anyio.create_task_group() as tasks:
            opened = []

            async def hold() -> None:
                async with anna.network.open(bert.name, ORDERS, 5):
                    opened.append(True)
                    await anyio.sleep(3)

            for _ in range(MOST_ASKERS):
                tasks.start_soon(hold)
            await anyio.sleep(1)
            assert len(opened) == MOST_ASKERS
            with pytest.raises(Refused, match="too many"):
                await call(anna.network, bert.name, ORDERS, membership_pb2.OrdersRequest(), 5)
        given = await call(anna.network, bert.name, ORDERS, membership_pb2.OrdersRequest(), 5)
        assert bert.members.orders is not None
        assert given == bert.members.orders.signed
