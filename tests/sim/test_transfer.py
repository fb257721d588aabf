"""State download on a network in memory, with donors that die, come back, or go on without it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from peer.averaging.state import GlobalState, block_count
from peer.membership import Position
from peer.swarm.interface import Network, Refused, Stream, Unreachable
from peer.swarm.memory import MemoryNetwork
from peer.transfer.candidates import MAX_DONORS
from peer.transfer.donor import Donor
from peer.transfer.download import Download, download
from peer.transfer.messages import STATE, turn_message
from peer.transfer.progress import Progress
from peer.transfer.turns import SLOTS
from swarmpb.signing import PeerIdentity
from tests.sim.downloads import (
    AT,
    BLOCK_VALUES,
    PARAMETERS,
    STATE_7,
    Swarm,
    a_swarm,
    assert_is,
    ids,
    position,
    some_state,
)

pytestmark = pytest.mark.anyio

STATE_BYTES = 8 * PARAMETERS


def a_download(head: GlobalState | None = None, told: list[Progress] | None = None) -> Download:
    """Of round 7; where that is gone, of `head`."""

    async def choose(offers: Sequence[Position]) -> Position | None:
        return position(head) if head else None

    heard: list[Progress] = [] if told is None else told
    return Download(AT, PARAMETERS, choose, heard.append)


@pytest.mark.parametrize("count", [1, 2, MAX_DONORS])
async def test_the_state_comes_from_all_donors_together(count: int) -> None:
    async with a_swarm() as swarm:
        donors = [await swarm.donor() for _ in range(count)]
        assert_is(await download(swarm.joiner(), ids(donors), AT, PARAMETERS), STATE_7)
        assert set(swarm.bytes_sent) == set(ids(donors)), "each of them helped"
        assert swarm.bytes_sent.total() == STATE_BYTES, "no block was sent twice"


@pytest.mark.parametrize("parameters", [1, 255, BLOCK_VALUES, BLOCK_VALUES + 1])
async def test_any_length_of_the_vectors_survives_the_trip(parameters: int) -> None:
    small = some_state(3, parameters)
    async with a_swarm() as swarm:
        donors = [await swarm.donor([small]) for _ in range(2)]
        state = await download(swarm.joiner(), ids(donors), position(small), parameters)
        assert_is(state, small)


async def test_newcomers_do_not_all_ask_the_same_donors() -> None:
    small = some_state(3, 1000)
    async with a_swarm() as swarm:
        donors = [await swarm.donor([small]) for _ in range(6)]
        joiner = swarm.joiner()
        for _ in range(30):
            await download(joiner, ids(donors), position(small), 1000)
        assert set(swarm.bytes_sent) == set(ids(donors))


async def test_nobody_to_ask_is_unreachable() -> None:
    async with a_swarm() as swarm:
        with pytest.raises(Unreachable, match="nobody holds it"):
            await download(swarm.joiner(), [], AT, PARAMETERS)


# ---- donors that are lost ----------------------------------------------------------------


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_donor_lost_in_the_middle_is_replaced_by_the_others(
    fault: str, number: int
) -> None:
    """Also when the other one had nothing left to do at that moment."""
    async with a_swarm() as swarm:
        lost, kept = await swarm.donor(), await swarm.donor()
        swarm.at_piece(lost, number, getattr(lost, fault))
        assert_is(await download(swarm.joiner(), ids([lost, kept]), AT, PARAMETERS), STATE_7)
        assert swarm.bytes_sent[kept.peer_id] > swarm.bytes_sent[lost.peer_id]


async def test_more_donors_than_one_download_uses_stand_in_for_lost_ones() -> None:
    async with a_swarm() as swarm:
        gone = [await swarm.donor() for _ in range(MAX_DONORS)]
        last = await swarm.donor()
        for network in gone:
            network.kill()
        assert_is(await download(swarm.joiner(), ids([*gone, last]), AT, PARAMETERS), STATE_7)


async def test_what_has_arrived_is_kept_when_a_donor_has_a_short_break() -> None:
    """One donor, which refuses once in the middle: busy with others, say."""
    async with a_swarm() as swarm:
        donor = await swarm.donor()

        def refuse() -> None:
            raise Refused("not just now")

        swarm.at_piece(donor, 6, refuse)
        assert_is(await download(swarm.joiner(), ids([donor]), AT, PARAMETERS), STATE_7)
        assert swarm.bytes_sent[donor.peer_id] == STATE_BYTES, "no block was sent twice"


async def test_a_download_goes_on_after_all_its_donors_were_lost() -> None:
    async with a_swarm() as swarm:
        lost = [await swarm.donor(), await swarm.donor()]

        def kill_all() -> None:
            for network in lost:
                network.kill()

        swarm.at_piece(lost[0], 4, kill_all)
        joiner, unfinished = swarm.joiner(), a_download()
        with pytest.raises(Unreachable, match=r"\d blocks are missing: .*cannot be reached"):
            await unfinished.run(joiner, ids(lost))
        arrived = unfinished.progress.arrived
        assert 0 < arrived < STATE_BYTES
        with pytest.raises(Unreachable, match="blocks are missing: nobody holds them"):
            await unfinished.run(joiner, [])
        returned = await swarm.donor()
        assert_is(await unfinished.run(joiner, ids([returned])), STATE_7)
        assert swarm.bytes_sent[returned.peer_id] == STATE_BYTES - arrived, "only what was missing"


async def test_a_download_goes_on_over_a_new_network() -> None:
    """As when the libp2p daemon died: the same peer, other streams."""
    identity = PeerIdentity.generate()
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        unfinished = a_download()
        async with anyio.create_task_group() as tasks:

            async def begin(network: Network) -> None:
                await unfinished.run(network, ids([donor]))

            tasks.start_soon(begin, swarm.joiner(identity))
            swarm.at_piece(donor, 6, tasks.cancel_scope.cancel)
        arrived = unfinished.progress.arrived
        assert 0 < arrived < STATE_BYTES
        swarm.bytes_sent.clear()
        assert_is(await unfinished.run(swarm.joiner(identity), ids([donor])), STATE_7)
        assert swarm.bytes_sent[donor.peer_id] == STATE_BYTES - arrived, "only what was missing"


async def test_a_slow_donor_does_not_hold_up_the_end() -> None:
    """It has its share of the first requests; what it would take a minute for others send."""
    async with a_swarm() as swarm:
        slow, fast = await swarm.donor(rate=64 * 1024), await swarm.donor(rate=4e6)
        began = anyio.current_time()
        state = await download(swarm.joiner(), ids([slow, fast]), AT, PARAMETERS)
        assert_is(state, STATE_7)
        alone = STATE_BYTES / 4e6
        assert anyio.current_time() - began < alone + 10, "not the half minute of three slow blocks"
        assert swarm.bytes_sent.total() <= 2 * STATE_BYTES


# ---- donors that went on -----------------------------------------------------------------


async def test_a_state_that_is_gone_leads_to_the_new_head_on_the_same_stream() -> None:
    head = some_state(9)
    async with a_swarm() as swarm:
        donor = await swarm.donor([head, some_state(8)])
        late = a_download(head)
        assert_is(await late.run(swarm.joiner(), ids([donor])), head)
        assert late.wanted == position(head)


async def test_a_state_that_is_gone_is_not_replaced_by_what_nobody_vouches_for() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor([some_state(9), some_state(8)])
        with pytest.raises(Unreachable, match="it holds round 9 by now"):
            await a_download().run(swarm.joiner(), ids([donor]))
        assert not swarm.bytes_sent


async def test_a_download_that_has_begun_stays_with_its_state_while_somebody_gives_it() -> None:
    head = some_state(9)
    async with a_swarm() as swarm:
        gone, keeps = await swarm.donor([head]), await swarm.donor([STATE_7], rate=1e6)
        begun = a_download(head)
        with anyio.move_on_after(1):
            await begun.run(swarm.joiner(), ids([keeps]))
        assert begun.progress.arrived > 0
        assert_is(await begun.run(swarm.joiner(), ids([gone, keeps])), STATE_7)
        assert not swarm.bytes_sent[gone.peer_id]


async def test_what_has_arrived_goes_when_its_state_is_nowhere_any_more() -> None:
    head = some_state(9)
    async with a_swarm() as swarm:
        first, second = await swarm.donor(rate=1e6), await swarm.donor([head])
        begun = a_download(head)
        with anyio.move_on_after(1):
            await begun.run(swarm.joiner(), ids([first]))
        first.kill()
        assert begun.progress.arrived > 0
        with pytest.raises(Unreachable):
            await begun.run(swarm.joiner(), ids([first]))
        assert_is(await begun.run(swarm.joiner(), ids([second])), head)


async def test_a_joiner_that_waits_while_rounds_commit_ends_on_a_new_one() -> None:
    """Its turn comes when the state that it came for is long gone."""
    held = [some_state(8), some_state(7)]
    async with a_swarm() as swarm:
        donor = await swarm.serving(Donor(lambda: held, lambda: 2e6).handlers())
        done: list[int] = []

        async def choose(offers: Sequence[Position]) -> Position | None:
            return position(held[0])

        async def join(network: Network, wanted: Position) -> None:
            it = Download(wanted, PARAMETERS, choose, lambda progress: None)
            done.append((await it.run(network, ids([donor]))).round)

        async with anyio.create_task_group() as tasks:
            for _ in range(SLOTS):
                tasks.start_soon(join, swarm.joiner(), position(held[0]))
            await anyio.sleep(1)
            tasks.start_soon(join, swarm.joiner(), position(held[1]))
            await anyio.sleep(1)
            held[:] = [some_state(10), some_state(9)]
        assert done == [8] * SLOTS + [10]


# ---- what it says ------------------------------------------------------------------------


async def test_progress_is_told_block_by_block() -> None:
    told: list[Progress] = []
    async with a_swarm() as swarm:
        donors = [await swarm.donor(rate=1e6) for _ in range(3)]
        await a_download(told=told).run(swarm.joiner(), ids(donors))
    arrived = [it.arrived for it in told]
    assert arrived == sorted(arrived)
    assert len(set(arrived)) == block_count(PARAMETERS) + 1
    assert told[-1].fraction == 1
    texts = [it.describe() for it in told]
    assert any("downloading the state of round 7: " in it and "from 3 peers" in it for it in texts)


async def test_a_place_in_a_queue_is_told_and_counts_down() -> None:
    told: list[Progress] = []
    async with a_swarm() as swarm:
        donor = await swarm.donor(rate=1e6)

        async def get(network: Network) -> None:
            await download(network, ids([donor]), AT, PARAMETERS)

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(get, swarm.joiner())
            await anyio.sleep(1)
            tasks.start_soon(a_download(told=told).run, swarm.joiner(), ids([donor]))
    positions = [it.waiting[0].position for it in told if it.waiting]
    assert positions == sorted(positions, reverse=True)
    assert set(positions) == {3, 2, 1}
    first = next(it for it in told if it.waiting)
    name = donor.peer_id[-8:]
    assert first.describe() == (
        f"waiting for a turn to download the state of round 7: 3rd of 3 at {name}"
    )


async def test_a_queue_that_stands_still_is_left_where_others_are_willing() -> None:
    """Four liars let a joiner wait; there is a fifth donor that would not."""

    async with a_swarm() as swarm:
        stuck = [await _stuck(swarm) for _ in range(MAX_DONORS)]
        honest = await swarm.donor()
        with anyio.fail_after(1000):
            state = await download(swarm.joiner(), ids([*stuck, honest]), AT, PARAMETERS)
        assert_is(state, STATE_7)


async def _stuck(swarm: Swarm) -> MemoryNetwork:
    async def never(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        while True:
            await stream.send(turn_message(1, 1), 5)
            await anyio.sleep(2)

    return await swarm.serving({STATE: never})
