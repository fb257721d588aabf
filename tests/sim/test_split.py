"""A swarm that was split in two goes on in both halves, and merges both when they meet again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np
import pytest

from peer.averaging import archive
from peer.averaging.coverage import Coverage
from peer.averaging.history import Branch
from peer.averaging.leader import lead
from peer.averaging.malformed import Malformed
from peer.averaging.state import MOST_GAIN, GlobalState, united
from tests.sim.swarm import SimulatedPeer, SimulatedSwarm, simulated_swarm

pytestmark = pytest.mark.anyio

LARGER, SMALLER = (0, 1, 2), (3, 4)


async def round_of(swarm: SimulatedSwarm, indexes: Sequence[int]) -> None:
    """These train, and make a round among themselves."""
    peers = [swarm.peers[index] for index in indexes]
    await lead_a_round(swarm, peers)
    assert len({it.state.digest for it in peers}) == 1


async def lead_a_round(swarm: SimulatedSwarm, peers: Sequence[SimulatedPeer]) -> None:
    for peer in peers:
        peer.trains(swarm.random)
        peer.concluded = anyio.Event()
    await lead(peers[0].rounds, [it.name for it in peers[1:]])
    for peer in peers:
        await peer.concluded.wait()


async def go_apart(swarm: SimulatedSwarm, larger: int = 3, smaller: int = 2) -> None:
    """One round together, then so many in each half."""
    await round_of(swarm, range(5))
    for _ in range(larger):
        await round_of(swarm, LARGER)
    for _ in range(smaller):
        await round_of(swarm, SMALLER)


async def take_in(swarm: SimulatedSwarm, indexes: Sequence[int] = LARGER) -> None:
    """What `peer.catching_up.take_in` does, with the download left out."""
    other = swarm.peers[SMALLER[0]]
    for index in indexes:
        rounds, own = swarm.peers[index].rounds, swarm.peers[index].state
        await rounds.archive.learn_lineage(other.name, other.state.digest)
        common = rounds.history.lineage.common(own.digest, other.state.digest)
        assert common is not None
        rounds.history.branch = Branch(other.state, common, own.round)


async def follow(peer: SimulatedPeer, other: SimulatedPeer) -> None:
    with pytest.raises(Malformed, match=r"does not (hold|lead)"):
        await peer.catches_up_with(other)
    await peer.rounds.archive.learn_lineage(other.name, other.state.digest)
    assert peer.rounds.history.lineage.descends(other.state.digest, peer.state.digest)
    await peer.rounds.missed.jump(other.state, [other.name])


@pytest.mark.parametrize("codec", ["fp32", "int8"])
async def test_both_halves_work_is_in_the_run_when_they_have_met(codec: str) -> None:
    async with simulated_swarm(5, codec) as swarm:
        await go_apart(swarm)
        trunk, branch = swarm.peers[0], swarm.peers[3]
        apart = branch.state
        await take_in(swarm)
        await round_of(swarm, LARGER)
        merged = trunk.state
        assert merged.tokens == 500 + 4 * 300 + 2 * 200, "all that anybody has merged"
        assert merged.round == 5
        assert apart.digest in merged.parents
        for index in SMALLER:
            swarm.peers[index].trains(swarm.random)
            await follow(swarm.peers[index], trunk)
            swarm.peers[index].assert_nothing_lost()
        swarm.assert_agreement(5)
        await round_of(swarm, range(5))
        assert len(swarm.finished(6)) == 5, "within two rounds"
        for peer in swarm.peers:
            assert peer.rounds.history.branch is None
            if codec == "fp32":
                peer.assert_nothing_lost()


async def test_the_merged_state_is_the_mean_weighted_by_tokens_since_they_went_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm, larger=2, smaller=3)
        trunk, branch = swarm.peers[0], swarm.peers[3]
        common = trunk.rounds.history.lineage.newest_first(trunk.state.digest)[2]
        apart = branch.state
        await take_in(swarm)
        alone: list[GlobalState] = []

        def noted(one: GlobalState, *others: Any) -> GlobalState:
            alone.append(one)
            return united(one, *others)

        monkeypatch.setattr(archive, "united", noted)
        await round_of(swarm, LARGER)
        ours, theirs = 3 * 300, 3 * 200
        share = theirs / (ours + theirs)
        for name in ("parameters", "momentum"):
            expected = (1 - share) * getattr(alone[0], name) + share * getattr(apart, name)
            np.testing.assert_allclose(getattr(trunk.state, name), expected, atol=1e-5)
        assert common.tokens == 500


async def test_a_member_without_the_other_halfs_state_gets_the_result_from_others() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        await take_in(swarm, indexes=(0, 1))
        await lead_a_round(swarm, swarm.peers[:3])
        assert "does not hold" in swarm.peers[2].lost_because
        await follow(swarm.peers[2], swarm.peers[0])
        assert swarm.peers[2].state.digest == swarm.peers[0].state.digest
        swarm.peers[2].assert_nothing_lost()


async def test_a_round_waits_for_nobody_who_is_still_getting_the_other_halfs_state() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        await take_in(swarm, indexes=(0,))
        before = swarm.peers[0].state.tokens
        await round_of(swarm, LARGER)
        assert swarm.peers[0].state.tokens == before + 300, "most do not have it"
        await take_in(swarm, indexes=(1, 2))
        await round_of(swarm, LARGER)
        assert len(swarm.peers[0].state.parents) == 2


async def test_who_has_merged_once_does_not_merge_the_same_again() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        await take_in(swarm)
        await round_of(swarm, LARGER)
        await round_of(swarm, SMALLER)  # it had not heard of that, and went on
        tokens = swarm.peers[0].state.tokens
        await take_in(swarm)
        await round_of(swarm, LARGER)
        assert swarm.peers[0].state.tokens == tokens + 300 + 200


async def test_who_downloads_a_later_state_does_not_offer_to_merge_what_that_has_merged() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        await take_in(swarm)
        late = swarm.peers[2]
        for _ in range(2):
            await round_of(swarm, LARGER[:2])
        await late.rounds.archive.learn_lineage(swarm.peers[0].name, swarm.peers[0].state.digest)
        await late.rounds.missed.jump(swarm.peers[0].state, [swarm.peers[0].name])
        assert late.rounds.history.branch is None


async def test_what_the_other_half_says_it_merged_has_bounded_weight() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        ours, theirs = swarm.peers[0].state, swarm.peers[3].state
        common = swarm.peers[0].rounds.history.lineage.newest_first(ours.digest)[3]
        object.__setattr__(theirs, "tokens", 2**61)
        made = united(ours, theirs, common, Coverage().encode())
        most = MOST_GAIN / (MOST_GAIN + 1)
        expected = ours.parameters + most * (theirs.parameters - ours.parameters)
        np.testing.assert_allclose(made.parameters, expected, atol=1e-5)
