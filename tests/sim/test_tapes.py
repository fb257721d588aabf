"""Whole runs under a plan of faults: after every round all agree, and every piece counts once."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from peer.averaging import links, parts
from peer.averaging.codecs import UNIT
from tests.faults.plan import Kill, Place, Plan, Point, Return, parse
from tests.faults.simulated import planned_swarm
from tests.faults.tapes import tape

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _many_owners_with_several_parts() -> Iterator[None]:
    with patch.object(parts, "_SMALLEST_PART", UNIT), patch.object(links, "STAR_SECONDS", 0.0):
        yield


@pytest.mark.parametrize("seed", range(6))
async def test_a_run_survives_a_tape_of_faults(seed: int) -> None:
    plan = tape(seed, peers=8, rounds=30)
    async with planned_swarm(plan, 8, seed=seed) as swarm:
        await swarm.play(30)
        await swarm.come_to_rest()
        assert sorted(swarm.happened) == sorted(str(plan).splitlines())


@pytest.mark.parametrize("peer", [1, 2], ids=["a member", "the leader"])
@pytest.mark.parametrize(
    "point", [Point(it) for it in Place if it is not Place.DOWNLOADING], ids=str
)
async def test_a_peer_is_hit_at_every_point_and_the_others_go_on(point: Point, peer: int) -> None:
    plan = Plan((Kill(peer, 1, point), Return(peer, 3)))
    async with planned_swarm(plan, 4) as swarm:
        await swarm.play(5)
        await swarm.come_to_rest()
        assert swarm.happened == str(plan).splitlines()
        assert swarm.void <= 1


async def test_a_newcomer_that_dies_while_it_downloads_is_no_loss() -> None:
    plan = parse(
        """
        join peer 3 at round 2
        kill peer 3 at round 2 while downloading half the state
        return peer 3 at round 4
        """
    )
    async with planned_swarm(plan, 4) as swarm:
        await swarm.play(6)
        await swarm.come_to_rest()
        assert sorted(swarm.happened) == sorted(str(plan).splitlines())
        assert sorted(swarm.up) == [0, 1, 2, 3]
        assert swarm.void == 0


async def test_what_was_killed_between_its_parts_comes_back_and_is_not_missed() -> None:
    plan = parse(
        """
        kill peer 1 at round 2 after sending half its parts  # somebody else leads
        return peer 1 at round 4
        """
    )
    async with planned_swarm(plan, 4) as swarm:
        await swarm.play(6)
        await swarm.come_to_rest()
        assert swarm.happened == str(plan).splitlines()
        assert sorted(swarm.up) == [0, 1, 2, 3]
        assert swarm.void == 0


async def test_an_owner_that_dies_after_two_answers_costs_no_round() -> None:
    plan = parse("kill peer 3 at round 1 after answering 2 parts")
    async with planned_swarm(plan, 4) as swarm:
        await swarm.play(4)
        await swarm.come_to_rest()
        assert swarm.happened == str(plan).splitlines()
        assert swarm.void == 0


async def test_the_larger_side_of_a_split_goes_on_and_the_other_comes_after() -> None:
    plan = parse("split 0 1 | 2 3 4 at round 2 for 3 rounds\njoin peer 5 at round 3")
    async with planned_swarm(plan, 6) as swarm:
        await swarm.play(8)
        await swarm.come_to_rest()
        assert len({peer.state.digest for peer in swarm.up.values()}) == 1
        assert len(swarm.up) == 6


@pytest.mark.parametrize("crossings", [20, 60, 90])
async def test_a_round_that_a_split_cuts_short_is_void_or_committed_and_counts_once(
    crossings: int,
) -> None:
    plan = parse("split 0 1 | 2 3 4 at round 2 for 1 round")
    async with planned_swarm(plan, 5, split_after=crossings) as swarm:
        await swarm.play(6)
        await swarm.come_to_rest()


@pytest.mark.xfail(strict=True, reason="a void attempt forgets the doubt of the one before")
async def test_a_round_cut_apart_in_its_middle_counts_once() -> None:
    plan = parse("split 0 1 | 2 3 4 at round 2 for 3 rounds")
    async with planned_swarm(plan, 5, split_after=100) as swarm:
        await swarm.play(8)
        await swarm.come_to_rest()
