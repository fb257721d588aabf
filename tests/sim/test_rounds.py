"""Rounds among simulated peers, undisturbed and with a fault at each point of the protocol."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import numpy as np
import pytest

from peer.averaging.codecs import Codec, FlatVector, Int8
from peer.averaging.leader import lead
from peer.averaging.state import outer_step
from peer.swarm.interface import Refused, Unreachable
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from tests.sim.swarm import PARAMETERS, SimulatedSwarm, simulated_swarm

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("codec", ["fp32", "int8"])
@pytest.mark.parametrize("peers", [2, 3, 5])
async def test_everybody_ends_a_round_with_the_same_bits(peers: int, codec: str) -> None:
    async with simulated_swarm(peers, codec) as swarm:
        for round_ in range(1, 4):
            await swarm.round(leader=round_ % peers)
            assert len(swarm.finished(round_)) == peers
            swarm.assert_agreement(round_)
        for peer in swarm.peers:
            assert all(outcome.committed and outcome.merged for outcome in peer.outcomes)
            assert peer.outcomes[-1].bytes_sent > 0


async def test_the_round_applies_the_outer_step_to_the_mean_weighted_by_tokens() -> None:
    async with simulated_swarm(3, tokens=(100, 200, 300)) as swarm:
        work = [peer.trains(swarm.random) for peer in swarm.peers]
        await swarm.attempt()
        mean = (100 * work[0] + 200 * work[1] + 300 * work[2]) / np.float32(600)
        zeros = np.zeros(PARAMETERS, np.float32)
        expected, momentum = outer_step(zeros, zeros, mean, 0.9, 0.5)
        state = swarm.peers[0].state
        np.testing.assert_allclose(state.parameters, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.momentum, momentum, rtol=1e-5, atol=1e-6)
        assert state.tokens == 600


async def test_inner_work_done_during_the_exchange_stays_on_top() -> None:
    async with simulated_swarm(2) as swarm:
        first = swarm.peers[0]
        first.trains(swarm.random)
        later = np.ones(PARAMETERS, np.float32)

        def train_on(crossing: Crossing) -> None:
            if crossing.method == "agreement" and crossing.number == 0 and not crossing.is_reply:
                swarm.hub.tap = lambda crossing: None
                first.local = first.local + later

        swarm.hub.tap = train_on
        await swarm.attempt(leader=1)
        np.testing.assert_allclose(first.local, first.state.parameters + later, atol=1e-5)


async def test_error_feedback_sends_later_what_the_codec_lost() -> None:
    """Ten rounds of the same tiny work: without feedback int8 would round it away each time."""
    async with simulated_swarm(2, "int8") as swarm:
        work = np.full(PARAMETERS, 0.001, np.float32)
        work[::256] = 1.0  # sets the scale of each block: 0.001 is below half a quantum
        for _ in range(10):
            for peer in swarm.peers:
                peer.local = peer.state.parameters - work
            await swarm.attempt()
        state = swarm.peers[0].state
        exact_parameters, exact_momentum = np.zeros_like(work), np.zeros_like(work)
        for _ in range(10):
            exact_parameters, exact_momentum = outer_step(
                exact_parameters, exact_momentum, work, 0.9, 0.5
            )
        quantum = 1 / 127
        assert np.abs(state.parameters - exact_parameters).max() < 3 * quantum
        assert Int8().decode(Int8().encode(work))[1] == 0
        assert state.parameters[1] != 0


# ---- faults ----------------------------------------------------------------------------


def when(
    hub: Hub, method: str, number: int, sender: MemoryNetwork, act: Callable[[], None],
    is_reply: bool = False,
) -> None:  # fmt: skip
    """Do `act` when `sender` is about to send its `number`-th message of a stream of `method`."""

    def tap(crossing: Crossing) -> None:
        at = (crossing.method, crossing.number, crossing.sender, crossing.is_reply)
        if at == (method, number, sender.peer_id, is_reply):
            hub.tap = lambda crossing: None
            act()

    hub.tap = tap


async def commits_without(swarm: SimulatedSwarm, lost: int) -> None:
    """The others finish the round together and merge their own work."""
    others = [peer for index, peer in enumerate(swarm.peers) if index != lost]
    swarm.assert_agreement(1)
    for peer in others:
        assert peer.state.round == 1
        assert peer.outcomes[-1].committed


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest.mark.parametrize("number", [0, 1])
async def test_a_member_lost_while_it_sends_is_left_out(fault: str, number: int) -> None:
    async with simulated_swarm(3) as swarm:
        lost = swarm.peers[2].network
        when(swarm.hub, "exchange", number, lost, getattr(lost, fault))
        with anyio.fail_after(30):
            for peer in swarm.peers:
                peer.trains(swarm.random)
            others = [peer.name for peer in swarm.peers[1:]]
            await lead(swarm.peers[0].rounds, others)
            await swarm.peers[1].concluded.wait()
        await commits_without(swarm, lost=2)


async def test_an_owner_that_dies_after_some_answers_does_not_void_its_part() -> None:
    async with simulated_swarm(4) as swarm:
        owner, answered = swarm.peers[3], swarm.peers[1]

        def answer_one_then_die(crossing: Crossing) -> None:
            answers = crossing.method == "exchange" and crossing.is_reply and crossing.number == 1
            if crossing.sender == owner.name and answers and crossing.receiver != answered.name:
                raise Unreachable("the wire is cut")
            if crossing.sender == answered.name and crossing.method == "roster":
                owner.network.kill()

        swarm.hub.tap = answer_one_then_die
        await swarm.round()
        await commits_without(swarm, lost=3)
        moved = swarm.peers[0].state.parameters
        assert np.abs(moved[-256:]).max() > 0, "the dead owner's part was fetched from who had it"


async def test_a_part_that_nobody_holds_is_void_and_its_work_is_carried() -> None:
    async with simulated_swarm(3) as swarm:
        owner = swarm.peers[2]
        when(swarm.hub, "exchange", 0, owner.network, owner.network.kill, is_reply=True)
        work = [peer.trains(swarm.random) for peer in swarm.peers]
        await swarm.attempt()
        await commits_without(swarm, lost=2)
        survivor = swarm.peers[0]
        part = survivor.state.parameters.size - 1
        assert survivor.state.parameters[part] == 0, "void: the outer step left it alone"
        np.testing.assert_allclose(survivor.local[part], -work[0][part], rtol=1e-5)
        assert "void" in survivor.outcomes[-1].reason


async def test_when_the_leader_dies_before_the_roster_the_round_is_void() -> None:
    async with simulated_swarm(3) as swarm:
        leader = swarm.peers[0].network
        when(swarm.hub, "roster", 0, leader, leader.kill)
        with anyio.fail_after(30):
            await swarm.round()
        for peer in swarm.peers[1:]:
            assert peer.state.round == 0
            # one of them had just got the roster, and asks the other in vain
            assert peer.outcomes[-1].reason.endswith(("before the exchange", "roster answers"))
            assert not peer.rounds.busy


@pytest.mark.parametrize("told", [0, 1])
async def test_when_the_leader_dies_while_it_tells_the_decision_the_others_agree(
    told: int,
) -> None:
    """Killed before anybody accepted: void for all. After one did: that one's manifest may win."""
    async with simulated_swarm(4) as swarm:
        leader = swarm.peers[0].network
        accepts = []

        def die(crossing: Crossing) -> None:
            if crossing.sender == leader.peer_id and crossing.method == "agreement":
                accepts.append(crossing.receiver)
                if len(accepts) > told:
                    leader.kill()

        swarm.hub.tap = die
        with anyio.fail_after(60):
            await swarm.round()
        survivors = swarm.peers[1:]
        assert len({peer.state.digest for peer in survivors}) == 1
        assert len({peer.outcomes[-1].committed for peer in survivors}) == 1
        assert not any(peer.rounds.busy for peer in survivors)


async def test_when_the_leader_dies_before_it_tells_who_accepted_the_round_still_commits() -> None:
    async with simulated_swarm(4) as swarm:
        leader = swarm.peers[0].network
        sent = []

        def die_before_learn(crossing: Crossing) -> None:
            if crossing.sender == leader.peer_id and crossing.method == "agreement":
                sent.append(crossing.receiver)
                if len(sent) > 3:
                    leader.kill()

        swarm.hub.tap = die_before_learn
        with anyio.fail_after(60):
            await swarm.round()
        await commits_without(swarm, lost=0)


async def test_a_frozen_leader_that_wakes_up_finds_its_round_void() -> None:
    async with simulated_swarm(3) as swarm:
        leader = swarm.peers[0]
        when(swarm.hub, "agreement", 0, leader.network, leader.network.freeze)
        for peer in swarm.peers:
            peer.trains(swarm.random)
        async with anyio.create_task_group() as tasks:
            others = [peer.name for peer in swarm.peers[1:]]
            tasks.start_soon(lead, leader.rounds, others)
            with anyio.fail_after(60):
                for peer in swarm.peers[1:]:
                    await peer.concluded.wait()
                leader.network.thaw()
        assert {peer.state.round for peer in swarm.peers} == {0}
        await swarm.attempt(leader=1)
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)


async def test_a_peer_that_sends_nan_is_refused_with_the_reason() -> None:
    async with simulated_swarm(3) as swarm:
        poisoner = swarm.peers[1]
        poisoner.rounds.codec = exchange_codec = _Poison()
        assert exchange_codec.name == "fp32"
        await swarm.round()
        swarm.assert_agreement(1)
        reason = poisoner.outcomes[-1].reason
        assert "not finite" in reason
        assert np.isfinite(swarm.peers[0].state.parameters).all()
        assert not poisoner.outcomes[-1].merged


async def test_a_claim_of_many_tokens_weighs_at_most_ten_times_the_median() -> None:
    async with simulated_swarm(3, tokens=(100, 100, 10**9)) as swarm:
        work = [peer.trains(swarm.random) for peer in swarm.peers]
        await swarm.attempt()
        assert len(swarm.finished(1)) == 3
        mean = (100 * work[0] + 100 * work[1] + 1000 * work[2]) / np.float32(1200)
        np.testing.assert_allclose(swarm.peers[0].state.momentum, mean, rtol=1e-4, atol=1e-5)


async def test_a_claim_beyond_all_bounds_is_not_let_in() -> None:
    async with simulated_swarm(3, tokens=(100, 100, 2**60)) as swarm:
        await swarm.round()
        assert [peer.state.round for peer in swarm.peers] == [1, 1, 0]
        swarm.assert_agreement(1)


async def test_two_leaders_at_once_cannot_split_the_swarm() -> None:
    async with simulated_swarm(4) as swarm:
        for peer in swarm.peers:
            peer.trains(swarm.random)

        async def try_to_lead(index: int) -> None:
            leader = swarm.peers[index]
            try:
                await lead(leader.rounds, [it.name for it in swarm.peers if it is not leader])
            except Refused:
                leader.concluded.set()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(try_to_lead, 0)
                tasks.start_soon(try_to_lead, 1)
            for peer in swarm.peers:
                await peer.concluded.wait()
        swarm.assert_agreement(max(peer.state.round for peer in swarm.peers))


async def test_a_peer_without_inner_work_listens_and_stays_in_step() -> None:
    async with simulated_swarm(3, tokens=(100, 0, 100)) as swarm:
        await swarm.round()
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert not swarm.peers[1].outcomes[-1].merged


async def test_too_few_peers_make_a_void_round_that_says_how_many_are_needed() -> None:
    async with simulated_swarm(2) as swarm:
        swarm.peers[1].network.kill()
        await swarm.round()
        outcome = swarm.peers[0].outcomes[-1]
        assert not outcome.committed
        assert outcome.reason.startswith("1 of 2 peers needed")


async def test_a_peer_that_missed_a_round_replays_it_from_another() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        for peer in swarm.peers:
            peer.trains(swarm.random)
        missing = swarm.peers[2]
        await lead(swarm.peers[0].rounds, [swarm.peers[1].name])
        await swarm.peers[1].concluded.wait()
        target = swarm.peers[0].state
        state, _ = await missing.rounds.archive.catch_up(
            missing.state, swarm.peers[1].name, target.digest
        )
        assert state.digest == target.digest
        assert state.tokens == target.tokens


class _Poison(Codec):
    """Encodes one value as NaN whatever it is given."""

    name = "fp32"
    lossy = False

    def encoded_bytes(self, values: int) -> int:
        return 4 * values

    def encode(self, values: FlatVector) -> bytes:
        poisoned = values.copy()
        poisoned[0] = np.nan
        return poisoned.tobytes()

    def decode(self, data: bytes) -> FlatVector:
        return np.frombuffer(data, np.float32)
