"""What a donor gives, to whom, how fast, and what it costs it; in simulated time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from peer.averaging.state import STATE_BLOCK_BYTES, GlobalState
from peer.membership import Position
from peer.swarm.interface import Network, Refused, Stream, Unreachable
from peer.swarm.memory import Crossing, MemoryNetwork
from peer.transfer.donor import Donor
from peer.transfer.download import Download, download
from peer.transfer.messages import (
    BLOCK_SECONDS,
    BLOCKS_A_REQUEST,
    MAX_OFFERS,
    STATE,
    TURN_SECONDS,
    ask_for_blocks,
    ask_for_state,
)
from peer.transfer.pins import LINGER_SECONDS, MOST_PINNED
from peer.transfer.turns import MOST_WAITING, SLOTS
from swarmpb.v1 import swarm_pb2
from tests.sim.downloads import (
    AT,
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


async def named(stream: Stream, state: GlobalState = STATE_7) -> swarm_pb2.StateReply:
    """Name a state and hear what the donor says to it."""
    await stream.send(ask_for_state(position(state), described=True), 5)
    reply: swarm_pb2.StateReply = await stream.receive(5)
    return reply


async def blocks_of(stream: Stream, indexes: Iterable[int]) -> None:
    """Ask for blocks and read them all."""
    indexes = list(indexes)
    await stream.send(ask_for_blocks(indexes), 5)
    for index in indexes:
        into = bytearray(STATE_7.block(index))
        assert await stream.receive_data(memoryview(into), BLOCK_SECONDS) == len(into)


@asynccontextmanager
async def all_slots_taken(swarm: Swarm, donor: Network) -> AsyncIterator[list[Stream]]:
    """Streams of joiners that are served, and ask for nothing yet."""
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(SLOTS):
            opened = swarm.joiner().open(donor.peer_id, STATE, 5)
            streams.append(await stack.enter_async_context(opened))
            assert (await named(streams[-1])).HasField("description")
        yield streams


# ---- the cap, and fair shares ------------------------------------------------------------


async def test_the_cap_holds_whoever_asks() -> None:
    rate = 1e6
    async with a_swarm() as swarm:
        donor = await swarm.donor(rate=rate)
        began, sent = anyio.current_time(), 0

        def watch(crossing: Crossing) -> None:
            nonlocal sent
            sent += crossing.data
            assert sent <= rate * (anyio.current_time() - began) + STATE_BLOCK_BYTES + 1

        swarm.watch = watch

        async def get(network: Network) -> None:
            assert_is(await download(network, ids([donor]), AT, PARAMETERS), STATE_7)

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(get, swarm.joiner())
        assert sent == 6 * 8 * PARAMETERS
        took = anyio.current_time() - began
        assert took < 1.05 * sent / rate + TURN_SECONDS, "and all of the cap is used"


async def test_two_joiners_get_the_same_share_whatever_each_asks_for() -> None:
    """One asks for sixteen blocks at a time, the other for one; both want as much as they can."""
    counts = {1: 0, 16: 0}
    async with a_swarm() as swarm:
        donor = await swarm.donor(rate=STATE_BLOCK_BYTES * 2)

        async def ask(at_a_time: int) -> None:
            async with swarm.joiner().open(donor.peer_id, STATE, 5) as stream:
                await named(stream)
                while True:
                    await stream.send(ask_for_blocks([0] * at_a_time), 5)
                    into = memoryview(bytearray(STATE_BLOCK_BYTES))
                    for _ in range(at_a_time):
                        await stream.receive_data(into, 60)
                        counts[at_a_time] += 1

        with anyio.move_on_after(20):
            async with anyio.create_task_group() as tasks:
                for at_a_time in counts:
                    tasks.start_soon(ask, at_a_time)
        assert min(counts.values()) >= 19
        assert max(counts.values()) - min(counts.values()) <= 2


async def test_a_slow_cap_is_no_silence() -> None:
    """A block of a capped donor comes once a minute; it says that it lives."""
    async with a_swarm() as swarm:
        donor = await swarm.donor(rate=STATE_BLOCK_BYTES / 60)
        state = await download(swarm.joiner(), ids([donor]), AT, PARAMETERS)
        assert_is(state, STATE_7)


async def test_a_donor_that_is_allowed_next_to_nothing_says_so_and_others_are_asked() -> None:
    async with a_swarm() as swarm:
        stingy, other = await swarm.donor(rate=0.0), await swarm.donor()
        with pytest.raises(Unreachable, match="limits leave too little"):
            await download(swarm.joiner(), ids([stingy]), AT, PARAMETERS)
        assert_is(await download(swarm.joiner(), ids([stingy, other]), AT, PARAMETERS), STATE_7)


# ---- the queue ---------------------------------------------------------------------------


async def test_more_joiners_than_slots_all_get_the_state() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor(rate=1e6)
        left: dict[str, int] = {}
        most = 0

        def watch(crossing: Crossing) -> None:
            nonlocal most
            left[crossing.receiver] = left.get(crossing.receiver, 8 * PARAMETERS) - crossing.data
            most = max(most, sum(size > 0 for size in left.values()))

        swarm.watch = watch
        done = []

        async def get(network: Network) -> None:
            done.append(await download(network, ids([donor]), AT, PARAMETERS))

        async with anyio.create_task_group() as tasks:
            for _ in range(3 * SLOTS):
                tasks.start_soon(get, swarm.joiner())
        assert [state.digest for state in done] == [STATE_7.digest] * 3 * SLOTS
        assert most == SLOTS


async def test_a_place_in_the_queue_is_stated_every_two_seconds_and_counts_down() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with all_slots_taken(swarm, donor) as served, AsyncExitStack() as stack:
            waiting = []
            for place in range(1, 4):
                opened = swarm.joiner().open(donor.peer_id, STATE, 5)
                waiting.append(await stack.enter_async_context(opened))
                turn = (await named(waiting[-1])).turn
                assert (turn.position, turn.waiting) == (place, place)
            last = waiting[-1]
            again = await last.receive(TURN_SECONDS + 0.1)
            assert again.turn.position == 3
            await served[0].finish(5)
            moved = await last.receive(TURN_SECONDS + 0.1)
            assert (moved.turn.position, moved.turn.waiting) == (2, 2)
            await served[1].finish(5)
            await served[2].finish(5)
            while (reply := await last.receive(TURN_SECONDS + 0.1)).HasField("turn"):
                assert reply.turn.position <= 2
            assert reply.HasField("description")


async def test_beyond_a_full_queue_a_joiner_is_told_how_many_wait() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with all_slots_taken(swarm, donor), AsyncExitStack() as stack:
            for _ in range(MOST_WAITING):
                opened = swarm.joiner().open(donor.peer_id, STATE, 5)
                assert (await named(await stack.enter_async_context(opened))).HasField("turn")
            async with swarm.joiner().open(donor.peer_id, STATE, 5) as one_more:
                with pytest.raises(Refused, match=f"{MOST_WAITING} peers wait here already"):
                    await named(one_more)


async def test_a_joiner_that_hangs_up_in_the_queue_gives_its_place_up() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with all_slots_taken(swarm, donor):
            async with swarm.joiner().open(donor.peer_id, STATE, 5) as impatient:
                assert (await named(impatient)).turn.position == 1
            await anyio.sleep(0.1)
            async with swarm.joiner().open(donor.peer_id, STATE, 5) as patient:
                assert (await named(patient)).turn.position == 1


async def dies_in_silence(stream: Stream, joiner: MemoryNetwork) -> None:
    joiner.freeze()


async def asks_and_never_reads(stream: Stream, joiner: MemoryNetwork) -> None:
    await stream.send(ask_for_blocks(range(8)), 5)


@pytest.mark.parametrize("loses", [dies_in_silence, asks_and_never_reads])
async def test_a_slot_is_free_again_when_its_joiner_does_nothing_more(
    loses: Callable[[Stream, MemoryNetwork], Awaitable[None]],
) -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with AsyncExitStack() as stack:
            for _ in range(SLOTS):
                joiner = swarm.joiner()
                opened = joiner.open(donor.peer_id, STATE, 5)
                stream = await stack.enter_async_context(opened)
                await named(stream)
                await loses(stream, joiner)
            began = anyio.current_time()
            state = await download(swarm.joiner(), ids([donor]), AT, PARAMETERS)
            assert_is(state, STATE_7)
            assert anyio.current_time() - began <= BLOCK_SECONDS + 1


async def test_who_calls_again_goes_on_in_its_own_slot() -> None:
    """Its first stream is dead, which the donor has not noticed yet."""
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        joiner = swarm.joiner()
        async with joiner.open(donor.peer_id, STATE, 5) as dead:
            await named(dead)
            async with AsyncExitStack() as stack:
                for _ in range(SLOTS - 1):
                    opened = swarm.joiner().open(donor.peer_id, STATE, 5)
                    await named(await stack.enter_async_context(opened))
                async with joiner.open(donor.peer_id, STATE, 5) as alive:
                    assert (await named(alive)).HasField("description")
                    assert await dead.receive(5) is None, "the older one is over"
                    await blocks_of(alive, range(8))


async def test_who_broke_off_goes_before_the_others_that_wait() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        unlucky = swarm.joiner()
        async with unlucky.open(donor.peer_id, STATE, 5) as stream, AsyncExitStack() as stack:
            await named(stream)
            for _ in range(SLOTS - 1 + 3):
                opened = swarm.joiner().open(donor.peer_id, STATE, 5)
                await named(await stack.enter_async_context(opened))
            await anyio.sleep(BLOCK_SECONDS / 2)
            unlucky.freeze()
            await anyio.sleep(BLOCK_SECONDS / 2 + 1)
            unlucky.thaw()
            async with unlucky.open(donor.peer_id, STATE, 5) as again:
                assert (await named(again)).turn.position in (0, 1)


# ---- what it keeps -----------------------------------------------------------------------


async def test_a_state_stays_while_its_donor_commits_five_rounds() -> None:
    held = [STATE_7]
    donor = Donor(lambda: held, lambda: 1e6)
    async with a_swarm() as swarm:
        network = await swarm.serving(donor.handlers())
        rounds = iter(range(8, 13))

        def commit(crossing: Crossing) -> None:
            if (number := next(rounds, None)) is not None:
                held[:] = [some_state(number), held[0]]

        swarm.watch = commit
        assert_is(await download(swarm.joiner(), ids([network]), AT, PARAMETERS), STATE_7)
        assert [it.round for it in held] == [12, 11]


async def test_a_joiner_whose_connection_broke_finds_its_state_for_half_a_minute() -> None:
    held = [STATE_7]
    donor = Donor(lambda: held, lambda: 1e6)
    async with a_swarm() as swarm:
        network = await swarm.serving(donor.handlers())
        joiner = swarm.joiner()

        async def break_off() -> None:
            async with joiner.open(network.peer_id, STATE, 5) as stream:
                await named(stream)
                held[:] = [some_state(9), some_state(8)]
                assert donor.pinned_rounds() == [7]
                await stream.send(ask_for_blocks([0]), 5)
            await anyio.sleep(1)

        await break_off()
        await anyio.sleep(LINGER_SECONDS / 2)
        assert donor.pinned_rounds() == [7]
        async with joiner.open(network.peer_id, STATE, 5) as stream:
            assert (await named(stream)).HasField("description")
            await stream.finish(5)
            assert await stream.receive(5) is None
        await anyio.sleep(LINGER_SECONDS + 1)
        assert donor.pinned_rounds() == []
        async with joiner.open(network.peer_id, STATE, 5) as stream:
            reply = await named(stream)
            assert [it.round for it in reply.gone.states] == [9, 8]


async def test_twenty_joiners_of_twenty_states_cost_a_donor_no_more_than_two() -> None:
    """A round commits with each joiner that comes; the states that live are counted."""
    held: list[GlobalState] = [some_state(100, 1000)]
    made = [weakref.ref(held[0])]
    known = {position(held[0])}
    donor = Donor(lambda: held[:2], lambda: 2000.0)
    most, done = 0, []

    async with a_swarm() as swarm:
        network = await swarm.serving(donor.handlers())

        async def choose(offers: Sequence[Position]) -> Position:
            return max(known.intersection(offers), key=lambda it: it.round)

        async def get(joiner: Network) -> None:
            wanted = Download(position(held[0]), 1000, choose, lambda progress: None)
            done.append((await wanted.run(joiner, ids([network]))).round)

        async with anyio.create_task_group() as tasks:
            for round_ in range(101, 121):
                tasks.start_soon(get, swarm.joiner())
                await anyio.sleep(1)
                new = some_state(round_, 1000)
                made.append(weakref.ref(new))
                known.add(position(new))
                held[:] = [new, held[0]]
                del new
                gc.collect()
                most = max(most, sum(it() is not None for it in made))
                assert len(donor.pinned_rounds()) <= MOST_PINNED
        assert len(done) == 20
        assert len(set(done)) > 2, "not all of them took the same"
        assert most <= 2 + MOST_PINNED


# ---- what it refuses ---------------------------------------------------------------------


async def test_a_request_is_bounded() -> None:
    async with a_swarm() as swarm:
        donor, joiner = await swarm.donor(), swarm.joiner()
        for ask, words in [
            ([0] * (BLOCKS_A_REQUEST + 1), f"at most {BLOCKS_A_REQUEST} blocks"),
            ([8], "no block 8"),
        ]:
            async with joiner.open(donor.peer_id, STATE, 5) as stream:
                await named(stream)
                await stream.send(ask_for_blocks(ask), 5)
                with pytest.raises(Refused, match=words):
                    await stream.receive(5)


async def test_blocks_of_no_state_are_refused() -> None:
    async with a_swarm() as swarm:
        donor, joiner = await swarm.donor(), swarm.joiner()
        for request in (ask_for_blocks([0]), swarm_pb2.StateRequest()):
            async with joiner.open(donor.peer_id, STATE, 5) as stream:
                await stream.send(request, 5)
                with pytest.raises(Refused, match="name a state first"):
                    await stream.receive(5)


async def test_a_joiner_may_not_name_states_for_ever() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with swarm.joiner().open(donor.peer_id, STATE, 5) as stream:
            for _ in range(MAX_OFFERS):
                assert (await named(stream, some_state(3, 1))).HasField("gone")
            with pytest.raises(Refused, match="states on one stream"):
                await named(stream)


async def test_a_joiner_in_the_queue_has_nothing_to_say() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        async with (
            all_slots_taken(swarm, donor),
            swarm.joiner().open(donor.peer_id, STATE, 5) as pushy,
        ):
            await named(pushy)
            await pushy.send(ask_for_blocks([0]), 5)
            with pytest.raises(Unreachable, match="hung up"):
                await pushy.receive(5)
