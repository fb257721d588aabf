"""State download: a global state from several donors at once, each block checked before use."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import numpy as np

from peer.averaging.codecs import FlatVector
from peer.averaging.state import (
    STATE_BLOCK_BYTES,
    GlobalState,
    block_count,
    block_place,
    state_digest,
)
from peer.membership import Position
from peer.swarm.interface import (
    Handler,
    Method,
    Network,
    Refused,
    Stream,
    Unreachable,
    call,
    short,
    unary,
)
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

DESCRIBE = Method("state-description", swarm_pb2.StateRequest, swarm_pb2.StateDescription, 16 << 20)
BLOCKS = Method(
    "state-blocks", swarm_pb2.StateBlocksRequest, swarm_pb2.StateBlock, STATE_BLOCK_BYTES + 4096
)
BLOCKS_A_REQUEST = 16
MAX_DONORS = 4
SERVED_AT_ONCE = 2
"""Requests that one donor serves at a time; the others wait for their turn, request by request."""
BLOCK_SECONDS = 20.0
"""A donor that takes longer for a block is given up: 512 KiB in it is 0.2 Mbit/s."""


class Donor:
    """Serves the states that this peer holds."""

    def __init__(self, states: Callable[[], Sequence[GlobalState]]) -> None:
        self._states = states
        self._turns = anyio.Semaphore(SERVED_AT_ONCE)

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """The streams that this peer answers."""
        return {DESCRIBE: unary(self._describe), BLOCKS: self._send_blocks}

    def _state(self, digest: bytes) -> GlobalState:
        for state in self._states():
            if state.digest == digest:
                return state
        raise Refused("this peer does not hold that state any more")

    async def _describe(
        self, caller: str, request: swarm_pb2.StateRequest
    ) -> swarm_pb2.StateDescription:
        state = self._state(request.digest)
        return swarm_pb2.StateDescription(
            round=state.round,
            tokens=state.tokens,
            parameters=state.parameters.size,
            block_digests=state.block_digests,
        )

    async def _send_blocks(self, caller: str, stream: Stream) -> None:
        request = await stream.receive(BLOCK_SECONDS)
        if request is None or len(request.blocks) > BLOCKS_A_REQUEST:
            raise Refused(f"ask for at most {BLOCKS_A_REQUEST} blocks")
        state = self._state(request.digest)
        try:
            with anyio.fail_after(BLOCK_SECONDS / 2):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Refused("too many downloads are under way here") from error
        try:
            for index in request.blocks:
                block = swarm_pb2.StateBlock(index=index, data=bytes(state.block(index)))
                await stream.send(block, BLOCK_SECONDS)
        except IndexError as error:
            raise Refused(str(error)) from error
        finally:
            self._turns.release()


async def download(
    network: Network, donors: Sequence[str], at: Position, parameters: int
) -> GlobalState:
    """The state `at`, from as many of `donors` as help; `Unreachable` if they cannot give it all.

    parameters: length of the flat vector; a donor's own word for it is not trusted.
    """
    description = await _description(network, donors, at, parameters)
    incoming = _Incoming(description.block_digests, parameters)
    reasons: list[str] = []
    async with anyio.create_task_group() as tasks:
        for donor in donors[:MAX_DONORS]:
            tasks.start_soon(_drain, network, donor, at, incoming, reasons)
    if incoming.missing:
        why = "; ".join(reasons) or "the donors stopped"
        raise Unreachable(f"{len(incoming.missing)} blocks are missing: {why}")
    state = await anyio.to_thread.run_sync(
        GlobalState, at.round, description.tokens, *incoming.vectors()
    )
    if state.digest != at.digest:
        raise Unreachable("the blocks do not add up to the state")
    return state


async def _description(
    network: Network, donors: Sequence[str], at: Position, parameters: int
) -> swarm_pb2.StateDescription:
    reasons = []
    for donor in donors:
        request = swarm_pb2.StateRequest(round=at.round, digest=at.digest)
        try:
            description = await call(network, donor, DESCRIBE, request, BLOCK_SECONDS)
        except (Unreachable, Refused) as error:
            reasons.append(str(error))
            continue
        blocks = description.block_digests
        digest = state_digest(at.round, description.tokens, parameters, blocks)
        if len(blocks) == block_count(parameters) and digest == at.digest:
            return description
        reasons.append("a description that does not fit the state")
    raise Unreachable("; ".join(reasons) or "nobody holds it")


class _Incoming:
    """The blocks of a state as they arrive; each is checked against its digest."""

    def __init__(self, digests: Sequence[bytes], parameters: int) -> None:
        self._digests = list(digests)
        self._parameters = parameters
        self._bytes = bytearray(8 * parameters)
        self.missing = deque(range(len(digests)))

    def take(self) -> list[int]:
        """Blocks that nobody has been asked for yet; give back what does not arrive."""
        return [self.missing.popleft() for _ in range(min(BLOCKS_A_REQUEST, len(self.missing)))]

    def put(self, block: swarm_pb2.StateBlock) -> bool:
        """Keep a block if its bytes are the right ones."""
        start, stop = block_place(self._parameters, block.index)
        if hashlib.sha256(block.data).digest() != self._digests[block.index]:
            return False
        self._bytes[start:stop] = block.data
        return True

    def vectors(self) -> tuple[FlatVector, FlatVector]:
        """Parameters and momentum, shape (n,) each."""
        values = np.frombuffer(self._bytes, dtype="<f4").astype(np.float32, copy=False)
        return values[: self._parameters], values[self._parameters :]


async def _drain(
    network: Network, donor: str, at: Position, incoming: _Incoming, reasons: list[str]
) -> None:
    """Get blocks from one donor until none is missing or the donor fails."""
    while wanted := incoming.take():
        try:
            await _get(network, donor, at, incoming, wanted)
        except (Unreachable, Refused) as error:
            reasons.append(f"{short(donor)}: {error}")
            return
        finally:
            incoming.missing.extend(wanted)  # what has not arrived is anybody's again


async def _get(
    network: Network, donor: str, at: Position, incoming: _Incoming, wanted: list[int]
) -> None:
    """Ask for the blocks in `wanted`; takes out of it those that arrive."""
    request = swarm_pb2.StateBlocksRequest(round=at.round, digest=at.digest, blocks=wanted)
    async with network.open(donor, BLOCKS, BLOCK_SECONDS) as stream:
        await stream.send(request, BLOCK_SECONDS)
        while (block := await stream.receive(BLOCK_SECONDS)) is not None:
            if block.index not in wanted or not incoming.put(block):
                raise Refused(f"sent a wrong block {block.index}")
            wanted.remove(block.index)
    if wanted:
        raise Unreachable("stopped before the end")
