"""State download from donors that lie: nothing of it is applied, and the honest ones suffice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import numpy as np
import pytest
from blake3 import blake3

from peer.averaging.lineage import header_message
from peer.averaging.state import GlobalState, header_of
from peer.membership import Position
from peer.swarm.interface import Handler, Method, Stream, Unreachable
from peer.transfer.download import download
from peer.transfer.messages import MAX_COVERAGE_BYTES, MAX_OFFERS, STATE, turn_message
from swarmpb.v1 import swarm_pb2
from tests.sim.downloads import AT, PARAMETERS, STATE_7, a_swarm, assert_is, ids, position

pytestmark = pytest.mark.anyio

Handlers = dict[Method[Any, Any], Handler]
TRUTH: dict[str, Any] = {
    "round": STATE_7.round,
    "tokens": STATE_7.tokens,
    "parameters": PARAMETERS,
    "parents": STATE_7.parents,
    "coverage_digest": STATE_7.header.coverage_digest,
    "blocks_digest": STATE_7.header.blocks_digest,
    "digests": b"".join(STATE_7.block_digests),
    "coverage": STATE_7.coverage,
    "coverage_bytes": len(STATE_7.coverage),
}


def liar(send: Callable[[Stream, int], Any], **lies: Any) -> Handlers:
    """Describes the state as `lies` have it; `send` is called for each block asked for."""

    async def serve(caller: str, stream: Stream) -> None:
        told = TRUTH | lies
        digests, coverage = told.pop("digests"), told.pop("coverage")
        size = told.pop("coverage_bytes")
        request = await stream.receive(5)
        description = swarm_pb2.StateDescription(
            header=swarm_pb2.StateHeader(**told), coverage_bytes=size
        )
        await stream.send(swarm_pb2.StateReply(description=description), 5)
        if not request.state.described:
            await stream.send_data(memoryview(digests), 5)
            await stream.send_data(memoryview(coverage), 5)
        while (request := await stream.receive(60)) is not None:
            for index in request.blocks.indexes:
                await send(stream, index)

    return {STATE: serve}


async def send_flipped(stream: Stream, index: int) -> None:
    data = bytearray(STATE_7.block(index))
    data[-1] ^= 1
    await stream.send_data(memoryview(data), 5)


async def send_short(stream: Stream, index: int) -> None:
    await stream.send_data(STATE_7.block(index)[:-4], 5)


async def send_long(stream: Stream, index: int) -> None:
    await stream.send_data(memoryview(bytes(STATE_7.block(index)) + b"1234"), 5)


async def send_the_first(stream: Stream, index: int) -> None:
    await stream.send_data(STATE_7.block(0)[: len(STATE_7.block(index))], 5)


async def send_another_message(stream: Stream, index: int) -> None:
    await stream.send(swarm_pb2.StateReply(gone=swarm_pb2.StateOffer()), 5)


async def send_nothing(stream: Stream, index: int) -> None:
    await stream.send(swarm_pb2.StateReply(), 5)


@pytest.mark.parametrize(
    "send",
    [
        send_flipped,
        send_short,
        send_long,
        send_another_message,
        send_nothing,
        send_the_first,
    ],
)
async def test_a_donor_of_corrupt_blocks_is_dropped_and_the_state_is_right(
    send: Callable[[Stream, int], Any],
) -> None:
    async with a_swarm() as swarm:
        bad, good = await swarm.serving(liar(send)), await swarm.donor(rate=1e6)
        assert_is(await download(swarm.joiner(), ids([bad, good]), AT, PARAMETERS), STATE_7)


async def test_corrupt_donors_alone_give_nothing() -> None:
    async with a_swarm() as swarm:
        donors = [await swarm.serving(liar(send_flipped)) for _ in range(3)]
        with pytest.raises(Unreachable, match=r"8 blocks are missing: .*wrong block"):
            await download(swarm.joiner(), ids(donors), AT, PARAMETERS)
        assert swarm.bytes_sent.total() <= 8 * PARAMETERS, "each was asked once"


async def test_a_donor_that_only_promises_is_given_up() -> None:
    """It says for ever that a block comes next."""

    async def promise(stream: Stream, index: int) -> None:
        while True:
            await stream.send(turn_message(0, 0), 5)
            await anyio.sleep(2)

    async with a_swarm() as swarm:
        donor = await swarm.serving(liar(promise))
        with pytest.raises(Unreachable, match="no block for too long"):
            await download(swarm.joiner(), ids([donor]), AT, PARAMETERS)


@pytest.mark.parametrize(
    "lie",
    [
        {"tokens": STATE_7.tokens + 1},
        {"tokens": 2**64 - 1},
        {"parents": [bytes(32)]},
        {"parents": [b"short"]},
        {"parents": [bytes(32)] * 3},
        {"digests": TRUTH["digests"][:-32]},
        {"digests": bytes(32) + TRUTH["digests"][32:]},
        {"digests": b""},
        {"blocks_digest": blake3(b"").digest(), "digests": b""},
        {"coverage": b"all of it!", "coverage_bytes": 10},
        {"coverage": b"", "coverage_bytes": 0},
        {"coverage_bytes": MAX_COVERAGE_BYTES + 1},
        {"coverage_bytes": 2**32 - 1},
    ],
)
async def test_a_description_that_does_not_fit_the_digest_is_not_believed(
    lie: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.transfer.download.random.sample", lambda donors, count: donors)
    async with a_swarm() as swarm:
        bad = await swarm.serving(liar(send_flipped, **lie))
        unfit = r"do(es)? not fit|more data than fits|odd|parents|large|digest|was silent"
        with pytest.raises(Unreachable, match=unfit):
            await download(swarm.joiner(), ids([bad]), AT, PARAMETERS)
        donor = await swarm.donor()
        assert_is(await download(swarm.joiner(), ids([bad, donor]), AT, PARAMETERS), STATE_7)
        assert set(swarm.bytes_sent) == {donor.peer_id}, "the liar was not asked for blocks"


async def test_a_model_of_another_size_is_refused_before_memory_is_taken_for_it() -> None:
    async with a_swarm() as swarm:
        donor = await swarm.donor()
        with pytest.raises(Unreachable, match="does not fit the state"):
            await download(swarm.joiner(), ids([donor]), AT, PARAMETERS - 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_a_made_up_state_that_is_not_finite_is_refused(value: float) -> None:
    """Its digest fits: the liar has put it into its own record."""
    vector = np.zeros(1000, np.float32)
    vector[3] = value
    poisoned = GlobalState(10**12, 5, vector, np.zeros(1000, np.float32))
    async with a_swarm() as swarm:
        donor = await swarm.donor([poisoned])
        with pytest.raises(Unreachable, match="not finite"):
            await download(swarm.joiner(), ids([donor]), position(poisoned), 1000)


async def test_blocks_of_a_made_up_length_cannot_reshape_the_state() -> None:
    """The liar's digest is that of blocks which are one byte too long."""
    data = bytes(4001)
    blocks = [blake3(data).digest()] * 2
    header = header_of(9, 0, 1000, (), b"", blocks)

    async def send(stream: Stream, index: int) -> None:
        await stream.send_data(memoryview(data), 5)

    message = header_message(header)
    made_up = {field.name: value for field, value in message.ListFields()}
    made_up |= {"tokens": 0, "parents": []}
    async with a_swarm() as swarm:
        bad = await swarm.serving(
            liar(send, **made_up, digests=b"".join(blocks), coverage=b"", coverage_bytes=0)
        )
        with pytest.raises(Unreachable, match=r"more data than fits|wrong block"):
            await download(swarm.joiner(), ids([bad]), Position(9, header.digest), 1000)


@pytest.mark.parametrize(
    "offer",
    [
        swarm_pb2.StateOffer(states=[swarm_pb2.StateName(digest=bytes(32))] * (MAX_OFFERS + 1)),
        swarm_pb2.StateOffer(states=[swarm_pb2.StateName(digest=b"short")]),
    ],
)
async def test_an_offer_of_nonsense_ends_the_talk(offer: swarm_pb2.StateOffer) -> None:
    async def serve(caller: str, stream: Stream) -> None:
        await stream.receive(5)
        await stream.send(swarm_pb2.StateReply(gone=offer), 5)
        await stream.receive(5)

    async with a_swarm() as swarm:
        bad = await swarm.serving({STATE: serve})
        with pytest.raises(Unreachable, match=r"on offer|odd length"):
            await download(swarm.joiner(), ids([bad]), AT, PARAMETERS)
