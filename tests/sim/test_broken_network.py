"""A network that breaks in the middle of a round costs nothing, and nothing counts twice."""

from __future__ import annotations

from random import Random

import anyio
import numpy as np
import pytest

from peer.averaging.leader import lead
from peer.averaging.rounds import Rounds
from peer.swarm.memory import Crossing
from tests.sim.swarm import SimulatedPeer, simulated_swarm, spec_for

pytestmark = pytest.mark.anyio


async def joined(peer: SimulatedPeer, tasks: anyio.abc.TaskGroup) -> None:
    """What the peer does in rounds happens in these tasks, as in `SwarmLife.run`."""
    peer.rounds = Rounds(
        peer.network, spec_for("fp32"), peer, tasks, anyio.current_time, Random(1),
        history=peer.rounds.history,
    )  # fmt: skip
    await peer.network.serve(peer.rounds.handlers())


@pytest.mark.parametrize("breaks_for", [0, 2], ids=["leader", "member"])
async def test_work_of_a_round_during_which_the_network_broke_is_not_merged_twice(
    breaks_for: int,
) -> None:
    async with simulated_swarm(3) as swarm:
        peer, leader, other = swarm.peers[breaks_for], swarm.peers[0], swarm.peers[1]
        for one in swarm.peers:
            one.trains(swarm.random)
        broken = anyio.Event()

        def breaks_before_it_hears_of_the_decision(crossing: Crossing) -> None:
            if crossing.method == "agreement" and not broken.is_set():
                broken.set()

        swarm.faults.append(breaks_before_it_hears_of_the_decision)
        async with anyio.create_task_group() as network:
            await joined(peer, network)
            run = network if peer is leader else swarm.hub.tasks
            run.start_soon(lead, leader.rounds, [it.name for it in swarm.peers[1:]])
            await broken.wait()
            network.cancel_scope.cancel()
        peer.rounds.leave()
        with anyio.fail_after(100):
            await other.concluded.wait()
        await joined(peer, swarm.hub.tasks)
        assert other.state.round == 1, "committed, with its work"
        await peer.catches_up_with(other)
        peer.assert_nothing_lost()
        np.testing.assert_allclose(peer.local, peer.state.parameters, atol=1e-5)
