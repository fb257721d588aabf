"""Carries a plan out among simulated peers: the real averaging code, on a network in memory."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import numpy as np

from peer.averaging.attempt import Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.leader import lead
from peer.averaging.malformed import Malformed
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.membership import Position
from peer.swarm.interface import Refused, Unreachable
from peer.swarm.memory import Crossing, Hub, MemoryNetwork
from peer.transfer.donor import Donor
from peer.transfer.download import download
from tests.faults.plan import Fault, Freeze, Join, Kill, Leave, Plan, Return, Split
from tests.faults.points import Watch
from tests.faults.watched_network import WatchedNetwork
from tests.sim.swarm import IDENTITIES, PARAMETERS, SimulatedPeer, included_in, spec_for

_STUCK_SECONDS = 300.0
_FORGOTTEN_ATTEMPTS = 3
"""So many attempts the others still count on a peer that was killed."""


class PlannedPeer(SimulatedPeer):
    """A simulated peer with a number in a plan, and the account of its work."""

    def __init__(self, number: int, network: MemoryNetwork, watch: Watch) -> None:
        super().__init__(network, tokens=100)
        self.number = number
        self.watch = watch
        self.frozen = False
        self.fresh = False
        """It has no state yet."""
        self.trained = np.zeros(PARAMETERS, np.float64)
        self.merged = np.zeros(PARAMETERS, np.float64)
        """Of that, what committed rounds are made of."""

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        await super().adopt(state, shift, outcome)
        self.watch.writing_checkpoint()  # its disk is whatever the plan keeps

    def take(self, state: GlobalState) -> None:
        """Be at a state from here on, own work on top."""
        self.local = self.local + (state.parameters - self.state.parameters)
        self._state = state

    def assert_every_piece_counts_once(self) -> None:
        """What it trained is in one round, or in none yet."""
        np.testing.assert_allclose(self.trained, self.merged + self.unmerged, atol=1e-3)
        self.assert_nothing_lost()


class PlannedSwarm:
    """Peers of a plan, by their numbers. Made by `planned_swarm`."""

    def __init__(self, hub: Hub, plan: Plan, codec: str, random: Random, split_after: int) -> None:
        self.up: dict[int, PlannedPeer] = {}
        self.void = 0
        """Attempts that came to nothing."""
        self.happened: list[str] = []
        """The lines of the plan that have come true, in that order."""
        self._hub = hub
        self._random = random
        self._spec = spec_for(codec)
        self._points = {number: plan.at_points(number) for number in range(len(IDENTITIES))}
        self._outside = plan.from_outside()
        self._left_behind: dict[int, GlobalState] = {}
        """What those have on their disks that are gone."""
        self._attempts = 0
        self._missed: dict[str, int] = {}
        """Those that were killed, and in which attempt."""
        self._split_after = split_after
        self._split: Split | None = None
        self._to_split: tuple[int, Split] | None = None
        """After so many crossings more the network is split: in the middle of an attempt."""
        hub.tap = self._tap

    async def play(self, rounds: int) -> None:
        """Make so many rounds, and let the plan happen; every round is looked at."""
        while self.round < rounds or self._outside or self._to_split:
            assert self._attempts < 3 * rounds, "too many attempts were void"
            await self._happen()
            for peer in self.up.values():
                if not peer.frozen:
                    peer.trained += peer.trains(self._random)
            await self._attempt()
            await self._catch_up()
            self._look()

    async def come_to_rest(self) -> None:
        """Until all that was ever trained by those that are up is in a round."""
        for _ in range(3):
            await anyio.sleep(30)  # the longest freeze ends
            await self._attempt()
            await self._catch_up()
        self._look()
        assert not any(peer.frozen or peer.busy for peer in self.up.values())
        for peer in self.up.values():
            np.testing.assert_allclose(peer.unmerged, 0, atol=1e-5)

    @property
    def round(self) -> int:
        return max(peer.state.round for peer in self.up.values())

    # ---- the plan ----------------------------------------------------------------------

    async def _happen(self) -> None:
        """What comes from outside at this round."""
        if self._split and self.round >= self._split.round + self._split.rounds:
            self._split = None
            self._hub.heal()
        for fault in [it for it in self._outside if it.round <= self.round]:
            if isinstance(fault, Return) and fault.peer in self.up:
                continue  # it has not been killed yet
            self._outside.remove(fault)
            await self._carry_out(fault)

    async def _carry_out(self, fault: Fault) -> None:
        if isinstance(fault, Kill | Freeze):
            self._strike(fault)
            return
        if isinstance(fault, Join | Return):
            await self.start(fault.peer)
        elif isinstance(fault, Leave):
            self._end(self.up[fault.peer])
        else:
            self._to_split = self._split_after, fault
            if not self._split_after:
                self._cut_apart(fault)
            return
        self.happened.append(str(fault))

    def _tap(self, crossing: Crossing) -> None:
        if self._to_split is not None:
            left, fault = self._to_split
            self._to_split = left - 1, fault
            if left == 1:
                self._cut_apart(fault)

    def _cut_apart(self, fault: Split) -> None:
        self._split, self._to_split = fault, None
        sides = fault.all_sides(len(IDENTITIES))
        self._hub.split(*([IDENTITIES[it].peer_id for it in side] for side in sides))
        self.happened.append(str(fault))

    def _strike(self, fault: Kill | Freeze) -> None:
        peer = self.up[fault.peer]
        self.happened.append(str(fault))
        if isinstance(fault, Kill):
            self._missed[peer.name] = self._attempts
            self._end(peer)
        else:
            peer.frozen = True
            peer.network.freeze()
            self._hub.tasks.start_soon(self._thaw_later, peer, fault.seconds)

    async def _thaw_later(self, peer: PlannedPeer, seconds: float) -> None:
        await anyio.sleep(seconds)
        peer.frozen = False
        peer.network.thaw()

    def _end(self, peer: PlannedPeer) -> None:
        if not peer.fresh:
            self._left_behind[peer.number] = peer.state
        del self.up[peer.number]
        peer.network.kill()

    async def start(self, number: int) -> None:
        """A peer comes, with its files if it has been there."""
        network = self._hub.join(IDENTITIES[number])
        watch = Watch(network.peer_id, self._points[number], self._strike)
        self._points[number] = watch.left  # it fires each once, however often the peer starts
        peer = PlannedPeer(number, network, watch)
        if number in self._left_behind:
            peer.take(self._left_behind.pop(number))
            peer.local = peer.state.parameters.copy()
        else:
            peer.fresh = bool(self._attempts)
        watched = WatchedNetwork(network, watch)
        clock, random = anyio.current_time, Random(self._random.random())
        peer.rounds = Rounds(watched, self._spec, peer, self._hub.tasks, clock, random)
        donor = Donor(lambda: [peer.state], lambda: math.inf)
        await watched.serve(peer.rounds.handlers() | donor.handlers())
        self._missed.pop(peer.name, None)
        self.up[number] = peer
        await self._get_there(peer)

    # ---- rounds ------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Each side tries a round; all that were in it and run on are free afterwards."""
        self._attempts += 1
        before = self.round
        members = [*self.up.values()]
        recently = self._attempts - _FORGOTTEN_ATTEMPTS
        missed = [name for name, attempt in self._missed.items() if attempt > recently]
        with anyio.fail_after(_STUCK_SECONDS):
            async with anyio.create_task_group() as leaders:
                for side in self._sides():
                    awake = [it for it in side if not it.frozen and not it.busy]
                    if awake:
                        leader = awake[self._attempts % len(awake)]
                        others = [it.name for it in members if it is not leader]
                        leaders.start_soon(_lead, leader, [*others, *missed])
            while any(it.busy and not it.frozen for it in self.up.values()):  # noqa: ASYNC110  simulated time
                await anyio.sleep(0.1)
        if self.round == before:
            self.void += 1
        else:
            self._account(members)

    def _sides(self) -> list[list[PlannedPeer]]:
        if self._split is None:
            return [list(self.up.values())]
        return [
            [self.up[number] for number in side if number in self.up]
            for side in self._split.all_sides(len(IDENTITIES))
        ]

    def _account(self, members: list[PlannedPeer]) -> None:
        """Write down whose work a committed round is made of."""
        ahead = max(self.up.values(), key=lambda it: it.state.round)
        for part in ahead.manifest.roster.parts:
            names = included_in(ahead.manifest, part)
            for peer in members:
                if peer.name in names:
                    peer.merged[part.where] += peer.cut_work[part.where]

    async def _catch_up(self) -> None:
        for peer in list(self.up.values()):
            await self._get_there(peer)

    async def _get_there(self, peer: PlannedPeer) -> None:
        """Take the state that most have reached, as far as this peer reaches those."""
        side = next(side for side in self._sides() if peer in side)
        ahead = max(side, key=lambda it: it.state.round)
        if peer.frozen or peer.busy or ahead.state.round == peer.state.round:
            return
        try:
            await self._get(peer, ahead, [it.name for it in side if it is not peer])
        except (Unreachable, Refused):
            # it was hit meanwhile, and nobody waits for it
            assert peer.frozen or not peer.network.alive

    async def _get(self, peer: PlannedPeer, ahead: PlannedPeer, donors: list[str]) -> None:
        """As `peer.catching_up` does."""
        at = Position(ahead.state.round, ahead.state.digest)
        try:
            if peer.fresh:
                raise Unreachable("there is nothing that a round could be added to")
            await peer.rounds.missed.replay(ahead.name, at.digest)
        except (Unreachable, Refused, Malformed):
            state = await download(peer.rounds.network, donors, at, PARAMETERS)
            await peer.rounds.missed.jump(state, [ahead.name])
            peer.fresh = False

    # ---- what must hold ----------------------------------------------------------------

    def _look(self) -> None:
        """Agreement, nothing lost, nobody stuck."""
        for side in self._sides():
            awake = [it for it in side if not it.frozen]
            assert len({peer.state.digest for peer in awake}) <= 1, self.happened
            for peer in awake:
                assert not peer.busy
                if peer.state.round == self.round:  # who is behind cannot know what was merged
                    peer.assert_every_piece_counts_once()


async def _lead(leader: PlannedPeer, others: list[str]) -> None:
    try:
        await lead(leader.rounds, others)
    except Refused as refusal:
        leader.fell_behind(str(refusal))


@asynccontextmanager
async def planned_swarm(
    plan: Plan, peers: int, codec: str = "fp32", seed: int = 0, split_after: int = 0
) -> AsyncIterator[PlannedSwarm]:
    """The peers of a plan that are there from the beginning; `play` it.

    split_after: so many messages of its round pass before the network is split.
    """
    async with anyio.create_task_group() as tasks:
        swarm = PlannedSwarm(Hub(tasks), plan, codec, Random(seed), split_after)
        for number in range(peers):
            if number not in plan.late:
                await swarm.start(number)
        yield swarm
        tasks.cancel_scope.cancel()
