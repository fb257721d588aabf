"""State download: a global state from several donors at once, each block checked before use."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from blake3 import blake3

from peer.averaging.codecs import FlatVector
from peer.averaging.state import (
    STATE_BLOCK_BYTES,
    GlobalState,
    block_count,
    block_place,
    header_of,
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

DESCRIBE = Method("state-description", swarm_pb2.StateRequest, swarm_pb2.StateDescription, 16 << 20)
BLOCKS = Method(
    "state-blocks", swarm_pb2.StateBlocksRequest, swarm_pb2.StateBlock, STATE_BLOCK_BYTES + 4096
)
BLOCKS_A_REQUEST = 16
MAX_DONORS = 4
"""Donors that one download uses at a time."""
TRIES_A_DONOR = 3
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
            parents=state.parents,
            coverage=state.coverage,
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
    # in any order: else the first few would serve every newcomer of a large swarm
    willing = deque(random.sample(donors, len(donors)))
    description = await _description(network, willing, at, parameters)
    incoming = _Incoming(description.block_digests, parameters)
    failures = _Failures()
    workers = min(MAX_DONORS, len(willing))
    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(_fetch, network, willing, workers, at, incoming, failures)
    if incoming.left:
        raise Unreachable(f"{incoming.left} blocks are missing: {failures.describe()}")
    return await anyio.to_thread.run_sync(_assemble, at, description, incoming)


async def _description(
    network: Network, donors: deque[str], at: Position, parameters: int
) -> swarm_pb2.StateDescription:
    """The digests of the state's blocks; strikes out of `donors` those that lie about them."""
    failures = _Failures()
    for donor in list(donors):
        request = swarm_pb2.StateRequest(round=at.round, digest=at.digest)
        try:
            description = await call(network, donor, DESCRIBE, request, BLOCK_SECONDS)
        except (Unreachable, Refused) as error:
            failures.add(donor, error)
            continue
        blocks = description.block_digests
        header = header_of(
            at.round,
            description.tokens,
            parameters,
            tuple(description.parents),
            description.coverage,
            blocks,
        )
        if len(blocks) == block_count(parameters) and header.digest == at.digest:
            return description
        donors.remove(donor)
        failures.add(donor, _WrongAnswer("its description does not fit the state"))
    raise Unreachable(failures.describe() or "nobody holds it")


class _WrongAnswer(Exception):
    """What a donor sent is not what was asked for."""


class _Failures:
    """How often each donor failed, and why at last."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def add(self, donor: str, error: Exception) -> int:
        """How often it has failed, this time included."""
        self._counts[donor] += 1
        self._reasons[donor] = str(error)
        return self._counts[donor]

    def describe(self) -> str:
        return "; ".join(f"{short(donor)}: {why}" for donor, why in self._reasons.items())


class _Incoming:
    """The blocks of a state as they arrive; each is checked against its digest."""

    def __init__(self, digests: Sequence[bytes], parameters: int) -> None:
        self._digests = list(digests)
        self._parameters = parameters
        self._bytes = bytearray(8 * parameters)
        self._not_asked_for = deque(range(len(digests)))
        self._news = anyio.Event()
        self.left = len(digests)
        """Blocks that have not arrived."""

    async def take(self, workers: int) -> list[int]:
        """One worker's next request; none when all has arrived.

        While the others are asked for all that is left, it waits: they may fail.
        """
        while self.left and not self._not_asked_for:
            await self._news.wait()
        share = max(1, len(self._not_asked_for) // workers)
        count = min(BLOCKS_A_REQUEST, share, len(self._not_asked_for))
        return [self._not_asked_for.popleft() for _ in range(count)]

    def give_back(self, blocks: Sequence[int]) -> None:
        """What has not arrived is anybody's again."""
        self._not_asked_for.extend(blocks)
        self._tell()

    def put(self, block: swarm_pb2.StateBlock) -> bool:
        """Keep a block that was asked for, if its bytes are the right ones."""
        start, stop = block_place(self._parameters, block.index)
        right = blake3(block.data).digest() == self._digests[block.index]
        if not right or len(block.data) != stop - start:
            return False
        self._bytes[start:stop] = block.data
        self.left -= 1
        if not self.left:
            self._tell()
        return True

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def values(self) -> FlatVector:
        """Parameters and, behind them, momentum; shape (2n,)."""
        return np.frombuffer(self._bytes, dtype="<f4").astype(np.float32, copy=False)


def _assemble(
    at: Position, description: swarm_pb2.StateDescription, incoming: _Incoming
) -> GlobalState:
    values = incoming.values()
    if not np.isfinite(values).all():
        raise Unreachable("the state has values that are not finite")
    size = values.size // 2
    parents, coverage = tuple(description.parents), description.coverage
    state = GlobalState(
        at.round, description.tokens, values[:size], values[size:], parents, coverage
    )
    if state.digest != at.digest:
        raise Unreachable("the blocks do not add up to the state")
    return state


async def _fetch(
    network: Network,
    donors: deque[str],
    workers: int,
    at: Position,
    incoming: _Incoming,
    failures: _Failures,
) -> None:
    """Get blocks from one donor after the other until none is missing or no donor is left."""
    while incoming.left and donors:
        donor = donors.popleft()
        try:
            while wanted := await incoming.take(workers):
                try:
                    await _get(network, donor, at, incoming, wanted)
                finally:
                    incoming.give_back(wanted)
        except _WrongAnswer as error:
            failures.add(donor, error)
        except (Unreachable, Refused) as error:
            # it may have been busy with other newcomers
            if failures.add(donor, error) < TRIES_A_DONOR:
                donors.append(donor)


async def _get(
    network: Network, donor: str, at: Position, incoming: _Incoming, wanted: list[int]
) -> None:
    """Ask for the blocks in `wanted`; takes out of it those that arrive."""
    request = swarm_pb2.StateBlocksRequest(round=at.round, digest=at.digest, blocks=wanted)
    async with network.open(donor, BLOCKS, BLOCK_SECONDS) as stream:
        await stream.send(request, BLOCK_SECONDS)
        while (block := await stream.receive(BLOCK_SECONDS)) is not None:
            if block.index not in wanted or not incoming.put(block):
                raise _WrongAnswer(f"it sent a wrong block {block.index}")
            wanted.remove(block.index)
    if wanted:
        raise Unreachable("stopped before the end")
