"""What a peer does next: state and event in, state and effects out. Pure.

The daemon turns everything that happens into events and carries out the effects; all decisions
are here, each with a reason that a person can act on. Times are seconds: `now` is monotonic,
`wall` is unix time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from peer.condition import (
    Peer,
    do,
    end_run,
    enter,
    finish_is_due,
    is_over,
    left,
    stop,
    train,
    work,
)
from peer.events import (
    AttemptBegan,
    AttemptEnded,
    Effect,
    Event,
    FellBehind,
    FinishAsked,
    Forked,
    KeepCheckpoint,
    LeaveAsked,
    OrdersGiven,
    Phase,
    RestartTrainer,
    StateAdopted,
    StateDropped,
    SwarmJoined,
    SwarmLost,
    SyncFailed,
    Synchronised,
    SyncProgress,
    TakeInFailed,
    Train,
    TrainerLost,
    TrainerReady,
    ViewSeen,
    WrappedUp,
)
from peer.orders import BANNED
from peer.outlook import view_seen
from swarmpb.exits import Exit

RETRY_SECONDS = 1.0
DISTRUST_SECONDS = 10.0
"""A state that could not be had from anybody is not asked for again this long."""
MAX_TRAINER_RESTARTS = 5
"""So many in an hour: a machine that fails now and then may go on for weeks."""
RESTARTS_COUNT_SECONDS = 3600.0


def step(peer: Peer, event: Event, now: float) -> tuple[Peer, tuple[Effect, ...]]:
    """The next state and what to do, after an event."""
    if peer.phase is Phase.STOPPED:
        return peer, ()
    after = _HANDLERS[type(event)](peer, event, now)
    return replace(after, effects=()), after.effects


def _trainer_ready(peer: Peer, event: TrainerReady, now: float) -> Peer:
    peer = replace(peer, trainer_ready=True)
    if peer.phase is Phase.LEAVING:
        return do(peer, Train(on=False))
    return train(peer) if peer.position else _joining(peer)


def _trainer_lost(peer: Peer, event: TrainerLost, now: float) -> Peer:
    codes = {
        "too_large": Exit.NOT_ENOUGH_MEMORY,
        "disk": Exit.NOT_ENOUGH_DISK,
        "spec": Exit.BAD_SPEC,
        "data": Exit.DATA_UNAVAILABLE,
    }
    recent = tuple(at for at in peer.trainer_deaths if at > now - RESTARTS_COUNT_SECONDS)
    deaths = recent if event.smaller else (*recent, now)  # micro-batches get no smaller than one
    peer = replace(peer, trainer_ready=False, entering=False, trainer_deaths=deaths)
    if peer.phase is Phase.LEAVING:
        return peer
    if event.cause in codes:
        return stop(peer, codes[event.cause], event.reason)
    if len(peer.trainer_deaths) > MAX_TRAINER_RESTARTS:
        return stop(
            peer, Exit.TRAINER_FAILED, f"the trainer failed {len(peer.trainer_deaths)} times "
            f"within an hour; the last time: {event.reason}",
        )  # fmt: skip
    peer = replace(peer, reason=f"restarting the trainer: {event.reason}")
    return do(peer, RestartTrainer())


def _swarm_joined(peer: Peer, event: SwarmJoined, now: float) -> Peer:
    peer = replace(peer, joined=True)
    return peer if peer.position or peer.phase is Phase.LEAVING else _joining(peer)


def _swarm_lost(peer: Peer, event: SwarmLost, now: float) -> Peer:
    peer = replace(peer, joined=False, attempt_by=None, syncing=None, taking_in=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    return replace(peer, reason=f"joining the swarm again: {event.reason}")


def _joining(peer: Peer) -> Peer:
    if not peer.joined:
        return enter(peer, Phase.STARTING, "connecting to the swarm")
    if not peer.trainer_ready:
        return enter(peer, Phase.JOINING, "building the model")
    return enter(peer, Phase.JOINING, "looking for other peers")


def _state_adopted(peer: Peer, event: StateAdopted, now: float) -> Peer:
    lasted = now - peer.adopted_at if event.merged else peer.round_seconds
    peer = replace(
        peer,
        round_seconds=lasted,
        position=event.position,
        run_tokens=event.run_tokens,
        adopted_at=now,
        resumed=peer.entering and event.position == peer.checkpoint,
        yields_since=None,
        # of several replayed rounds, only the last one ends the replay: there must not be two
        syncing=None if event.position == peer.syncing else peer.syncing,
        entering=False,
        due_since=None,
        failed_leaders=frozenset(),
    )
    if peer.phase is Phase.LEAVING:
        return peer
    if is_over(peer):
        return end_run(peer)
    if event.merged and finish_is_due(peer, now):
        return stop(peer, 0, f"finished with round {event.position.round}, as you asked")
    if not peer.trainer_ready:
        return enter(peer, Phase.JOINING, "building the model")
    if peer.syncing is not None:
        return train(peer)
    return train(work(peer, f"round {event.position.round + 1}"))


def _state_dropped(peer: Peer, event: StateDropped, now: float) -> Peer:
    peer = replace(peer, position=None, run_tokens=0)
    return _sync_failed(peer, SyncFailed(event.position, event.reason), now)


def _sync_progress(peer: Peer, event: SyncProgress, now: float) -> Peer:
    return replace(peer, reason=event.words) if peer.syncing is not None else peer


def _synchronised(peer: Peer, event: Synchronised, now: float) -> Peer:
    peer = replace(peer, syncing=None)
    if peer.phase is not Phase.SYNCING or peer.position is None:
        return peer
    return work(peer, f"round {peer.position.round + 1}")


def _sync_failed(peer: Peer, event: SyncFailed, now: float) -> Peer:
    until = now + DISTRUST_SECONDS
    peer = replace(peer, syncing=None, distrusted=(*peer.distrusted, (event.position, until)))
    if peer.phase is Phase.LEAVING:
        return peer
    why = f"could not get round {event.position.round}: {event.reason}"
    return enter(peer, Phase.JOINING, why) if peer.position is None else work(peer, why)


def _forked(peer: Peer, event: Forked, now: float) -> Peer:
    # the first time counts: who only says that it was taken in does not prolong the wait
    since = now if peer.yields_since is None else peer.yields_since
    peer = replace(peer, syncing=None, yields_since=since)
    if peer.phase is Phase.LEAVING or peer.position is None:
        return peer
    return work(
        peer, f"the swarm was split after round {event.common_round}: waiting for "
        f"the larger half, at round {event.position.round}, to take this one's rounds in",
    )  # fmt: skip


def _take_in_failed(peer: Peer, event: TakeInFailed, now: float) -> Peer:
    until = now + DISTRUST_SECONDS
    distrusted = (*peer.distrusted, (event.position, until))
    return replace(peer, taking_in=None, distrusted=distrusted)


def _fell_behind(peer: Peer, event: FellBehind, now: float) -> Peer:
    peer = replace(peer, attempt_by=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    return enter(peer, Phase.SYNCING, event.reason)


def _attempt_began(peer: Peer, event: AttemptBegan, now: float) -> Peer:
    peer = replace(peer, attempt_by=event.leader, due_since=None)
    if peer.phase is Phase.LEAVING or peer.position is None:
        return peer
    peer = enter(peer, Phase.AVERAGING, f"round {peer.position.round + 1}")
    # what is trained from here on would be in no round
    return do(peer, Train(on=False)) if finish_is_due(peer, now) else peer


def _attempt_ended(peer: Peer, event: AttemptEnded, now: float) -> Peer:
    if event.leader != peer.attempt_by:
        return peer  # this peer was to lead, and was refused: another had cut a moment before
    peer = replace(peer, attempt_by=None)
    if peer.phase is Phase.LEAVING:
        return _last_attempt_ended(peer)
    if event.committed:
        return peer
    return replace(
        work(
            train(peer) if peer.finish is not None else peer,
            f"the last try at a round was void: {event.reason}",
        ),
        failed_leaders=peer.failed_leaders | {event.leader},
        retry_at=now + RETRY_SECONDS,
    )


def _last_attempt_ended(peer: Peer) -> Peer:
    return peer if peer.finished else left(peer)


def _leave_asked(peer: Peer, event: LeaveAsked, now: float) -> Peer:
    asked = peer.leaving
    # to leave for good counts more than to rest
    peer = replace(peer, leaving=event if asked is None or asked.rest else asked)
    if peer.phase is Phase.LEAVING and not peer.finished:
        return peer
    if peer.attempt_by is None:
        return left(peer)
    peer = enter(replace(peer, finished=False), Phase.LEAVING, "leaving after this round")
    return do(peer, Train(on=False))


def _finish_asked(peer: Peer, event: FinishAsked, now: float) -> Peer:
    if peer.phase is Phase.LEAVING:
        return replace(peer, finish=event)  # should it go to rest, it does not come back
    words = f"; {peer.finish.words}" if peer.finish is not None else ""
    peer = replace(peer, finish=event, reason=peer.reason.removesuffix(words))
    if peer.position is None or peer.course.paused:
        return stop(peer, 0, "finished: no round was under way")
    if peer.attempt_by is not None and finish_is_due(peer, now):
        peer = do(peer, Train(on=False))
    return enter(peer, peer.phase, peer.reason)


def _orders_given(peer: Peer, event: OrdersGiven, now: float) -> Peer:
    before, peer = peer.course, replace(peer, course=event.course)
    if event.course.banned:
        return stop(peer, Exit.BANNED, BANNED.format(run=peer.spec.run_id))
    if peer.phase is Phase.LEAVING or peer.position is None:
        return peer
    if bool(before.paused) != bool(event.course.paused):
        peer = _pause(peer) if event.course.paused else _resume(peer, now)
    # an end that has come is seen with the next view: what is under way is finished first
    return work(peer, peer.reason) if peer.phase is Phase.PAUSED else peer


def _pause(peer: Peer) -> Peer:
    """A round under way is finished, a download too; then this peer stands by."""
    if peer.phase is Phase.TRAINING:
        peer = enter(peer, Phase.PAUSED, peer.course.paused)
    return do(train(peer), KeepCheckpoint())


def _resume(peer: Peer, now: float) -> Peer:
    # nobody's rest counts: not as time since the last round, nor as patience with a split
    since = None if peer.yields_since is None else now
    peer = replace(peer, adopted_at=now, due_since=None, yields_since=since)
    if peer.phase is Phase.PAUSED and peer.position is not None:
        peer = enter(peer, Phase.TRAINING, f"round {peer.position.round + 1}")
    return train(peer)


def _wrapped_up(peer: Peer, event: WrappedUp, now: float) -> Peer:
    return replace(peer, wrapped_up_at=now)


_HANDLERS: dict[type[Event], Callable[[Peer, Any, float], Peer]] = {
    TrainerReady: _trainer_ready,
    TrainerLost: _trainer_lost,
    SwarmJoined: _swarm_joined,
    SwarmLost: _swarm_lost,
    ViewSeen: view_seen,
    StateAdopted: _state_adopted,
    StateDropped: _state_dropped,
    SyncProgress: _sync_progress,
    Synchronised: _synchronised,
    SyncFailed: _sync_failed,
    Forked: _forked,
    TakeInFailed: _take_in_failed,
    FellBehind: _fell_behind,
    AttemptBegan: _attempt_began,
    AttemptEnded: _attempt_ended,
    LeaveAsked: _leave_asked,
    FinishAsked: _finish_asked,
    OrdersGiven: _orders_given,
    WrappedUp: _wrapped_up,
}
