"""What a peer does about what it sees of the swarm: enter, catch up, take in, train, lead. Pure."""

from __future__ import annotations

from dataclasses import replace

from peer import halves, membership
from peer.condition import Peer, do, end_run, ending, enter, is_over, stop, stop_tokens, work
from peer.events import (
    BeginFromSeed,
    Lead,
    Phase,
    ResumeCheckpoint,
    Synchronise,
    TakeIn,
    ViewSeen,
)
from peer.membership import LEADER_PATIENCE, PeerFacts, Position
from swarmpb.exits import Exit

YIELD_SECONDS = 60.0
"""A half of a split swarm that nobody downloads from waits so long; then its rounds are lost."""
LONGEST_YIELD_SECONDS = 3600.0
"""And so long in all."""
LINGER_SECONDS = 10.0
"""At the run's end a peer waits so long for those that missed the last round,"""
MODEL_SECONDS = 60.0
"""so long for a coordinator that wants the model, since anybody last downloaded it,"""
LONGEST_LINGER_SECONDS = 3600.0
"""and so long in all."""


def view_seen(peer: Peer, event: ViewSeen, now: float) -> Peer:
    """Decide by the newest view."""
    distrusted = tuple((at, until) for at, until in peer.distrusted if until > now)
    peer = replace(peer, distrusted=distrusted)
    if peer.phase is Phase.LEAVING:
        return _linger(peer, event, now)
    if peer.finish is not None and now >= peer.finish.latest and peer.attempt_by is None:
        return stop(peer, 0, "finished: no further round ended in time; the rest is kept")
    if event.trainer_trouble and peer.trainer_ready:
        return replace(enter(peer, Phase.SYNCING, event.trainer_trouble), due_since=None)
    changing = peer.entering or peer.syncing is not None or peer.attempt_by is not None
    if changing or not peer.joined:
        return peer
    others = event.view.others(peer.peer_id)
    at = halves.head(others, _own_facts(peer, event), [position for position, _ in distrusted])
    own = peer.position
    if not peer.trainer_ready:
        # what others hold can be had while the model is being built
        early = own is None and peer.checkpoint is None and at is not None
        return _synchronise(peer, event, at, now) if early and at else peer
    if own is None:
        return _enter(peer, event, at, now)
    if at is not None and halves.is_behind(own, at, event.ancestors):
        return _synchronise(peer, event, at, now)
    if is_over(peer):
        return end_run(peer)
    peer = replace(peer, yields_since=None)
    if peer.course.paused:
        return work(peer, peer.reason)
    return _train_or_lead(_take_in(peer, event), event, own, now)


def _own_facts(peer: Peer, event: ViewSeen) -> PeerFacts | None:
    """What this peer's own record says; None without a state."""
    if peer.position is None:
        return None
    return PeerFacts(
        peer.peer_id, peer.position, peer.phase.value, 0, 0.0, 0.0,
        recent=event.ancestors, resumed=peer.resumed,
    )  # fmt: skip


def _take_in(peer: Peer, event: ViewSeen) -> Peer:
    """Of a split swarm, the larger half gets the other one's state, and merges it in a round."""
    others = event.view.others(peer.peer_id)
    there = halves.yielding(others, event.ancestors, peer.spec.round.min_peers)
    if there == peer.taking_in or there in [position for position, _ in peer.distrusted]:
        return peer
    peer = replace(peer, taking_in=there)
    if there is None:
        return peer  # what is at hand is merged all the same
    return do(peer, TakeIn(there, tuple(membership.holders_of(others, there))))


def _enter(peer: Peer, event: ViewSeen, at: Position | None, now: float) -> Peer:
    """A peer without a state looks for one."""
    if peer.checkpoint is not None:
        # then compared with the others': rounds that this machine has kept are not downloaded
        peer = enter(peer, Phase.SYNCING, "resuming this machine's checkpoint")
        return do(replace(peer, entering=True), ResumeCheckpoint())
    others = event.view.others(peer.peer_id)
    if at is not None:
        return _synchronise(peer, event, at, now)
    if any(other.position for other in others):
        return peer  # all of them distrusted: the reason says why
    if is_over(replace(peer, run_tokens=peer.known_tokens)):
        what = peer.course.finished or f"it has reached its target of {stop_tokens(peer):,} tokens"
        return stop(
            peer, Exit.RUN_FINISHED,
            f"run {peer.spec.run_id}: {what}; there is nothing left to train",
        )  # fmt: skip
    if peer.known_round > 0:
        # beginning anew here would fork the run that others will come back to
        return enter(
            peer, Phase.JOINING, f"the run stands at round {peer.known_round}, but no peer that "
            "holds it is here; waiting for one to come back",
        )  # fmt: skip
    peer = enter(peer, Phase.SYNCING, "first here: beginning the run")
    return do(replace(peer, entering=True), BeginFromSeed())


def _synchronise(peer: Peer, event: ViewSeen, at: Position, now: float) -> Peer:
    others = event.view.others(peer.peer_id)
    holders = tuple(membership.holders_of(others, at))
    if not holders:
        return peer
    behind = f"downloading the state of round {at.round}"
    give_up = False
    if event.giving or _others_wait_too(peer, event):
        peer = replace(peer, given_at=now)
    since = peer.yields_since
    if peer.position is not None and since is not None:
        taken_in = halves.is_taken_in(others, peer.position, at)
        idle = now - max(since, peer.given_at)
        tired = idle > YIELD_SECONDS or now - since > LONGEST_YIELD_SECONDS
        give_up = tired and not taken_in
        if not taken_in and (not give_up or peer.course.paused):
            return peer  # the reason says what it waits for; nobody takes it in during a pause
    elif peer.position is not None and peer.position.round == at.round:
        behind = f"{len(holders)} peers hold another state of round {at.round}: taking theirs"
    syncing = replace(enter(peer, Phase.SYNCING, behind), syncing=at)
    return do(syncing, Synchronise(at, holders, give_up))


def _others_wait_too(peer: Peer, event: ViewSeen) -> bool:
    """Whether the swarm was split in more than two: halves are taken in one after the other."""
    if peer.position is None:
        return False
    known = (peer.position.digest, *event.ancestors)
    others = event.view.others(peer.peer_id)
    return halves.yielding(others, known, peer.spec.round.min_peers) is not None


def _train_or_lead(peer: Peer, event: ViewSeen, own: Position, now: float) -> Peer:
    others = event.view.others(peer.peer_id)
    companions = membership.companions(others, own)
    # who is about to adopt the last round is here too
    needed, here = peer.spec.round.min_peers, 1 + len(membership.at_work(others))
    if here < needed:
        invite = f"invite another: {peer.invitation}"
        if peer.course.by_invitation:
            invite = "the run's owner can invite another"
        reason = f"{here} of {needed} peers needed to average; {invite}"
        return enter(peer, Phase.TRAINING, reason)
    if len(companions) + 1 < needed:
        reason = f"the others are about to adopt round {own.round}"
        return replace(enter(peer, Phase.TRAINING, reason), due_since=None)
    if now < peer.retry_at:
        return replace(peer, due_since=None)  # the reason says why the last try was void
    peer = enter(peer, Phase.TRAINING, f"round {own.round + 1}")
    shortest = max(peer.spec.round.min_seconds, event.sustained_round)
    elapsed, trained = now - peer.adopted_at, event.own_tokens
    due = membership.cut_is_due(
        others, own, trained, elapsed, shortest, peer.spec.round, event.wall
    )
    if not due:
        return replace(peer, due_since=None)
    since = now if peer.due_since is None else peer.due_since
    abreast = set(companions).intersection(membership.holders_of(others, own))
    hidden = {it.peer_id for it in event.view.peers if it.link.client_mode}
    order = membership.leading_order(
        peer.spec.run_id, own.round, [*abreast, peer.peer_id], peer.failed_leaders, hidden
    )
    if now - since < order.index(peer.peer_id) * LEADER_PATIENCE:
        return replace(peer, due_since=since)
    # from now on, not from `AttemptBegan`: the next view must not lead a second attempt
    return do(replace(peer, due_since=None, attempt_by=peer.peer_id), Lead(tuple(companions)))


def _linger(peer: Peer, event: ViewSeen, now: float) -> Peer:
    """At the run's end, serve those that want its last state before leaving."""
    if not peer.finished or peer.wrapped_up_at is None or peer.position is None:
        return peer
    round_reached, wrapped_up_at = peer.position.round, peer.wrapped_up_at
    if event.giving:
        peer = replace(peer, given_at=now)
    others = event.view.others(peer.peer_id)
    late = [it for it in others if it.position is None or it.position.round < round_reached]
    idle = now - max(wrapped_up_at, peer.given_at)
    if now - wrapped_up_at >= LONGEST_LINGER_SECONDS:
        return stop(peer, 0, ending(peer))
    if late and idle < LINGER_SECONDS:
        return peer
    if event.model_wanted and idle < MODEL_SECONDS:
        return enter(peer, Phase.LEAVING, f"{ending(peer)}: handing over its model")
    return stop(peer, 0, ending(peer))
