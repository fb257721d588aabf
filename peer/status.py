"""What a peer tells about itself: to the swarm, to its coordinator, to its own user. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from peer.averaging.attempt import Outcome
from peer.averaging.coverage import Coverage
from peer.averaging.links import UNKNOWN, Link, link_message
from peer.averaging.state import GlobalState
from peer.events import Phase
from peer.orders import NO_RANK, Rank
from peer.round_ahead import RoundAhead
from peer.support.hiding import without_homes
from peer.swarm.reach import UNHEARD, Reach
from peer.training.messages import Progress
from swarmpb.v1 import control_pb2, coordinator_pb2, swarm_pb2
from swarmpb.version import SOFTWARE_VERSION

SPEED_WINDOW = 10.0
"""Seconds over which tokens per second are measured."""
LOSS_WINDOW = 20
"""Inner steps over which the training loss is averaged."""
KEPT_DURATIONS = 15
RESTS = "rests for now, as its user wants it"
"""All that others are told of it."""


class Speedometer:
    """Tokens per second and mean loss over the last inner steps, from a trainer's totals."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Progress]] = deque()

    def reset(self) -> None:
        """The trainer was replaced: its totals start again."""
        self._seen.clear()

    def add(self, progress: Progress, now: float) -> None:
        """Take totals; now: monotonic seconds."""
        self._seen.append((now, progress))
        while len(self._seen) > 2 and self._seen[1][0] < now - SPEED_WINDOW:
            self._seen.popleft()

    def tokens_per_second(self, now: float) -> float:
        """Over the last ten seconds; 0 before the second inner step and after a stop."""
        if len(self._seen) < 2 or self._seen[-1][0] < now - SPEED_WINDOW:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last.tokens - first.tokens) / (end - start) if end > start else 0.0

    def loss(self) -> float:
        """Mean over the last inner steps, nats per token; NaN before the second."""
        if not self._seen:
            return math.nan
        _, last = self._seen[-1]
        earlier = [it for _, it in self._seen if it.inner_steps < last.inner_steps]
        if not earlier:
            return math.nan
        recent = (it for it in earlier if last.inner_steps - it.inner_steps <= LOSS_WINDOW)
        first = next(recent, earlier[-1])
        return (last.loss_sum - first.loss_sum) / (last.inner_steps - first.inner_steps)


@dataclass
class Snapshot:
    """Everything that one moment's reports are made of."""

    run_id: str
    peer_id: str
    name: str
    phase: Phase = Phase.STARTING
    reason: str = ""
    state: GlobalState | None = None
    tokens: int = 0
    """Of this peer, merged."""
    pending_tokens: int = 0
    tokens_per_second: float = 0.0
    train_loss: float = math.nan
    inner_steps: int = 0
    peers: int = 1
    target_tokens: int = 0
    addresses: tuple[str, ...] = ()
    link: Link = UNKNOWN
    reach: Reach = UNHEARD
    hardware: coordinator_pb2.Hardware | None = None
    round_seconds: list[float] = field(default_factory=list)
    coverage: coordinator_pb2.Coverage | None = None
    """How much of the text the run has trained, as agreed with `state`."""
    recent: tuple[bytes, ...] = ()
    """Digests of states that its own descends from, the newest first."""
    resumed: bool = False
    """The state is from a checkpoint; no round was finished since."""
    yields: bool = False
    """Its half of a split swarm waits to be taken into the other."""
    orders: Rank = NO_RANK
    """Of the newest orders that this peer knows."""
    energy_joules: float = 0.0
    """Taken in this run, for the coordinator; 0: it is not to be told."""
    certificate: bytes = b""
    """What lets this peer take part in a run by invitation."""
    rests: bool = False
    """It leaves for now; why is its user's affair."""

    @property
    def told_reason(self) -> str:
        """Why, for everybody: not what else runs here, who uses this machine, or whose it is."""
        return RESTS if self.rests else without_homes(self.reason)[:200]

    @property
    def round(self) -> int:
        return self.state.round if self.state else 0

    @property
    def digest(self) -> bytes:
        return self.state.digest if self.state else b""


def peer_record(snapshot: Snapshot, wall: float, sequence: int) -> swarm_pb2.PeerRecord:
    """For the DHT; wall: unix seconds."""
    return swarm_pb2.PeerRecord(
        peer_id=snapshot.peer_id,
        round=snapshot.round,
        digest=snapshot.digest,
        phase=snapshot.phase.value,
        reason=snapshot.told_reason,
        tokens=snapshot.tokens,
        pending_tokens=snapshot.pending_tokens,
        tokens_per_second=snapshot.tokens_per_second,
        inner_steps=snapshot.inner_steps,
        train_loss=snapshot.train_loss,
        written_at=wall,
        sequence=sequence,
        addresses=snapshot.addresses[:8],
        version=SOFTWARE_VERSION,
        name=snapshot.name,
        link=link_message(snapshot.link),
        recent=snapshot.recent,
        resumed=snapshot.resumed,
        yields=snapshot.yields,
        orders_serial=snapshot.orders[0],
        orders_sequence=snapshot.orders[1],
        certificate=snapshot.certificate,
    )


def progress_report(snapshot: Snapshot) -> coordinator_pb2.ProgressReport:
    """For the coordinator; the reporter adds its number, its time and what happened since."""
    return coordinator_pb2.ProgressReport(
        run_id=snapshot.run_id,
        peer_id=snapshot.peer_id,
        phase=snapshot.phase.value,
        reason=snapshot.told_reason,
        round=snapshot.round,
        digest=snapshot.digest,
        tokens=snapshot.tokens,
        pending_tokens=snapshot.pending_tokens,
        tokens_per_second=snapshot.tokens_per_second,
        train_loss=snapshot.train_loss,
        name=snapshot.name,
        version=SOFTWARE_VERSION,
        addresses=snapshot.addresses[:8],
        coverage=snapshot.coverage,
        orders_serial=snapshot.orders[0],
        orders_sequence=snapshot.orders[1],
        hardware=snapshot.hardware,
        link=link_message(snapshot.link),
        reach=snapshot.reach.kind,
        energy_joules=snapshot.energy_joules,
    )


def text_coverage(
    coverage: Coverage, round_: int, pass_chunks: int
) -> coordinator_pb2.Coverage | None:
    """For the coordinator: how much of the text the state of a round has seen.

    pass_chunks: in one pass through the text; None without a whole one. The agreed record counts
    repetitions over the whole run: after the first pass `merged_again` is the most it can be.
    """
    if pass_chunks <= 0:
        return None
    passes = coverage.frontier // pass_chunks
    merged = coverage.merged_within(passes * pass_chunks, (passes + 1) * pass_chunks)
    again = min(merged, coverage.twice)
    return coordinator_pb2.Coverage(
        round=round_,
        pass_chunks=pass_chunks,
        passes=passes,
        merged_once=merged - again,
        merged_again=again,
    )


def status_reply(snapshot: Snapshot) -> control_pb2.StatusReply:
    """For `peer status`; the daemon adds what only it knows of its processes."""
    durations = sorted(snapshot.round_seconds)
    return control_pb2.StatusReply(
        run_id=snapshot.run_id,
        peer_id=snapshot.peer_id,
        phase=snapshot.phase.value,
        reason=snapshot.reason,
        round=snapshot.round,
        digest=snapshot.digest,
        tokens=snapshot.tokens,
        pending_tokens=snapshot.pending_tokens,
        tokens_per_second=snapshot.tokens_per_second,
        train_loss=snapshot.train_loss,
        peers=snapshot.peers,
        run_tokens=snapshot.state.tokens if snapshot.state else 0,
        target_tokens=snapshot.target_tokens,
        round_seconds=durations[len(durations) // 2] if durations else 0.0,
        inner_steps=snapshot.inner_steps,
        version=SOFTWARE_VERSION,
        name=snapshot.name,
        reach=snapshot.reach.kind,
        reach_reason=snapshot.reach.reason,
    )


def add_outlook(
    reply: control_pb2.StatusReply, ahead: RoundAhead, losses: Sequence[tuple[int, float]]
) -> None:
    """When the next round is due, and how the loss has gone."""
    reply.next_cut_seconds = ahead.seconds
    reply.round_progress = ahead.progress
    reply.swarm_tokens_per_second = ahead.swarm_tokens_per_second
    reply.losses.extend(control_pb2.LossPoint(run_tokens=at, loss=it) for at, it in losses)


def round_outcome(
    outcome: Outcome, state: GlobalState, wall: float, round_seconds: float = 0.0
) -> coordinator_pb2.RoundOutcome:
    """For the coordinator; state: this peer's after the attempt; wall: unix seconds.

    round_seconds: since the state before was adopted; 0: not known.
    """
    manifest = outcome.manifest
    return coordinator_pb2.RoundOutcome(
        round=outcome.round,
        attempt=outcome.attempt,
        committed=outcome.committed,
        reason=without_homes(outcome.reason)[:200],
        # of the round: this peer may have got several at once, and stand further
        digest=manifest.state_digest if manifest else state.digest,
        run_tokens=manifest.tokens if manifest else state.tokens,
        own_tokens=outcome.tokens if outcome.merged else 0,
        bytes_sent=outcome.bytes_sent,
        bytes_received=outcome.bytes_received,
        seconds=outcome.seconds,
        members=outcome.members,
        finished_at_ms=int(wall * 1000),
        train_loss=outcome.loss,
        included=outcome.merged,
        round_seconds=round_seconds,
    )


def round_reached(state: GlobalState, wall: float) -> coordinator_pb2.RoundOutcome:
    """For the coordinator: a committed round whose state this peer got from others.

    So that a round is known even if all that took part in it were lost. wall: unix seconds.
    """
    return coordinator_pb2.RoundOutcome(
        round=state.round,
        committed=True,
        digest=state.digest,
        run_tokens=state.tokens,
        finished_at_ms=int(wall * 1000),
        train_loss=math.nan,
    )
