"""Rounds among simulated peers that nothing disturbs, or that cannot be rounds."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging.codec_names import CODECS, codec_named
from peer.averaging.codecs import FlatVector, Int8, decode, encode
from peer.averaging.leader import lead
from peer.averaging.links import Link
from peer.averaging.state import outer_step
from peer.swarm.interface import Refused
from peer.swarm.memory import Crossing
from tests.sim.swarm import (
    PARAMETERS,
    PROMPT,
    owned_by,
    reads_slowly,
    simulated_swarm,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("peers", [2, 3, 5])
async def test_everybody_ends_a_round_with_the_same_bits(peers: int, codec: str) -> None:
    async with simulated_swarm(peers, codec) as swarm:
        for round_ in range(1, 4):
            await swarm.round(leader=round_ % peers)
            assert len(swarm.finished(round_)) == peers
            swarm.assert_agreement(round_)
            assert swarm.seconds() == 0, "nobody waits for anything"
            assert not swarm.sent("part"), "nothing is fetched a second time"
            assert swarm.peers[0].manifest.roster.codec == codec
        for peer in swarm.peers:
            assert all(outcome.committed and outcome.merged for outcome in peer.outcomes)
            assert not any(outcome.reason for outcome in peer.outcomes)
            assert peer.outcomes[-1].bytes_sent > 0


@pytest.mark.parametrize("codec", CODECS)
async def test_one_owner_of_everything_gives_everybody_the_same_bits(codec: str) -> None:
    async with simulated_swarm(4, codec, tokens=(100, 100, 0, 300), star=True) as swarm:
        for round_ in range(1, 4):
            await swarm.round(leader=round_)
            assert len(swarm.finished(round_)) == 4
            swarm.assert_agreement(round_)
            manifest = swarm.peers[0].manifest
            assert len({part.owner for part in manifest.roster.parts}) == 1
            assert all(part.included == (0, 1, 3) for part in manifest.parts)
            assert swarm.seconds() == 0


async def test_the_round_applies_the_outer_step_to_the_mean_weighted_by_tokens() -> None:
    async with simulated_swarm(3, tokens=(100, 200, 300)) as swarm:
        work = [peer.trains(swarm.random) for peer in swarm.peers]
        await swarm.attempt()
        mean = (100 * work[0] + 200 * work[1] + 300 * work[2]) / np.float32(600)
        expected, momentum = after_outer_steps([mean])
        state = swarm.peers[0].state
        np.testing.assert_allclose(state.parameters, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.momentum, momentum, rtol=1e-5, atol=1e-6)
        assert state.tokens == 600


async def test_what_the_members_foresee_is_the_rounds_result() -> None:
    """Then nobody does the outer step while the others wait."""
    async with simulated_swarm(3) as swarm:
        steps: list[str] = []
        for peer in swarm.peers:
            archive = peer.rounds.archive
            step = archive.outer_step

            def counted(*args: object, name: str = peer.name, step: object = step) -> object:
                steps.append(name)
                return step(*args)  # type: ignore[operator]

            archive.outer_step = counted  # type: ignore[assignment,method-assign]
        await swarm.round()
        swarm.assert_agreement(1)
        assert steps.count(swarm.peers[0].name) == 1


async def test_inner_work_done_during_the_exchange_stays_on_top() -> None:
    async with simulated_swarm(2) as swarm:
        first = swarm.peers[0]
        first.trains(swarm.random)
        later = np.ones(PARAMETERS, np.float32)

        def train_on(crossing: Crossing) -> None:
            if crossing.method == "agreement" and crossing.number == 0 and not crossing.is_reply:
                swarm.faults.clear()
                first.local = first.local + later

        swarm.faults.append(train_on)
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
        exact_parameters, _ = after_outer_steps([work] * 10)
        quantum = 1 / 127
        assert np.abs(state.parameters - exact_parameters).max() < 3 * quantum
        assert decode(Int8(), encode(Int8(), work.copy()), PARAMETERS)[1] == 0
        assert state.parameters[1] != 0


def after_outer_steps(gradients: list[FlatVector]) -> tuple[FlatVector, FlatVector]:
    """Parameters and momentum after these pseudo-gradients, from zero on."""
    old = np.zeros(PARAMETERS, np.float32), np.zeros(PARAMETERS, np.float32)
    for gradient in gradients:
        new = np.empty_like(old[0]), np.empty_like(old[1])
        outer_step(old, gradient.copy(), 0.9, 0.5, new)
        old = new
    return old


# ---- who owns how much, and how values travel ------------------------------------------


@pytest.mark.parametrize(
    ("rates", "owners"),
    [((172_000, 100_000, 100_000), {0, 1, 2}), ((10**7, 60_000, 20_000), {0})],
    ids=["a-little", "much"],
)
async def test_a_faster_peer_owns_more(rates: tuple[int, ...], owners: set[int]) -> None:
    async with simulated_swarm(3) as swarm:
        for peer, rate in zip(swarm.peers, rates, strict=True):
            peer.rounds.history.links.add(Link(rate, rate))
        for round_ in (1, 2):
            await swarm.round(leader=round_)
            swarm.assert_agreement(round_)
            assert len(swarm.finished(round_)) == 3
            manifest = swarm.peers[0].manifest
            assert manifest.roster.units[0] > max(manifest.roster.units[1:])
            assert {part.owner for part in manifest.roster.parts} == owners
            assert all(part.included == (0, 1, 2) for part in manifest.parts)
        swarm.peers[0].assert_nothing_lost()


@pytest.mark.parametrize("codec", CODECS)
async def test_the_swarm_agrees_while_links_and_shares_change(codec: str) -> None:
    """Owners' residuals stay with them, wherever their next parts are."""
    async with simulated_swarm(4, codec) as swarm:
        units = set()
        for round_ in range(1, 5):
            rate = codec_named(codec).encoded_bytes(PARAMETERS) * round_ // 20
            swarm.peers[round_ % 4].rounds.history.links.add(Link(rate, rate))
            await swarm.round(leader=round_ % 4)
            swarm.assert_agreement(round_)
            assert len(swarm.finished(round_)) == 4
            units.add(swarm.peers[0].manifest.roster.units)
        assert len(units) > 1


async def test_a_peer_in_client_mode_owns_nothing_and_is_in_the_round() -> None:
    async with simulated_swarm(3, client_mode=[1]) as swarm:
        hidden = swarm.peers[1]

        def cannot_be_dialled(crossing: Crossing) -> None:
            if (crossing.method, crossing.receiver) == ("exchange", hidden.name):
                assert crossing.is_reply, "nobody opens an exchange with it"

        swarm.faults.append(cannot_be_dialled)
        await swarm.round()
        swarm.assert_agreement(1)
        assert len(swarm.finished(1)) == 3
        assert owned_by(hidden.manifest, 1) == []
        assert hidden.outcomes[-1].merged
        assert all(part.included == (0, 1, 2) for part in hidden.manifest.parts)
        assert swarm.seconds() == 0


# ---- rounds that cannot be ------------------------------------------------------------


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

        with anyio.fail_after(300):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(try_to_lead, 0)
                tasks.start_soon(try_to_lead, 1)
            for peer in swarm.peers:
                await peer.concluded.wait()
        swarm.assert_agreement(max(peer.state.round for peer in swarm.peers))


@pytest.mark.parametrize("codec", ["fp32", "int4"])
async def test_a_peer_without_inner_work_listens_and_stays_in_step(codec: str) -> None:
    async with simulated_swarm(3, codec, tokens=(100, 0, 100)) as swarm:
        await swarm.round()
        listener = swarm.peers[1]
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert swarm.seconds() == 0, "nobody waits for its parts"
        assert not listener.outcomes[-1].merged
        assert listener.reason == "no inner work yet"
        assert all(part.included == (0, 2) for part in listener.manifest.parts)
        assert listener.manifest.left_out == ()
        assert listener.state.tokens == 200


async def test_too_few_peers_make_a_void_round_that_says_how_many_are_needed() -> None:
    async with simulated_swarm(2) as swarm:
        swarm.peers[1].network.kill()
        await swarm.round()
        assert not swarm.peers[0].outcomes[-1].committed
        assert swarm.peers[0].reason.startswith("1 of 2 peers needed")


async def test_who_has_cut_is_told_at_once_when_too_few_others_have() -> None:
    async with simulated_swarm(4) as swarm:
        for peer in swarm.peers[2:]:
            peer.network.kill()
        await swarm.round(without=[2, 3])
        for peer in swarm.peers[:2]:
            assert not peer.outcomes[-1].committed
            assert peer.reason.startswith("only 2 of 4 live peers have cut")
        assert swarm.seconds(0, 1) == 0, "both are free for the next try"


async def test_a_peer_that_missed_a_round_replays_it_from_another() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        for peer in swarm.peers:
            peer.trains(swarm.random)
        missing = swarm.peers[2]
        await lead(swarm.peers[0].rounds, [swarm.peers[1].name])
        await swarm.peers[1].concluded.wait()
        await missing.catches_up_with(swarm.peers[1])
        swarm.assert_agreement(1)
        assert len(swarm.finished(1)) == 3
        missing.assert_nothing_lost()


async def test_a_peer_that_takes_its_answers_slowly_does_not_hold_up_the_decision() -> None:
    """It gets them all in its own time, and none of them twice."""
    async with simulated_swarm(3) as swarm:
        slow = swarm.peers[2]
        reads_slowly(slow, seconds=1.0)
        await swarm.round()
        assert swarm.seconds(0, 1) <= PROMPT
        assert swarm.seconds(2) > swarm.seconds(0, 1)
        assert not swarm.sent("part"), "what is on its way is not fetched"
        swarm.assert_agreement(1)
        assert len(swarm.finished(1)) == 3
        assert slow.outcomes[-1].merged
        assert slow.reason == ""
