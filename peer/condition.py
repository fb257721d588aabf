"""All that a peer's decisions depend on, and how a decision changes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from peer.events import Effect, FinishAsked, LeaveAsked, Phase, Stop, Train, WrapUp
from peer.membership import Position
from peer.orders import Course
from swarmpb.spec import RunSpec


@dataclass(frozen=True)
class Peer:
    """All that the decisions depend on."""

    peer_id: str
    spec: RunSpec
    invitation: str
    """The command that another volunteer would type; for reasons."""
    checkpoint: Position | None = None
    known_round: int = 0
    """The run's round as its coordinator knows it; 0 if nobody has reported one."""
    known_tokens: int = 0
    """Merged in the run, as its coordinator knows it."""
    course: Course = field(default_factory=Course)
    """What the run's owner wants of this peer."""
    phase: Phase = Phase.STARTING
    reason: str = "starting the trainer"
    trainer_ready: bool = False
    joined: bool = False
    position: Position | None = None
    run_tokens: int = 0
    adopted_at: float = 0.0
    round_seconds: float = 0.0
    """How long the last round that merged this peer's work took; 0: there was none."""
    syncing: Position | None = None
    resumed: bool = False
    """The state is from the checkpoint; no round was finished since."""
    yields_since: float | None = None
    """Since when this half of a split swarm waits to be taken into the other."""
    given_at: float = 0.0
    """When somebody was last seen downloading this peer's state, while it yields or lingers."""
    taking_in: Position | None = None
    """The other half's state, which this peer has, or is getting."""
    entering: bool = False
    """The first state is being taken from the seed or the checkpoint."""
    attempt_by: str | None = None
    """Who leads the attempt under way."""
    retry_at: float = 0.0
    failed_leaders: frozenset[str] = frozenset()
    distrusted: tuple[tuple[Position, float], ...] = ()
    trainer_deaths: tuple[float, ...] = ()
    due_since: float | None = None
    """When this peer first saw that the swarm has trained enough for a round."""
    wrapped_up_at: float | None = None
    """When the last state was evaluated and, if asked for, written out."""
    finished: bool = False
    leaving: LeaveAsked | None = None
    finish: FinishAsked | None = None
    """It leaves after a round."""
    effects: tuple[Effect, ...] = field(default=())


def enter(peer: Peer, phase: Phase, reason: str) -> Peer:
    """Be in a phase, for a reason that a person can act on."""
    if peer.finish is not None and phase in (Phase.TRAINING, Phase.AVERAGING):
        reason = f"{reason}; {peer.finish.words}"
    return replace(peer, phase=phase, reason=reason)


def work(peer: Peer, reason: str) -> Peer:
    """Be at work, for a reason; or stand by, if the run is paused."""
    if peer.course.paused:
        return enter(peer, Phase.PAUSED, peer.course.paused)
    return enter(peer, Phase.TRAINING, reason)


def train(peer: Peer) -> Peer:
    """Let the trainer do inner steps, unless the run is paused."""
    return do(peer, Train(on=not peer.course.paused))


def stop_tokens(peer: Peer) -> int:
    """Merged tokens at which the run ends."""
    return peer.course.stop_tokens or peer.spec.stop.tokens


def is_over(peer: Peer) -> bool:
    """Whether the run has reached its end, by its tokens or because its owner says so."""
    return bool(peer.course.finished) or peer.run_tokens >= stop_tokens(peer)


def ending(peer: Peer) -> str:
    """Why the run is over."""
    if peer.run_tokens >= peer.spec.stop.tokens:
        return "the run has reached its target"  # what its coordinator orders then says no more
    return peer.course.finished or "the run has reached its target"


def end_run(peer: Peer) -> Peer:
    """Hand over, and leave."""
    peer = enter(peer, Phase.LEAVING, f"{ending(peer)}: handing over")
    return do(replace(peer, finished=True), Train(on=False), WrapUp())


def do(peer: Peer, *effects: Effect) -> Peer:
    """Have these carried out."""
    return replace(peer, effects=(*peer.effects, *effects))


def stop(peer: Peer, code: int, reason: str, rest: bool = False) -> Peer:
    """Leave the swarm: for good, with an exit code, or for a rest."""
    return do(enter(peer, Phase.STOPPED, reason), Stop(code, reason, rest))


def left(peer: Peer) -> Peer:
    """Be gone, as was asked for."""
    asked = peer.leaving or LeaveAsked()
    return stop(peer, 0, asked.reason, asked.rest and not for_good(peer))


def for_good(peer: Peer) -> bool:
    """Whose run is over, or who was to leave anyway, has nothing to come back to."""
    return peer.finished or peer.finish is not None


def finish_is_due(peer: Peer, now: float) -> bool:
    """Whether a peer that is to finish has no time for another round."""
    asked = peer.finish
    if asked is None:
        return False
    return not asked.as_late_as_possible or now + peer.round_seconds > asked.latest
