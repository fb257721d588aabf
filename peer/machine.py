"""What a peer does next: state and event in, state and effects out. Pure.

The daemon turns everything that happens into events and carries out the effects; all decisions
are here, each with a reason that a person can act on. Times are seconds: `now` is monotonic,
`wall` is unix time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from peer import membership
from peer.events import (
    AttemptBegan,
    AttemptEnded,
    BeginFromSeed,
    Effect,
    Event,
    FellBehind,
    Lead,
    LeaveAsked,
    Phase,
    RestartTrainer,
    ResumeCheckpoint,
    StateAdopted,
    Stop,
    SwarmJoined,
    SwarmLost,
    SyncFailed,
    Synchronise,
    Train,
    TrainerLost,
    TrainerReady,
    ViewSeen,
    WrappedUp,
    WrapUp,
)
from peer.membership import LEADER_PATIENCE, Position
from swarmpb.exits import Exit
from swarmpb.spec import RunSpec

LINGER_SECONDS = 10.0
"""A peer at the run's end serves those that missed the last round for so long."""
RETRY_SECONDS = 1.0
DISTRUST_SECONDS = 10.0
"""A state that could not be had from anybody is not asked for again this long."""
MAX_TRAINER_RESTARTS = 5
"""So many in an hour: a machine that fails now and then may go on for weeks."""
RESTARTS_COUNT_SECONDS = 3600.0


# ---- state -----------------------------------------------------------------------------


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
    phase: Phase = Phase.STARTING
    reason: str = "starting the trainer"
    trainer_ready: bool = False
    joined: bool = False
    position: Position | None = None
    run_tokens: int = 0
    adopted_at: float = 0.0
    syncing: Position | None = None
    entering: bool = False
    """The first state is being taken from the seed or the checkpoint."""
    attempt_by: str | None = None
    """Who leads the attempt under way."""
    retry_at: float = 0.0
    failed_leaders: frozenset[str] = frozenset()
    distrusted: tuple[tuple[Position, float], ...] = ()
    trainer_deaths: tuple[float, ...] = ()
    stop_by: float | None = None
    due_since: float | None = None
    """When this peer first saw that the swarm has trained enough for a round."""
    wrapped_up: bool = False
    finished: bool = False
    effects: tuple[Effect, ...] = field(default=())


def step(peer: Peer, event: Event, now: float) -> tuple[Peer, tuple[Effect, ...]]:
    """The next state and what to do, after an event."""
    if peer.phase is Phase.STOPPED:
        return peer, ()
    after = _HANDLERS[type(event)](peer, event, now)
    return replace(after, effects=()), after.effects


def _trainer_ready(peer: Peer, event: TrainerReady, now: float) -> Peer:
    peer = replace(peer, trainer_ready=True)
    if peer.phase is Phase.LEAVING:
        return _do(peer, Train(on=False))
    return _do(peer, Train(on=True)) if peer.position else _joining(peer)


def _trainer_lost(peer: Peer, event: TrainerLost, now: float) -> Peer:
    codes = {
        "too_large": Exit.NOT_ENOUGH_MEMORY,
        "spec": Exit.BAD_SPEC,
        "data": Exit.DATA_UNAVAILABLE,
    }
    recent = [at for at in peer.trainer_deaths if at > now - RESTARTS_COUNT_SECONDS]
    peer = replace(peer, trainer_ready=False, entering=False, trainer_deaths=(*recent, now))
    if peer.phase is Phase.LEAVING:
        return peer
    if event.cause in codes:
        return _stop(peer, codes[event.cause], event.reason)
    if len(peer.trainer_deaths) > MAX_TRAINER_RESTARTS:
        return _stop(
            peer, Exit.TRAINER_FAILED, f"the trainer failed {len(peer.trainer_deaths)} times "
            f"within an hour; the last time: {event.reason}",
        )  # fmt: skip
    smaller = event.cause == "memory"
    peer = replace(peer, reason=f"restarting the trainer: {event.reason}")
    return _do(peer, RestartTrainer(smaller))


def _swarm_joined(peer: Peer, event: SwarmJoined, now: float) -> Peer:
    peer = replace(peer, joined=True)
    return peer if peer.position or peer.phase is Phase.LEAVING else _joining(peer)


def _swarm_lost(peer: Peer, event: SwarmLost, now: float) -> Peer:
    peer = replace(peer, joined=False, attempt_by=None, syncing=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    return replace(peer, reason=f"joining the swarm again: {event.reason}")


def _joining(peer: Peer) -> Peer:
    if not peer.joined:
        return _phase(peer, Phase.STARTING, "connecting to the swarm")
    if not peer.trainer_ready:
        return _phase(peer, Phase.JOINING, "building the model")
    return _phase(peer, Phase.JOINING, "looking for other peers")


def _view_seen(peer: Peer, event: ViewSeen, now: float) -> Peer:
    distrusted = tuple((at, until) for at, until in peer.distrusted if until > now)
    peer = replace(peer, distrusted=distrusted)
    if peer.phase is Phase.LEAVING:
        return _linger(peer, event, now)
    if event.trainer_trouble and peer.trainer_ready:
        return replace(_phase(peer, Phase.SYNCING, event.trainer_trouble), due_since=None)
    changing = peer.entering or peer.syncing is not None or peer.attempt_by is not None
    if changing or not (peer.joined and peer.trainer_ready):
        return peer
    others = event.view.others(peer.peer_id)
    own = peer.position or peer.checkpoint
    at = membership.head(others, own, [position for position, _ in distrusted])
    if peer.position is None:
        return _enter(peer, event, at)
    if at is not None and membership.is_behind(peer.position, at):
        return _synchronise(peer, event, at)
    return _train_or_lead(peer, event, peer.position, now)


def _enter(peer: Peer, event: ViewSeen, at: Position | None) -> Peer:
    """A peer without a state looks for one."""
    others = event.view.others(peer.peer_id)
    if at is not None and at != peer.checkpoint:
        return _synchronise(peer, event, at)
    if peer.checkpoint is not None:
        peer = _phase(peer, Phase.SYNCING, "resuming this machine's checkpoint")
        return _do(replace(peer, entering=True), ResumeCheckpoint())
    if any(other.position for other in others):
        return peer  # all of them distrusted: the reason says why
    if peer.known_tokens >= peer.spec.stop.tokens:
        return _stop(
            peer, Exit.RUN_FINISHED, f"run {peer.spec.run_id} has reached its target of "
            f"{peer.spec.stop.tokens:,} tokens: there is nothing left to train",
        )  # fmt: skip
    if peer.known_round > 0:
        # beginning anew here would fork the run that others will come back to
        return _phase(
            peer, Phase.JOINING, f"the run stands at round {peer.known_round}, but no peer that "
            "holds it is here; waiting for one to come back",
        )  # fmt: skip
    peer = _phase(peer, Phase.SYNCING, "first here: beginning the run")
    return _do(replace(peer, entering=True), BeginFromSeed())


def _synchronise(peer: Peer, event: ViewSeen, at: Position) -> Peer:
    holders = tuple(membership.holders_of(event.view.others(peer.peer_id), at))
    if not holders:
        return peer
    behind = f"downloading the state of round {at.round}"
    if peer.position is not None and peer.position.round == at.round:
        behind = f"{len(holders)} peers hold another state of round {at.round}: taking theirs"
    syncing = replace(_phase(peer, Phase.SYNCING, behind), syncing=at)
    return _do(syncing, Synchronise(at, holders))


def _train_or_lead(peer: Peer, event: ViewSeen, own: Position, now: float) -> Peer:
    others = event.view.others(peer.peer_id)
    companions = membership.companions(others, own)
    # who is about to adopt the last round is here too
    needed, here = peer.spec.round.min_peers, 1 + len(membership.at_work(others))
    if here < needed:
        return _phase(
            peer, Phase.TRAINING, f"{here} of {needed} peers needed to average; "
            f"invite another: {peer.invitation}",
        )  # fmt: skip
    if len(companions) + 1 < needed:
        reason = f"the others are about to adopt round {own.round}"
        return replace(_phase(peer, Phase.TRAINING, reason), due_since=None)
    if now < peer.retry_at:
        return replace(peer, due_since=None)  # the reason says why the last try was void
    peer = _phase(peer, Phase.TRAINING, f"round {own.round + 1}")
    shortest = max(peer.spec.round.min_seconds, event.sustained_round)
    elapsed, trained = now - peer.adopted_at, event.own_tokens
    due = membership.cut_is_due(
        others, own, trained, elapsed, shortest, peer.spec.round, event.wall
    )
    if not due:
        return replace(peer, due_since=None)
    since = now if peer.due_since is None else peer.due_since
    abreast = set(companions).intersection(membership.holders_of(others, own))
    order = membership.leading_order(
        peer.spec.run_id, own.round, [*abreast, peer.peer_id], peer.failed_leaders
    )
    if now - since < order.index(peer.peer_id) * LEADER_PATIENCE:
        return replace(peer, due_since=since)
    # from now on, not from `AttemptBegan`: the next view must not lead a second attempt
    return _do(replace(peer, due_since=None, attempt_by=peer.peer_id), Lead(tuple(companions)))


def _linger(peer: Peer, event: ViewSeen, now: float) -> Peer:
    """At the run's end, serve those that missed the last round before leaving."""
    if not (peer.finished and peer.wrapped_up) or peer.position is None:
        return peer
    others = event.view.others(peer.peer_id)
    late = [it for it in others if it.position is None or it.position.round < peer.position.round]
    timed_out = peer.stop_by is not None and now >= peer.stop_by
    return peer if late and not timed_out else _stop(peer, 0, "the run has reached its target")


def _state_adopted(peer: Peer, event: StateAdopted, now: float) -> Peer:
    peer = replace(
        peer,
        position=event.position,
        run_tokens=event.run_tokens,
        adopted_at=now,
        syncing=None,
        entering=False,
        due_since=None,
        failed_leaders=frozenset(),
    )
    if peer.phase is Phase.LEAVING:
        return peer
    if event.run_tokens >= peer.spec.stop.tokens:
        ending = _phase(peer, Phase.LEAVING, "the run has reached its target: handing over")
        return _do(replace(ending, finished=True), Train(on=False), WrapUp())
    return _do(_phase(peer, Phase.TRAINING, f"round {event.position.round + 1}"), Train(on=True))


def _sync_failed(peer: Peer, event: SyncFailed, now: float) -> Peer:
    until = now + DISTRUST_SECONDS
    peer = replace(peer, syncing=None, distrusted=(*peer.distrusted, (event.position, until)))
    if peer.phase is Phase.LEAVING:
        return peer
    phase = Phase.JOINING if peer.position is None else Phase.TRAINING
    return _phase(peer, phase, f"could not get round {event.position.round}: {event.reason}")


def _fell_behind(peer: Peer, event: FellBehind, now: float) -> Peer:
    peer = replace(peer, attempt_by=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    return _phase(peer, Phase.SYNCING, event.reason)


def _attempt_began(peer: Peer, event: AttemptBegan, now: float) -> Peer:
    peer = replace(peer, attempt_by=event.leader, due_since=None)
    if peer.phase is Phase.LEAVING or peer.position is None:
        return peer
    return _phase(peer, Phase.AVERAGING, f"round {peer.position.round + 1}")


def _attempt_ended(peer: Peer, event: AttemptEnded, now: float) -> Peer:
    if event.leader != peer.attempt_by:
        return peer  # this peer was to lead, and was refused: another had cut a moment before
    peer = replace(peer, attempt_by=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    if event.committed:
        return peer
    return replace(
        _phase(peer, Phase.TRAINING, f"the last try at a round was void: {event.reason}"),
        failed_leaders=peer.failed_leaders | {event.leader},
        retry_at=now + RETRY_SECONDS,
    )


def _last_attempt_ended(peer: Peer) -> Peer:
    return peer if peer.finished else _stop(peer, 0, "asked to leave")


def _leave_asked(peer: Peer, event: LeaveAsked, now: float) -> Peer:
    if peer.phase is Phase.LEAVING and not peer.finished:
        return peer
    if peer.attempt_by is None:
        return _stop(peer, 0, "asked to leave")
    peer = _phase(replace(peer, finished=False), Phase.LEAVING, "leaving after this round")
    return _do(peer, Train(on=False))


def _wrapped_up(peer: Peer, event: WrappedUp, now: float) -> Peer:
    return replace(peer, wrapped_up=True, stop_by=now + LINGER_SECONDS)


def _phase(peer: Peer, phase: Phase, reason: str) -> Peer:
    return replace(peer, phase=phase, reason=reason)


def _do(peer: Peer, *effects: Effect) -> Peer:
    return replace(peer, effects=(*peer.effects, *effects))


def _stop(peer: Peer, code: int, reason: str) -> Peer:
    return _do(_phase(peer, Phase.STOPPED, reason), Stop(code, reason))


_HANDLERS: dict[type[Event], Callable[[Peer, Any, float], Peer]] = {
    TrainerReady: _trainer_ready,
    TrainerLost: _trainer_lost,
    SwarmJoined: _swarm_joined,
    SwarmLost: _swarm_lost,
    ViewSeen: _view_seen,
    StateAdopted: _state_adopted,
    SyncFailed: _sync_failed,
    FellBehind: _fell_behind,
    AttemptBegan: _attempt_began,
    AttemptEnded: _attempt_ended,
    LeaveAsked: _leave_asked,
    WrappedUp: _wrapped_up,
}
