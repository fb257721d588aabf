"""One try at one round, as one member sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import anyio
import numpy as np

from peer.averaging.agreement import Acceptor
from peer.averaging.codecs import FlatVector
from peer.averaging.coverage import NO_CHUNKS, Chunks
from peer.averaging.exchange import Exchange
from peer.averaging.manifest import Manifest, merged_members
from peer.averaging.roster import Roster
from peer.averaging.state import GlobalState
from swarmpb.v1 import swarm_pb2


@dataclass(frozen=True)
class LocalCut:
    """A peer's inner work at the moment of a cut."""

    parameters: FlatVector
    """Local parameters, shape (n,); valid until the next cut."""
    tokens: int
    """Trained since the last cut that was merged."""
    loss: float
    """Mean training loss over those tokens, nats; NaN without any."""
    chunks: Chunks = NO_CHUNKS


@dataclass
class Attempt:
    """What a member knows of an attempt, from its cut to the decision."""

    id: bytes
    leader: str
    base: GlobalState
    cut: LocalCut
    started: float
    ended: float = 0.0
    """When the decision was known; monotonic seconds, as `started`."""
    roster: Roster | None = None
    exchange: Exchange | None = None
    roster_known: anyio.Event = field(default_factory=anyio.Event)
    no_roster: str = ""
    """Why there will be none: this member refused it, or the leader gave up."""
    traded: anyio.Event = field(default_factory=anyio.Event)
    """The exchange is over on this side."""
    foresight: anyio.Event = field(default_factory=anyio.Event)
    """It is known, or cannot be known, to what the exchange leads."""
    foreseen: GlobalState | None = None
    """Where the parts that this member holds lead to; most likely the round's result."""
    acceptor: Acceptor[swarm_pb2.Decision] = field(default_factory=Acceptor)
    decided: anyio.Event = field(default_factory=anyio.Event)
    waiting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """What this member waits for from its leader; cancelled when that must be over by now."""

    def keep_cut(self) -> None:
        """Keep the cut for longer: the trainer's own copy is overwritten by the next one."""
        self.cut = replace(self.cut, parameters=self.cut.parameters.copy())

    def shed(self) -> None:
        """Let go of the vectors of an ended attempt; votes need only the rest."""
        nothing = np.empty(0, np.float32)
        self.base = GlobalState(self.base.round, self.base.tokens, nothing, nothing)
        self.cut = replace(self.cut, parameters=nothing)
        self.foreseen = None
        if self.exchange is not None:
            self.exchange.shed()

    def release(self, reason: str) -> None:
        """There will be no roster."""
        self.no_roster = reason
        self.roster_known.set()

    def learn(self, decision: swarm_pb2.Decision) -> None:
        """The roster has decided."""
        self.acceptor.learn(decision)
        self.decided.set()


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended for this peer."""

    attempt: bytes
    leader: str
    round: int
    """Committed: the round that was reached. Void: the round that was tried."""
    committed: bool
    reason: str
    """Why it is void, or why this peer's work is not in it; empty if it is."""
    members: int
    member_index: int
    """This peer's place among them; -1 if it has none."""
    merged: bool
    """This peer's tokens count as merged."""
    tokens: int
    """Of this peer, in its cut."""
    loss: float
    seconds: float
    """From the call for the cut to the decision."""
    bytes_sent: int
    bytes_received: int
    manifest: Manifest | None = None


def outcome_of(attempt: Attempt, manifest: Manifest | None, reason: str, own: str) -> Outcome:
    """The outcome of an ended attempt for the peer `own`; no manifest: it is void."""
    roster, exchange, cut = attempt.roster, attempt.exchange, attempt.cut
    member = roster.index(own) if roster else -1
    merged = (
        manifest is not None
        and cut.tokens > 0
        and member in merged_members(manifest.roster, manifest.parts)
    )
    return Outcome(
        attempt=attempt.id,
        leader=attempt.leader,
        round=manifest.round if manifest else attempt.base.round,
        committed=manifest is not None,
        reason=reason,
        members=len(roster.members) if roster else 0,
        member_index=member,
        merged=merged,
        tokens=cut.tokens,
        loss=cut.loss,
        seconds=attempt.ended - attempt.started,
        bytes_sent=exchange.traffic.sent if exchange else 0,
        bytes_received=exchange.traffic.received if exchange else 0,
        manifest=manifest,
    )


def outcome_recalled(manifest: Manifest, member: int, reason: str) -> Outcome:
    """The outcome of a committed round for a member of which only its manifest is known now."""
    roster = manifest.roster
    return Outcome(
        attempt=roster.attempt,
        leader=roster.leader,
        round=manifest.round,
        committed=True,
        reason=reason,
        members=len(roster.members),
        member_index=member,
        merged=member in manifest.merged,
        tokens=roster.tokens[member],
        loss=math.nan,
        seconds=0.0,
        bytes_sent=0,
        bytes_received=0,
        manifest=manifest,
    )
