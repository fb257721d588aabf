"""State download on a network in memory, with donors that die, lie, or are overrun."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import numpy as np
import pytest
from blake3 import blake3

from peer import transfer
from peer.averaging.state import STATE_BLOCK_BYTES, GlobalState, block_count, header_of
from peer.membership import Position
from peer.swarm.interface import Handler, Method, Refused, Stream, Unreachable, call
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from peer.transfer import (
    BLOCKS,
    BLOCKS_A_REQUEST,
    DESCRIBE,
    MAX_DONORS,
    SERVED_AT_ONCE,
    Donor,
    download,
)
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import swarm_pb2

pytestmark = pytest.mark.anyio

BLOCK_VALUES = STATE_BLOCK_BYTES // 4
PARAMETERS = 3 * BLOCK_VALUES + 1000
"""Four blocks of parameters and four of momentum; the last of each is a short one."""
IDENTITIES = [PeerIdentity.generate() for _ in range(7)]


def some_state(round_: int = 7, parameters: int = PARAMETERS) -> GlobalState:
    values = np.random.default_rng(round_).standard_normal(2 * parameters, np.float32)
    return GlobalState(round_, 1000 * round_, values[:parameters], values[parameters:])


STATE = some_state()
AT = Position(STATE.round, STATE.digest)


class Swarm:
    """Donors and newcomers on one hub; counts the blocks that each peer sends."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.blocks_sent: Counter[str] = Counter()
        self._identities = iter(IDENTITIES)
        hub.tap = self._count

    def _count(self, crossing: Crossing) -> None:
        if crossing.method == BLOCKS.name and crossing.is_reply:
            self.blocks_sent[crossing.sender] += 1

    def newcomer(self) -> MemoryNetwork:
        return self.hub.join(next(self._identities))

    async def donor(self, states: Sequence[GlobalState] = (STATE,)) -> MemoryNetwork:
        return await self.serving(Donor(lambda: states).handlers())

    async def serving(self, handlers: dict[Method[Any, Any], Handler]) -> MemoryNetwork:
        network = self.newcomer()
        await network.serve(handlers)
        return network

    def at_block(self, sender: MemoryNetwork, number: int, act: Any) -> None:
        """Do `act` when `sender` is about to send its `number`-th block of a stream."""

        def tap(crossing: Crossing) -> None:
            at = (crossing.sender, crossing.method, crossing.number)
            if at == (sender.peer_id, BLOCKS.name, number) and crossing.is_reply:
                self.hub.tap = self._count
                act()
            self._count(crossing)

        self.hub.tap = tap


@asynccontextmanager
async def a_swarm() -> AsyncIterator[Swarm]:
    async with anyio.create_task_group() as tasks:
        yield Swarm(Hub(tasks))
        tasks.cancel_scope.cancel()


def ids(networks: Sequence[MemoryNetwork]) -> list[str]:
    return [network.peer_id for network in networks]


def assert_is(state: GlobalState, expected: GlobalState) -> None:
    assert (state.round, state.tokens, state.digest) == (
        expected.round,
        expected.tokens,
        expected.digest,
    )
    np.testing.assert_array_equal(state.parameters, expected.parameters)
    np.testing.assert_array_equal(state.momentum, expected.momentum)


@pytest.mark.parametrize("count", [1, 2, MAX_DONORS])
async def test_the_state_comes_from_all_donors_together(count: int) -> None:
    async with a_swarm() as swarm:
        donors = [await swarm.donor() for _ in range(count)]
        state = await download(swarm.newcomer(), ids(donors), AT, PARAMETERS)
        assert_is(state, STATE)
        assert set(swarm.blocks_sent) == set(ids(donors)), "each of them helped"


@pytest.mark.parametrize("parameters", [1, 255, BLOCK_VALUES, BLOCK_VALUES + 1])
async def test_any_length_of_the_vectors_survives_the_trip(parameters: int) -> None:
    small = some_state(3, parameters)
    async with a_swarm() as swarm:
        donors = [await swarm.donor([small]) for _ in range(2)]
        at = Position(small.round, small.digest)
        assert_is(await download(swarm.newcomer(), ids(donors), at, parameters), small)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest.mark.parametrize("number", [0, 1])
async def test_a_donor_lost_in_the_middle_is_replaced_by_the_others(
    fault: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the other one had nothing left to do at that moment."""
    monkeypatch.setattr(transfer, "BLOCK_SECONDS", 0.2)
    async with a_swarm() as swarm:
        lost, kept = await swarm.donor(), await swarm.donor()
        swarm.at_block(lost, number, getattr(lost, fault))
        with anyio.fail_after(20):
            state = await download(swarm.newcomer(), ids([lost, kept]), AT, PARAMETERS)
        assert_is(state, STATE)
        assert swarm.blocks_sent[kept.peer_id] > swarm.blocks_sent[lost.peer_id]


async def test_more_donors_than_one_download_uses_stand_in_for_lost_ones() -> None:
    async with a_swarm() as swarm:
        gone = [await swarm.donor() for _ in range(MAX_DONORS)]
        last = await swarm.donor()
        for network in gone:
            network.kill()
        state = await download(swarm.newcomer(), ids([*gone, last]), AT, PARAMETERS)
        assert_is(state, STATE)


async def test_newcomers_do_not_all_ask_the_same_donors() -> None:
    small = some_state(3, 1)
    async with a_swarm() as swarm:
        donors = [await swarm.donor([small]) for _ in range(MAX_DONORS + 2)]
        newcomer = swarm.newcomer()
        for _ in range(30):
            await download(newcomer, ids(donors), Position(small.round, small.digest), 1)
        assert set(swarm.blocks_sent) == set(ids(donors))


async def test_what_has_arrived_is_kept_when_a_donor_has_a_short_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One donor, which refuses once in the middle: busy with others, say."""
    async with a_swarm() as swarm:
        donor = await swarm.donor()

        def refuse() -> None:
            raise Refused("too many downloads are under way here")

        swarm.at_block(donor, 3, refuse)
        assert_is(await download(swarm.newcomer(), ids([donor]), AT, PARAMETERS), STATE)
        blocks = block_count(PARAMETERS)
        assert swarm.blocks_sent[donor.peer_id] <= blocks + 3, "no block was sent twice"


# ---- donors that lie ---------------------------------------------------------------------


def corrupt_donor(how: str) -> dict[Method[Any, Any], Handler]:
    """Describes the state well, and sends wrong blocks."""
    handlers = Donor(lambda: [STATE]).handlers()

    async def send_corrupt(caller: str, stream: Stream) -> None:
        request = await stream.receive(5)
        for index in request.blocks:
            data, named = bytearray(STATE.block(index)), index
            if how == "flipped":
                data[-1] ^= 1
            elif how == "short":
                data = data[:-4]
            elif how == "long":
                data += b"1234"
            elif how == "not asked for":
                named = 10**6
            else:
                named = request.blocks[0]
            await stream.send(swarm_pb2.StateBlock(index=named, data=bytes(data)), 5)

    return {**handlers, BLOCKS: send_corrupt}


@pytest.mark.parametrize("how", ["flipped", "short", "long", "not asked for", "the same again"])
async def test_a_donor_of_corrupt_blocks_is_dropped_and_the_state_is_right(how: str) -> None:
    async with a_swarm() as swarm:
        bad, good = await swarm.serving(corrupt_donor(how)), await swarm.donor()
        state = await download(swarm.newcomer(), ids([bad, good]), AT, PARAMETERS)
        assert_is(state, STATE)


async def test_corrupt_donors_alone_give_nothing() -> None:
    async with a_swarm() as swarm:
        donors = [await swarm.serving(corrupt_donor("flipped")) for _ in range(3)]
        with pytest.raises(Unreachable, match=r"8 blocks are missing: .*wrong block"):
            await download(swarm.newcomer(), ids(donors), AT, PARAMETERS)
        assert sum(swarm.blocks_sent.values()) <= 3 * BLOCKS_A_REQUEST, "each was asked once"


@pytest.mark.parametrize(
    "lie",
    [
        {"tokens": STATE.tokens + 1},
        {"tokens": 2**64 - 1},
        {"block_digests": list(STATE.block_digests[:-1])},
        {"block_digests": [*STATE.block_digests, bytes(32)]},
        {"block_digests": [bytes(32), *STATE.block_digests[1:]]},
        {"block_digests": []},
        {"parents": [bytes(32)]},
        {"coverage": b"all of it"},
    ],
)
async def test_a_description_that_does_not_fit_the_digest_is_not_believed(
    lie: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.transfer.random.sample", lambda donors, count: list(donors))
    truth: dict[str, Any] = {
        "round": STATE.round,
        "tokens": STATE.tokens,
        "block_digests": STATE.block_digests,
    }

    async def describe(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        await stream.send(swarm_pb2.StateDescription(**(truth | lie)), 5)

    async with a_swarm() as swarm:
        liar = await swarm.serving({**corrupt_donor("flipped"), DESCRIBE: describe})
        with pytest.raises(Unreachable, match="does not fit the state"):
            await download(swarm.newcomer(), ids([liar]), AT, PARAMETERS)
        donor = await swarm.donor()
        state = await download(swarm.newcomer(), ids([liar, donor]), AT, PARAMETERS)
        assert_is(state, STATE)
        assert set(swarm.blocks_sent) == {donor.peer_id}, "the liar was not asked for blocks"


async def test_a_model_of_another_size_is_refused_before_memory_is_taken_for_it() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        with pytest.raises(Unreachable, match="does not fit the state"):
            await download(swarm.newcomer(), ids([donor]), AT, PARAMETERS - 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_a_made_up_state_that_is_not_finite_is_refused(value: float) -> None:
    """Its digest fits: the liar has put it into its own record."""
    vector = np.zeros(1000, np.float32)
    vector[3] = value
    poisoned = GlobalState(10**12, 5, vector, np.zeros(1000, np.float32))
    async with a_swarm() as swarm:
        donor = await swarm.donor([poisoned])
        at = Position(poisoned.round, poisoned.digest)
        with pytest.raises(Unreachable, match="not finite"):
            await download(swarm.newcomer(), ids([donor]), at, 1000)


async def test_blocks_of_a_made_up_length_cannot_reshape_the_state() -> None:
    """The liar's digest is that of blocks which are one byte too long."""
    data = bytes(4001)
    blocks = [blake3(data).digest()] * 2
    digest = header_of(9, 0, 1000, (), b"", blocks).digest

    async def describe(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        await stream.send(swarm_pb2.StateDescription(round=9, block_digests=blocks), 5)

    async def send(caller: str, stream: Stream) -> None:
        request = await stream.receive(5)
        for index in request.blocks:
            await stream.send(swarm_pb2.StateBlock(index=index, data=data), 5)

    async with a_swarm() as swarm:
        liar = await swarm.serving({DESCRIBE: describe, BLOCKS: send})
        with pytest.raises(Unreachable, match="wrong block"):
            await download(swarm.newcomer(), ids([liar]), Position(9, digest), 1000)


# ---- what a donor does -------------------------------------------------------------------


async def test_more_newcomers_than_turns_all_get_the_state() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        serving: set[str] = set()
        most = 0

        def count(crossing: Crossing) -> None:
            nonlocal most
            if crossing.method != BLOCKS.name or not crossing.is_reply:
                return
            serving.add(crossing.receiver)
            most = max(most, len(serving))
            if crossing.number == block_count(PARAMETERS):
                serving.discard(crossing.receiver)  # the end of its stream

        swarm.hub.tap = count
        newcomers = [swarm.newcomer() for _ in range(3 * SERVED_AT_ONCE)]
        states = {}

        async def get(network: MemoryNetwork) -> None:
            states[network.peer_id] = await download(network, ids([donor]), AT, PARAMETERS)

        async with anyio.create_task_group() as tasks:
            for network in newcomers:
                tasks.start_soon(get, network)
        assert [states[it.peer_id].digest for it in newcomers] == [STATE.digest] * len(newcomers)
        assert most <= SERVED_AT_ONCE


async def test_a_newcomer_that_waits_too_long_for_its_turn_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "BLOCK_SECONDS", 0.2)
    async with a_swarm() as swarm:
        donor, busy, late = await swarm.donor(), swarm.newcomer(), swarm.newcomer()
        request = swarm_pb2.StateBlocksRequest(digest=STATE.digest, blocks=list(range(8)))
        async with (
            busy.open(donor.peer_id, BLOCKS, 5) as first,
            busy.open(donor.peer_id, BLOCKS, 5) as second,
        ):
            for stream in (first, second):  # they do not read on: both turns are taken
                await stream.send(request, 5)
                await stream.receive(5)
            with pytest.raises(Refused, match="too many downloads"):
                await call(late, donor.peer_id, BLOCKS, request, 5)
        monkeypatch.setattr(transfer, "BLOCK_SECONDS", 5)
        assert_is(await download(late, ids([donor]), AT, PARAMETERS), STATE)


async def test_an_unknown_state_is_refused() -> None:
    async with a_swarm() as swarm:
        donor, newcomer = await swarm.donor(), swarm.newcomer()
        describe = swarm_pb2.StateRequest(round=7, digest=bytes(32))
        with pytest.raises(Refused, match="does not hold that state"):
            await call(newcomer, donor.peer_id, DESCRIBE, describe, 5)
        blocks = swarm_pb2.StateBlocksRequest(round=7, digest=bytes(32), blocks=[0])
        with pytest.raises(Refused, match="does not hold that state"):
            await call(newcomer, donor.peer_id, BLOCKS, blocks, 5)
        with pytest.raises(Unreachable, match="does not hold that state"):
            await download(newcomer, ids([donor]), Position(7, bytes(32)), PARAMETERS)


async def test_a_request_is_bounded() -> None:
    async with a_swarm() as swarm:
        donor, newcomer = await swarm.donor(), swarm.newcomer()
        many = swarm_pb2.StateBlocksRequest(digest=STATE.digest, blocks=[0] * 17)
        with pytest.raises(Refused, match=f"at most {BLOCKS_A_REQUEST} blocks"):
            await call(newcomer, donor.peer_id, BLOCKS, many, 5)
        none_such = swarm_pb2.StateBlocksRequest(digest=STATE.digest, blocks=[8])
        with pytest.raises(Refused, match="no block 8"):
            await call(newcomer, donor.peer_id, BLOCKS, none_such, 5)


async def test_a_download_goes_on_while_its_donor_commits_the_next_round() -> None:
    held = [STATE]
    async with a_swarm() as swarm:
        donor = await swarm.serving(Donor(lambda: list(held)).handlers())
        swarm.at_block(donor, 2, lambda: held.insert(0, some_state(8)))
        assert_is(await download(swarm.newcomer(), ids([donor]), AT, PARAMETERS), STATE)


async def test_nobody_to_ask_is_unreachable() -> None:
    async with a_swarm() as swarm:
        with pytest.raises(Unreachable, match="nobody holds it"):
            await download(swarm.newcomer(), [], AT, PARAMETERS)
