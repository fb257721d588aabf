"""Rounds among simulated peers: the real averaging code on a network in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import anyio
import numpy as np

from peer.averaging import links, parts
from peer.averaging.answers import silence_seconds
from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import UNIT, FlatVector
from peer.averaging.deadlines import DEADLINES
from peer.averaging.leader import lead
from peer.averaging.local import Fate
from peer.averaging.manifest import Manifest
from peer.averaging.parts import Part
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState, outer_step
from peer.swarm.gate import OPEN, Gate
from peer.swarm.interface import Method, Refused, Stream
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from swarmpb.signing import PeerIdentity
from swarmpb.spec import RunSpec
from tests.tiny import tiny_spec

PARAMETERS = 11 * UNIT + 300
"""Twelve units, the last a short one: three owners have four parts each."""
EXCHANGE_SECONDS = 30.0
SILENCE = silence_seconds(EXCHANGE_SECONDS)
PROMPT = SILENCE + silence_seconds(EXCHANGE_SECONDS + DEADLINES.report) + 0.01
"""A round without a silent peer, whose report may be missing, is decided in so many seconds."""
IDENTITIES = sorted((PeerIdentity.generate() for _ in range(10)), key=lambda it: it.peer_id)


class ClientModeNetwork(MemoryNetwork):
    """Cannot be dialled."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return ()


class SimulatedPeer:
    """A peer without a trainer: its inner work is whatever the test adds to `local`."""

    def __init__(self, network: MemoryNetwork, tokens: int) -> None:
        self.network = network
        zeros = np.zeros(PARAMETERS, np.float32)
        self._state = GlobalState(0, 0, zeros, zeros.copy())
        self.local = zeros.copy()
        self.tokens = tokens
        self.unmerged = zeros.copy()
        """Inner work that is in no round so far, shape (n,)."""
        self.cut_work = zeros.copy()
        """Of that, what the last cut had."""
        self.recalled_outcomes: list[Outcome] = []
        """What it has heard of rounds that an earlier process was in."""
        self.resumed_tokens = 0
        """Of an earlier process, in rounds that it did not see."""
        self.resumed_settled = False
        self.outcomes: list[Outcome] = []
        self.called = anyio.Event()
        """An attempt has begun here."""
        self.concluded = anyio.Event()
        self.concluded_at = 0.0
        self.lost_because = ""
        self.unwilling_because = ""
        self.started_over = 0
        """How often its trainer had to go back to the global parameters."""
        self.rounds: Rounds

    @property
    def name(self) -> str:
        return self.network.peer_id

    @property
    def state(self) -> GlobalState:
        return self._state

    @property
    def busy(self) -> bool:
        """Whether an attempt is under way here."""
        return self.rounds._active is not None

    @property
    def reason(self) -> str:
        """Why its work is not, or not all, in the last round."""
        return self.outcomes[-1].reason

    def unwilling(self) -> str:
        return self.unwilling_because

    def began(self, leader: str) -> None:
        self.called.set()

    async def take_cut(self) -> LocalCut:
        self.cut_work = self.unmerged.copy()
        return LocalCut(self.local.copy(), self.tokens, 1.0)

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        self._take_out_what_is_in(self.manifest_of(state))
        self._state = state
        self.local = self.local + shift
        self._note(outcome)

    async def follow(
        self, state: GlobalState, shift: FlatVector, fate: Fate, outcome: Outcome | None
    ) -> None:
        if outcome is not None:
            assert outcome.manifest is not None
            self._take_out_what_is_in(outcome.manifest)
            self._note(outcome)
        if fate is Fate.DROPPED:
            self.unmerged -= self.cut_work
        self._state = state
        self.local = self.local + shift

    @property
    def holds_cut(self) -> bool:
        return True

    def recalled(self, outcome: Outcome) -> None:
        self.recalled_outcomes.append(outcome)

    def settle_resumed(self, tokens: int) -> None:
        self.resumed_tokens += tokens
        self.resumed_settled = True

    async def start_over(self) -> None:
        self.started_over += 1

    async def conclude(self, outcome: Outcome) -> None:
        self._note(outcome)

    def fell_behind(self, reason: str) -> None:
        self.lost_because = reason
        self.called.set()
        self._end()

    def _take_out_what_is_in(self, manifest: Manifest) -> None:
        for part in manifest.roster.parts:
            if self.name in included_in(manifest, part):
                self.unmerged[part.where] -= self.cut_work[part.where]

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._end()

    def _end(self) -> None:
        self.concluded_at = anyio.current_time()
        self.concluded.set()

    def trains(self, random: Random) -> FlatVector:
        """Inner work since the last round; returns the pseudo-gradient it stands for."""
        if not self.tokens:
            return np.zeros(PARAMETERS, np.float32)
        numbers = np.random.default_rng(random.getrandbits(64))
        work = numbers.standard_normal(PARAMETERS, np.float32)
        self.local = self.local - work
        self.unmerged = self.unmerged + work
        return work

    def manifest_of(self, state: GlobalState) -> Manifest:
        """The record of the round that led to a state."""
        kept = self.rounds.history.round_to(state.digest)
        assert kept is not None
        return kept.manifest

    @property
    def manifest(self) -> Manifest:
        """The record of the last round that this peer has finished."""
        return self.manifest_of(self.state)

    async def catches_up_with(self, other: SimulatedPeer) -> None:
        """What `peer.catching_up` does for a peer that is one round behind."""
        await self.rounds.missed.replay(other.name, other.state.digest)

    def assert_nothing_lost(self) -> None:
        """Local parameters are the global ones and, on top, all work that no round has."""
        expected = self.state.parameters - self.unmerged
        np.testing.assert_allclose(self.local, expected, atol=1e-4)


class SimulatedSwarm:
    """Peers in the order of their ids, which is that of every roster."""

    def __init__(self, hub: Hub, peers: list[SimulatedPeer], random: Random) -> None:
        self.hub = hub
        self.peers = peers
        self.random = random
        self.crossings: list[Crossing] = []
        """All that was sent since the last attempt began."""
        self.faults: list[Fault] = []
        """Called before each crossing."""
        self.began = 0.0
        hub.tap = self._tap

    def _tap(self, crossing: Crossing) -> None:
        self.crossings.append(crossing)
        for fault in self.faults:
            fault(crossing)

    async def round(self, leader: int = 0, without: Collection[int] = ()) -> None:
        """Everybody trains, one leads; see `attempt`."""
        for peer in self.peers:
            peer.trains(self.random)
        await self.attempt(leader, without)

    async def attempt(self, leader: int = 0, without: Collection[int] = ()) -> None:
        """One attempt at a round; returns when all have concluded it that live and were called.

        without: those that are not waited for.
        """
        for peer in self.peers:
            peer.called, peer.concluded = anyio.Event(), anyio.Event()
        self.crossings.clear()
        self.began = anyio.current_time()
        self.hub.tasks.start_soon(self._lead, self.peers[leader])
        with anyio.fail_after(300):
            for index, peer in enumerate(self.peers):
                if index in without or not peer.network.alive:
                    continue
                with anyio.move_on_after(2 * DEADLINES.cut):
                    await peer.called.wait()
                if peer.called.is_set():
                    await peer.concluded.wait()

    async def _lead(self, leader: SimulatedPeer) -> None:
        others = [peer.name for peer in self.peers if peer is not leader]
        try:
            await lead(leader.rounds, others)
        except Refused as refusal:
            leader.fell_behind(str(refusal))

    def seconds(self, *indexes: int) -> float:
        """Simulated seconds until these peers, or all, had concluded the last attempt."""
        peers = [self.peers[index] for index in indexes] or self.peers
        return max(peer.concluded_at for peer in peers) - self.began

    def sent(self, method: str) -> list[Crossing]:
        """What crossed on streams of a method since the last attempt began."""
        return [crossing for crossing in self.crossings if crossing.method == method]

    def living(self) -> list[SimulatedPeer]:
        return [peer for peer in self.peers if peer.network.alive]

    def finished(self, round_: int) -> list[SimulatedPeer]:
        return [peer for peer in self.living() if peer.state.round == round_]

    def assert_agreement(self, round_: int) -> None:
        """Those that finished a round hold the same bits."""
        assert len({peer.state.digest for peer in self.finished(round_)}) == 1

    def assert_made_of_the_work_in_it(self, base: GlobalState, index: int = 0) -> None:
        """The last round of a peer is the outer step on the mean of the work that it names."""
        state, manifest = self.peers[index].state, self.peers[index].manifest
        expected, momentum = base.parameters.copy(), base.momentum.copy()
        weights = dict(zip(manifest.roster.members, manifest.roster.weights, strict=True))
        for part in manifest.roster.parts:
            names = included_in(manifest, part)
            if not names:
                continue
            total = sum(weights[name] for name in names)
            gradient = np.zeros(part.values, np.float32)
            for peer in self.peers:
                if peer.name in names:
                    gradient += peer.cut_work[part.where] * np.float32(weights[peer.name] / total)
            old = (base.parameters[part.where], base.momentum[part.where])
            outer_step(old, gradient, 0.9, 0.5, (expected[part.where], momentum[part.where]))
        np.testing.assert_allclose(state.parameters, expected, atol=1e-4)
        np.testing.assert_allclose(state.momentum, momentum, atol=1e-4)


Fault = Callable[[Crossing], None]


def reads_slowly(peer: SimulatedPeer, seconds: float) -> None:
    """Each part's bytes that a peer takes from an owner cost it so much time."""
    opening = peer.network.open

    @asynccontextmanager
    async def open_slowly(
        other: str, method: Method[Any, Any], deadline: float
    ) -> AsyncIterator[Stream]:
        async with opening(other, method, deadline) as stream:
            receive_data = stream.receive_data

            async def take(into: memoryview, silence: float) -> int:
                await anyio.sleep(seconds)
                return await receive_data(into, silence)

            setattr(stream, "receive_data", take)  # noqa: B010  a fault, put in from outside
            yield stream

    setattr(peer.network, "open", open_slowly)  # noqa: B010


def included_in(manifest: Manifest, part: Part) -> set[str]:
    """The peers whose work is in a part of a round; nobody's, if it is void."""
    outcome = manifest.parts[part.index]
    return set() if outcome.void else {manifest.roster.members[it] for it in outcome.included}


def owned_by(manifest: Manifest, member: int) -> list[int]:
    """The parts that a member of a round's roster owns."""
    return [part.index for part in manifest.roster.parts if part.owner == member]


@asynccontextmanager
async def simulated_swarm(
    peers: int = 3,
    codec: str = "fp32",
    tokens: tuple[int, ...] = (),
    seed: int = 0,
    client_mode: Collection[int] = (),
    smallest_part: int = UNIT,
    star: bool = False,
    gate_of: Callable[[PeerIdentity], Gate] = lambda identity: OPEN,
) -> AsyncIterator[SimulatedSwarm]:
    """A swarm in which owners have several parts.

    tokens: what each peer claims for a cut, 100 by default; star: one peer may own everything,
    as usual in rounds with so few values; gate_of: whom each peer deals with.
    """
    with (
        patch.object(parts, "_SMALLEST_PART", smallest_part),
        patch.object(links, "STAR_SECONDS", 10.0 if star else 0.0),
    ):
        async with anyio.create_task_group() as tasks:
            hub = Hub(tasks)
            members = []
            for index in range(peers):
                kind = ClientModeNetwork if index in client_mode else MemoryNetwork
                network = kind(hub, IDENTITIES[index], gate_of(IDENTITIES[index]))
                hub.networks[network.peer_id] = network
                peer = SimulatedPeer(network, tokens[index] if tokens else 100)
                await _start(peer, spec_for(codec), tasks, seed + index)
                members.append(peer)
            swarm = SimulatedSwarm(hub, members, Random(seed))
            yield swarm
            tasks.cancel_scope.cancel()


def spec_for(codec: str) -> RunSpec:
    """The spec of a run whose rounds use a codec."""
    sections: dict[str, Any] = {
        "codec": codec,
        "exchange_seconds": EXCHANGE_SECONDS,
        "min_peers": 2,
    }
    return tiny_spec(round=sections)


async def _start(peer: SimulatedPeer, spec: RunSpec, tasks: anyio.abc.TaskGroup, seed: int) -> None:
    peer.rounds = Rounds(peer.network, spec, peer, tasks, anyio.current_time, Random(seed))
    await peer.network.serve(peer.rounds.handlers())
