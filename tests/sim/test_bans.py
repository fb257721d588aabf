"""Bans and pauses in the middle of a round: it ends for all alike, and costs no work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from peer.averaging.leader import lead
from peer.averaging.methods import CUT
from peer.members import Members
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Refused, call
from peer.swarm.memory import Crossing
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import membership_pb2, swarm_pb2
from tests.sim.swarm import SimulatedSwarm, simulated_swarm
from tests.standing import Throne

pytestmark = pytest.mark.anyio


class Realm:
    """A simulated swarm whose members obey orders."""

    def __init__(self) -> None:
        self.throne = Throne()
        self.members: list[Members] = []
        self.swarm: SimulatedSwarm

    def gate_of(self, identity: PeerIdentity) -> Members:
        members = Members(self.throne.run, identity.peer_id, CLOCK.now)
        self.members.append(members)
        return members

    def tell(self, signed: membership_pb2.SignedOrders, who: Sequence[int] = ()) -> None:
        """All hear these orders, or those of that number."""
        for number in who or range(len(self.members)):
            self.members[number].take(signed)
            self.swarm.peers[number].network.review()

    def ban(self, index: int) -> membership_pb2.SignedOrders:
        return self.throne.orders(banned=(self.swarm.peers[index].name,))

    def when(self, method: str, sender: int, number: int, act: Callable[[], None]) -> None:
        """Do `act` when a peer is about to send its `number`-th item on streams of a method."""
        sent = 0

        def fault(crossing: Crossing) -> None:
            nonlocal sent
            if (crossing.method, crossing.sender) != (method, self.swarm.peers[sender].name):
                return
            if sent == number:
                self.swarm.faults.remove(fault)
                # in its turn: what sends must not be ended from within
                self.swarm.hub.tasks.start_soon(at_once, act)
            sent += 1

        self.swarm.faults.append(fault)


async def at_once(act: Callable[[], None]) -> None:
    act()


@asynccontextmanager
async def realm(peers: int) -> AsyncIterator[Realm]:
    realm = Realm()
    async with simulated_swarm(peers, gate_of=realm.gate_of) as swarm:
        realm.swarm = swarm
        yield realm


@pytest.mark.parametrize(
    ("method", "number"),
    [("cut", 0), ("cut", 3), *(("exchange", it) for it in (0, 1, 3, 6)), ("agreement", 0)],
)
async def test_a_ban_in_the_middle_of_a_round_costs_the_banned_one_only(
    method: str, number: int
) -> None:
    async with realm(5) as here:
        swarm, banned = here.swarm, 4
        await swarm.round()
        sender = banned if method == "exchange" else 0
        here.when(method, sender, number, lambda: here.tell(here.ban(banned)))
        await swarm.round(without=[banned])
        assert here.members[0].bans(swarm.peers[banned].name)
        others = swarm.peers[:banned]
        digests = {peer.state.digest for peer in others}
        assert len(digests) == 1
        for peer in others:
            peer.assert_nothing_lost()
        # and the next round is made without it
        before = others[0].state.round
        for peer in others:
            peer.trains(swarm.random)
            peer.called, peer.concluded = anyio.Event(), anyio.Event()
        await lead(others[1].rounds, [it.name for it in swarm.peers if it is not others[1]])
        for peer in others:
            await peer.concluded.wait()
            assert peer.state.round == before + 1
            assert swarm.peers[banned].name not in peer.manifest.roster.members
            peer.assert_nothing_lost()


async def test_a_ban_that_only_some_have_heard_splits_no_swarm() -> None:
    """Two refuse the banned one in the middle of the exchange, two still deal with it."""
    async with realm(5) as here:
        swarm, banned = here.swarm, 4
        await swarm.round()
        here.when("exchange", banned, 2, lambda: here.tell(here.ban(banned), [1, 2]))
        await swarm.round()
        assert len({peer.state.digest for peer in swarm.peers[:banned]}) == 1
        for peer in swarm.peers[:banned]:
            peer.assert_nothing_lost()


async def test_a_banned_peer_can_call_for_no_round() -> None:
    async with realm(4) as here:
        swarm, banned = here.swarm, 3
        await swarm.round()
        here.tell(here.ban(banned), [0, 1, 2])
        request = swarm_pb2.CutRequest(attempt=bytes(16))
        with pytest.raises(Refused, match="banned from run tiny"):
            await call(swarm.peers[banned].network, swarm.peers[0].name, CUT, request, 5)
        assert not swarm.peers[0].busy


async def test_a_round_under_way_when_a_pause_comes_is_finished_and_no_other_is_begun() -> None:
    async with realm(4) as here:
        swarm = here.swarm

        def pause() -> None:
            for peer in swarm.peers:
                peer.unwilling_because = "paused by the run's owner: a holiday"

        here.when("exchange", 1, 1, pause)
        await swarm.round()
        swarm.assert_agreement(1)
        assert len(swarm.finished(1)) == 4
        await swarm.round()
        assert len(swarm.finished(1)) == 4
        for peer in swarm.peers:
            peer.unwilling_because = ""
        await swarm.round()
        swarm.assert_agreement(2)
        assert len(swarm.finished(2)) == 4
        for peer in swarm.peers:
            peer.assert_nothing_lost()


async def test_while_some_have_heard_of_the_end_of_a_pause_no_minority_goes_on_alone() -> None:
    async with realm(5) as here:
        swarm = here.swarm
        await swarm.round()
        for peer in swarm.peers[2:]:
            peer.unwilling_because = "paused by the run's owner"
        await swarm.round()
        assert len(swarm.finished(1)) == 5
        assert swarm.peers[0].reason.startswith("only 2 of 5 live peers have cut")
        swarm.peers[2].unwilling_because = ""
        await swarm.round()
        assert len(swarm.finished(2)) == 3, "most have, and the others will follow"
