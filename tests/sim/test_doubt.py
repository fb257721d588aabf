"""What a peer does that cannot know: about the outcome of a round, or about its own numbers."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging.leader import lead
from peer.averaging.methods import AGREEMENT
from peer.swarm.interface import Refused, Unreachable, call
from peer.swarm.memory import Crossing
from swarmpb.v1 import swarm_pb2
from tests.sim.swarm import SimulatedPeer, SimulatedSwarm, simulated_swarm

pytestmark = pytest.mark.anyio


async def decision_of(asking: SimulatedPeer, asked: SimulatedPeer) -> swarm_pb2.Decision | None:
    """What a member says was decided about its last attempt."""
    request = swarm_pb2.AgreementRequest(
        attempt=asked.outcomes[-1].attempt,
        ballot=swarm_pb2.Ballot(number=99, proposer=asking.name),
        prepare=True,
    )
    reply = await call(asking.network, asked.name, AGREEMENT, request, 1)
    return reply.decided if reply.HasField("decided") else None


async def test_a_guess_about_the_outcome_stays_with_the_peer_that_made_it() -> None:
    """A lonely member's "void", told as decided, would undo what a majority has accepted."""
    async with simulated_swarm(3) as swarm:
        lonely = swarm.peers[2]

        def nobody_hears_an_answer_and_one_hears_nothing(crossing: Crossing) -> None:
            if crossing.method == "agreement" and (
                crossing.is_reply or crossing.receiver == lonely.name
            ):
                raise Unreachable("lost on the way")

        swarm.faults.append(nobody_hears_an_answer_and_one_hears_nothing)
        await swarm.round()
        await anyio.wait_all_tasks_blocked()
        swarm.faults.clear()
        first, second = swarm.peers[:2]
        assert await decision_of(lonely, first) is None
        assert await decision_of(lonely, second) is None
        assert await decision_of(first, lonely) is None


def diverge(swarm: SimulatedSwarm, index: int) -> SimulatedPeer:
    for peer in swarm.peers:
        peer.trains(swarm.random)
    swarm.peers[index].local[3] = np.nan
    return swarm.peers[index]


@pytest.mark.parametrize("codec", ["fp32", "int8"])
async def test_a_peer_whose_own_parameters_are_not_finite_stays_out_of_the_round(
    codec: str,
) -> None:
    async with simulated_swarm(3, codec) as swarm:
        diverged = diverge(swarm, 1)
        await swarm.attempt()
        assert [peer.state.round for peer in swarm.peers] == [1, 0, 1]
        swarm.assert_agreement(1)
        assert diverged.reason == "this peer's parameters are not finite"


async def test_a_peer_whose_own_parameters_are_not_finite_does_not_lead() -> None:
    async with simulated_swarm(3) as swarm:
        leader = diverge(swarm, 0)
        others = [peer.name for peer in swarm.peers[1:]]
        with pytest.raises(Refused, match="not finite"):
            await lead(leader.rounds, others)
        assert not leader.busy
        for peer in swarm.peers[1:]:
            await peer.concluded.wait()
            assert "not finite" in peer.reason, "who has cut is told why it was in vain"
        await swarm.attempt(leader=1)
        assert [peer.state.round for peer in swarm.peers] == [0, 1, 1]


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("codec", ["fp32", "int4"])
async def test_a_peer_whose_numbers_have_grown_too_large_to_send_starts_over(
    codec: str, leader: int
) -> None:
    """Its work would be refused in this round and in all that follow."""
    async with simulated_swarm(3, codec) as swarm:
        for peer in swarm.peers:
            peer.trains(swarm.random)
        swarm.peers[1].local[3] = 1e6
        await swarm.attempt(leader)
        assert [peer.state.round for peer in swarm.peers] == [1, 1, 1]
        assert [peer.started_over for peer in swarm.peers] == [0, 1, 0]
