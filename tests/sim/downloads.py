"""Donors and joiners on one hub, for the stories of state downloads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import numpy as np

from peer.averaging.state import STATE_BLOCK_BYTES, GlobalState
from peer.membership import Position
from peer.swarm.interface import Handler, Method
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from peer.transfer.donor import Donor
from peer.transfer.messages import STATE
from swarmpb.signing import PeerIdentity

BLOCK_VALUES = STATE_BLOCK_BYTES // 4
PARAMETERS = 3 * BLOCK_VALUES + 1000
"""Four blocks of parameters and four of momentum; the last of each is a short one."""
IDENTITIES = [PeerIdentity.generate() for _ in range(7)]


def some_state(round_: int = 7, parameters: int = PARAMETERS) -> GlobalState:
    values = np.random.default_rng(round_).standard_normal(2 * parameters, np.float32)
    parents, coverage = (bytes([round_]) * 32,), b"chunks" * round_
    return GlobalState(
        round_, 1000 * round_, values[:parameters], values[parameters:], parents, coverage
    )


STATE_7 = some_state()
AT = Position(STATE_7.round, STATE_7.digest)


def position(state: GlobalState) -> Position:
    return Position(state.round, state.digest)


class Swarm:
    """Donors and joiners; counts the bytes of state that each peer sends."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.bytes_sent: Counter[str] = Counter()
        """Of blocks only."""
        self.watch: Callable[[Crossing], None] = lambda crossing: None
        """Sees every piece of a block, and may act."""
        self._identities = iter(IDENTITIES)
        hub.tap = self._tap

    def _tap(self, crossing: Crossing) -> None:
        if crossing.method != STATE.name or crossing.data < 1000:
            return  # a message, or the digests
        self.watch(crossing)
        self.bytes_sent[crossing.sender] += crossing.data

    def joiner(self, identity: PeerIdentity | None = None) -> MemoryNetwork:
        return self.hub.join(identity or next(self._identities, None))

    async def donor(
        self, states: Sequence[GlobalState] = (STATE_7,), rate: float = math.inf
    ) -> MemoryNetwork:
        return await self.serving(Donor(lambda: states, lambda: rate).handlers())

    async def serving(self, handlers: dict[Method[Any, Any], Handler]) -> MemoryNetwork:
        network = self.joiner()
        await network.serve(handlers)
        return network

    def at_piece(self, sender: MemoryNetwork, number: int, act: Callable[[], Any]) -> None:
        """Do `act` when `sender` is about to send its `number`-th piece (half a block, mostly)."""
        seen = 0

        def watch(crossing: Crossing) -> None:
            nonlocal seen
            if crossing.sender == sender.peer_id:
                seen += 1
                if seen == number + 1:
                    act()

        self.watch = watch


@asynccontextmanager
async def a_swarm() -> AsyncIterator[Swarm]:
    async with anyio.create_task_group() as tasks:
        yield Swarm(Hub(tasks))
        tasks.cancel_scope.cancel()


def ids(networks: Sequence[MemoryNetwork]) -> list[str]:
    return [network.peer_id for network in networks]


def assert_is(state: GlobalState, expected: GlobalState) -> None:
    assert state.header == expected.header
    assert state.coverage == expected.coverage
    np.testing.assert_array_equal(state.parameters, expected.parameters)
    np.testing.assert_array_equal(state.momentum, expected.momentum)
