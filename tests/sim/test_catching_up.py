"""A peer finds out whether it is behind or was split off, whatever the others tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from peer import catching_up
from peer.averaging.lineage import header_message
from peer.averaging.methods import LINEAGE
from peer.averaging.state import GlobalState
from peer.catching_up import Apart, catch_up
from peer.events import Synchronise
from peer.fetching import Fetcher
from peer.membership import Position
from peer.swarm.interface import Refused, Unreachable, unary
from peer.work import LocalWork
from swarmpb.v1 import swarm_pb2
from tests.sim.swarm import SimulatedPeer, simulated_swarm
from tests.sim.test_split import go_apart

pytestmark = pytest.mark.anyio


class NoFetcher:
    """Nothing may be downloaded: it would take the place of what this half has merged."""

    async def fetch(self, *_: Any) -> GlobalState:
        raise AssertionError("the half's own rounds are given up")


@dataclass
class Work:
    """As much of `LocalWork` as catching up needs."""

    peer: SimulatedPeer
    trainer: object = object()
    has_state = True

    @property
    def state(self) -> GlobalState:
        return self.peer.state

    @contextmanager
    def moving(self) -> Iterator[None]:
        yield


async def catches_up(peer: SimulatedPeer, *holders: SimulatedPeer) -> None:
    state = holders[0].state
    wanted = Synchronise(Position(state.round, state.digest), tuple(it.name for it in holders))
    fetcher, work = cast(Fetcher, NoFetcher()), cast(LocalWork, Work(peer))
    await catch_up(peer.rounds, work, fetcher, wanted)


def tells(liar: SimulatedPeer, headers: int) -> None:
    """Of its lineage, no more than this."""

    async def lie(caller: str, request: swarm_pb2.LineageRequest) -> swarm_pb2.Lineage:
        if not headers:
            raise Refused("not today")
        told = liar.rounds.history.lineage.newest_first(request.digest, headers)
        return swarm_pb2.Lineage(headers=[header_message(it) for it in told])

    liar.network._handlers[LINEAGE.name] = (LINEAGE, unary(lie))


async def test_one_holder_that_hides_the_split_does_not_cost_the_smaller_half_its_rounds() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        tells(swarm.peers[0], 1)
        with pytest.raises(Apart):
            await catches_up(swarm.peers[3], *swarm.peers[:3])


async def test_a_half_does_not_give_up_its_rounds_because_nobody_answers() -> None:
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm)
        for peer in swarm.peers[:3]:
            tells(peer, 0)
        with pytest.raises(Unreachable, match="nobody tells"):
            await catches_up(swarm.peers[3], *swarm.peers[:3])


async def test_a_half_that_is_far_ahead_of_the_larger_one_finds_where_they_parted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catching_up, "LEAST_HEADERS", 2)
    async with simulated_swarm(5) as swarm:
        await go_apart(swarm, larger=3, smaller=6)
        with pytest.raises(Apart) as parted:
            await catches_up(swarm.peers[3], *swarm.peers[:3])
        assert parted.value.common.round == 1
