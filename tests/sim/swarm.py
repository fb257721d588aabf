"""Rounds among simulated peers: the real averaging code on a network in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import anyio
import numpy as np

from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.deadlines import Deadlines
from peer.averaging.leader import lead
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from swarmpb.signing import PeerIdentity
from swarmpb.spec import RunSpec
from tests.tiny import tiny_spec

PARAMETERS = 5 * 4096 + 300
SHORT = Deadlines(cut=1.0, roster=1.0, report=0.3, vote=0.5)
"""A simulated network answers in microseconds."""
IDENTITIES = sorted((PeerIdentity.generate() for _ in range(5)), key=lambda it: it.peer_id)


class SimulatedPeer:
    """A peer without a trainer: its inner work is whatever the test adds to `local`."""

    def __init__(self, network: MemoryNetwork, tokens: int) -> None:
        self.network = network
        zeros = np.zeros(PARAMETERS, np.float32)
        self._state = GlobalState(0, 0, zeros, zeros.copy())
        self.local = zeros.copy()
        self.tokens = tokens
        self.outcomes: list[Outcome] = []
        self.concluded = anyio.Event()
        self.lost_because = ""
        self.rounds: Rounds

    @property
    def name(self) -> str:
        return self.network.peer_id

    @property
    def state(self) -> GlobalState:
        return self._state

    def unwilling(self) -> str:
        return ""

    def began(self, leader: str) -> None:
        pass

    async def take_cut(self) -> LocalCut:
        return LocalCut(self.local.copy(), self.tokens, 1.0)

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        self._state = state
        self.local = self.local + shift
        self._note(outcome)

    async def start_over(self) -> None:
        pass

    async def conclude(self, outcome: Outcome) -> None:
        self._note(outcome)

    def fell_behind(self, reason: str) -> None:
        self.lost_because = reason
        self.concluded.set()

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.concluded.set()

    def trains(self, random: Random) -> FlatVector:
        """Inner work since the last round; returns the pseudo-gradient it stands for."""
        work = np.array([random.gauss(0, 1) for _ in range(PARAMETERS)], np.float32)
        self.local = self.local - work
        return work


class SimulatedSwarm:
    """Peers in the order of their ids: peer i owns part i of every roster of all of them."""

    def __init__(self, hub: Hub, peers: list[SimulatedPeer], random: Random) -> None:
        self.hub = hub
        self.peers = peers
        self.random = random

    async def round(self, leader: int = 0) -> None:
        """Everybody trains, one leads; returns when all peers that live have concluded."""
        for peer in self.peers:
            peer.trains(self.random)
        await self.attempt(leader)

    async def attempt(self, leader: int = 0) -> None:
        """One attempt at a round."""
        for peer in self.peers:
            peer.concluded = anyio.Event()
        chosen = self.peers[leader]
        others = [peer.name for peer in self.peers if peer is not chosen]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead, chosen.rounds, others)
        for peer in self.living():
            await peer.concluded.wait()

    def living(self) -> list[SimulatedPeer]:
        return [peer for peer in self.peers if peer.network.alive]

    def finished(self, round_: int) -> list[SimulatedPeer]:
        return [peer for peer in self.living() if peer.state.round == round_]

    def assert_agreement(self, round_: int) -> None:
        """Those that finished a round hold the same bits."""
        assert len({peer.state.digest for peer in self.finished(round_)}) == 1


Fault = Callable[[Crossing], None]


@asynccontextmanager
async def simulated_swarm(
    peers: int = 3, codec: str = "fp32", tokens: tuple[int, ...] = (), seed: int = 0
) -> AsyncIterator[SimulatedSwarm]:
    """A swarm with short deadlines; tokens: what each peer claims for a cut, 100 by default."""
    spec = tiny_spec(round={"codec": codec, "exchange_seconds": 1, "min_peers": 2})
    async with anyio.create_task_group() as tasks:
        hub = Hub(tasks)
        members = []
        for index in range(peers):
            network = hub.join(IDENTITIES[index])
            peer = SimulatedPeer(network, tokens[index] if tokens else 100)
            await _start(peer, spec, tasks, seed + index)
            members.append(peer)
        yield SimulatedSwarm(hub, members, Random(seed))
        tasks.cancel_scope.cancel()


async def _start(peer: SimulatedPeer, spec: RunSpec, tasks: anyio.abc.TaskGroup, seed: int) -> None:
    peer.rounds = Rounds(peer.network, spec, peer, tasks, time.monotonic, Random(seed), SHORT)
    await peer.network.serve(peer.rounds.handlers())
