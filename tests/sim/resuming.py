"""Simulated peers that are killed and come back, and the account of what became of their work."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import anyio
import numpy as np
import numpy.typing as npt

from peer.averaging.codecs import FlatVector
from peer.averaging.history import ResumedWork
from peer.averaging.leader import lead
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import Manifest
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.swarm.interface import Refused, Unreachable
from tests.sim.swarm import (
    IDENTITIES,
    PARAMETERS,
    SimulatedPeer,
    SimulatedSwarm,
    included_in,
    spec_for,
)

Wide = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Saved:
    """What a peer's newest checkpoint holds."""

    state: GlobalState
    local: FlatVector
    residuals: dict[str, FlatVector]
    trained: Wide


class Account:
    """Of one peer over all its processes: what it has trained, and what rounds have merged."""

    def __init__(self, swarm: SimulatedSwarm, index: int) -> None:
        self.swarm = swarm
        self.index = index
        self.trained = np.zeros(PARAMETERS, np.float64)
        """By processes that live, or up to the checkpoint that was resumed, or merged."""
        self.merged = np.zeros(PARAMETERS, np.float64)
        self.merged_tokens = 0
        self._seen: set[bytes] = set()
        self._since_saved: list[tuple[Manifest, Wide]] = []

    @property
    def peer(self) -> SimulatedPeer:
        return self.swarm.peers[self.index]

    async def round(self, without: tuple[int, ...] = ()) -> None:
        """Those that live and are not left out train and make a round; it is noted here."""
        peers = [
            it for number, it in enumerate(self.swarm.peers)
            if it.network.alive and number not in without
        ]  # fmt: skip
        for peer in peers:
            work = peer.trains(self.swarm.random)
            if peer is self.peer:
                self.trained += work
            peer.concluded = anyio.Event()
        await lead(peers[0].rounds, [it.name for it in peers[1:]])
        for peer in peers:
            await peer.concluded.wait()
        self.note(peers[0])

    def note(self, told: SimulatedPeer) -> None:
        """Write down what the newest round of a peer has merged."""
        manifest = told.manifest
        if manifest.state_digest in self._seen:
            return
        self._seen.add(manifest.state_digest)
        peer = self.peer
        for part in manifest.roster.parts:
            if peer.name in included_in(manifest, part):
                self.merged[part.where] += peer.cut_work[part.where]
        if peer.name in manifest.roster.members:
            member = manifest.roster.index(peer.name)
            if member in manifest.merged:
                self.merged_tokens += manifest.roster.tokens[member]
        self._since_saved.append((manifest, self.trained.copy()))

    def save(self) -> Saved:
        """What a checkpoint of the peer holds now."""
        self._since_saved.clear()
        peer = self.peer
        residuals = {name: it.copy() for name, it in peer.rounds.history.feedback.arrays().items()}
        return Saved(peer.state, peer.local.copy(), residuals, self.trained.copy())

    async def come_back(self, saved: Saved) -> SimulatedPeer:
        """A new process, as `Checkpoints.take_up` sets it up."""
        swarm, old = self.swarm, self.peer
        old.network.kill()
        await anyio.wait_all_tasks_blocked()
        # what it had trained is lost where no round has merged it since
        survives = saved.trained.copy()
        for manifest, trained in self._since_saved:
            for part in manifest.roster.parts:
                if old.name in included_in(manifest, part):
                    survives[part.where] = trained[part.where]
        self.trained = survives
        peer = SimulatedPeer(swarm.hub.join(IDENTITIES[self.index]), old.tokens)
        peer._state, peer.local = saved.state, saved.local.copy()
        spec, clock = spec_for(old.rounds.spec.round.codec), anyio.current_time
        peer.rounds = Rounds(peer.network, spec, peer, swarm.hub.tasks, clock, Random(9))
        history = peer.rounds.history
        history.feedback.restore(saved.residuals, PARAMETERS)
        history.arrive(saved.state)
        history.resumed = ResumedWork(saved.state.digest, saved.state.parameters - saved.local)
        await peer.network.serve(peer.rounds.handlers())
        swarm.peers[self.index] = peer
        return peer

    async def catch_up(self, ahead: SimulatedPeer) -> bool:
        """What `peer.catching_up` does; whether all rounds could be replayed."""
        peer = self.peer
        try:
            await peer.rounds.missed.replay(ahead.name, ahead.state.digest)
        except (Unreachable, Refused, Malformed):
            await peer.rounds.archive.learn_lineage(ahead.name, ahead.state.digest)
            await peer.rounds.missed.jump(ahead.state, [ahead.name])
            return False
        return True

    def assert_every_piece_counts_once(self) -> None:
        """What it has trained is in one round, or on top of its state."""
        peer = self.peer
        on_top = (peer.state.parameters - peer.local).astype(np.float64)
        np.testing.assert_allclose(self.merged + on_top, self.trained, atol=2e-3)

    def whole_on_top(self) -> FlatVector:
        """For the next cut's account: what a simulated peer counts as its unmerged work."""
        peer = self.peer
        peer.unmerged = peer.state.parameters - peer.local
        return peer.unmerged
