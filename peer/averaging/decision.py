"""Agreement over the network: the leader's proposal, and recovery when the leader is silent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from random import Random

import anyio

from peer.averaging.agreement import (
    NO_BALLOT,
    Acceptor,
    Ballot,
    Promise,
    known_decision,
    majority,
    proposal,
)
from peer.averaging.attempt import Attempt
from peer.averaging.methods import AGREEMENT
from peer.swarm.interface import Network, Refused, Unreachable, call, short
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0
RECOVERY_TRIES = 4

Decision = swarm_pb2.Decision


def void(reason: str) -> Decision:
    """The decision that nothing happened, and why."""
    return Decision(reason=reason)


async def propose(
    network: Network, attempt: Attempt, members: Iterable[str], ballot: Ballot, value: Decision
) -> Decision | None:
    """Get `value` accepted by a majority and let all learn it. None: no majority accepted."""
    others = list(members)
    promises = await _ask_all(network, attempt, others, ballot, accept=value)
    decided = known_decision(promises)
    if decided is None:
        if sum(it.granted for it in promises) < majority(len(others)):
            return None
        decided = value
    attempt.learn(decided)
    await _ask_all(network, attempt, others, ballot, learn=decided)
    return decided


async def recover(network: Network, attempt: Attempt, random: Random) -> Decision:
    """Find out, or bring about, the decision of an attempt whose leader is silent.

    When no majority of the roster answers for long, the most likely decision is returned; should
    it turn out to be wrong, the digests say so and the minority downloads the state again.
    """
    roster = attempt.roster
    if roster is None:
        raise ValueError("an attempt without a roster has nothing to recover")
    own = void("its leader fell silent before a majority had the result")
    for number in range(1, RECOVERY_TRIES + 1):
        # proposers that start at the same moment would outbid each other for ever
        with anyio.move_on_after(random.uniform(0.1, 0.5) * number):
            await attempt.decided.wait()
        if attempt.acceptor.decided is not None:
            return attempt.acceptor.decided
        above = max(attempt.acceptor.promised.number, 0) + number
        ballot = Ballot(above, network.peer_id)
        promises = await _ask_all(network, attempt, roster.members, ballot)
        decided = known_decision(promises)
        if decided is not None:
            attempt.learn(decided)
            return decided
        value = proposal(promises, len(roster.members), own)
        if value is not None:
            decided = await propose(network, attempt, roster.members, ballot, value)
            if decided is not None:
                return decided
    log.warning("round %d: no majority of the roster answers", roster.round)
    return attempt.acceptor.accepted or own


def answer(attempt: Attempt, caller: str, request: swarm_pb2.AgreementRequest) -> Promise[Decision]:
    """An acceptor's side: vote on a request of another member of the roster."""
    acceptor, roster = attempt.acceptor, attempt.roster
    if roster is None or caller not in roster.members:
        raise Refused("not a member of this attempt")
    if request.ballot.proposer != caller:
        raise Refused("a ballot of somebody else")
    if request.ballot.number == 0 and caller != roster.leader:
        raise Refused("ballot 0 belongs to the leader")
    ballot = Ballot(request.ballot.number, request.ballot.proposer)
    return _vote(attempt, acceptor, ballot, request)


def _vote(
    attempt: Attempt,
    acceptor: Acceptor[Decision],
    ballot: Ballot,
    request: swarm_pb2.AgreementRequest,
) -> Promise[Decision]:
    step = request.WhichOneof("step")
    if step == "prepare":
        return acceptor.prepare(ballot)
    if step == "accept":
        return acceptor.accept(ballot, request.accept)
    if step == "learn":
        attempt.learn(request.learn)
        return Promise(True, acceptor.promised, decided=request.learn)
    raise Refused("neither prepare, accept nor learn")


async def _ask_all(
    network: Network,
    attempt: Attempt,
    members: Iterable[str],
    ballot: Ballot,
    accept: Decision | None = None,
    learn: Decision | None = None,
) -> list[Promise[Decision]]:
    """Ask every member, this one included; those that do not answer are missing."""
    request = swarm_pb2.AgreementRequest(attempt=attempt.id, round=attempt.base.round)
    request.ballot.CopyFrom(ballot_message(ballot))
    if accept is not None:
        request.accept.CopyFrom(accept)
    elif learn is not None:
        request.learn.CopyFrom(learn)
    else:
        request.prepare = True
    promises = []

    async def ask(member: str) -> None:
        try:
            if member == network.peer_id:
                promises.append(_vote(attempt, attempt.acceptor, ballot, request))
            else:
                reply = await call(network, member, AGREEMENT, request, ANSWER_SECONDS)
                promises.append(parse_promise(reply))
        except (Unreachable, Refused) as error:
            log.debug("%s does not vote: %s", short(member), error)

    async with anyio.create_task_group() as tasks:
        for member in members:
            tasks.start_soon(ask, member)
    return promises


def ballot_message(ballot: Ballot) -> swarm_pb2.Ballot:
    return swarm_pb2.Ballot(number=max(ballot.number, 0), proposer=ballot.proposer)


def promise_message(promise: Promise[Decision]) -> swarm_pb2.AgreementReply:
    """What an acceptor answers."""
    reply = swarm_pb2.AgreementReply(
        granted=promise.granted,
        promised=ballot_message(promise.promised),
        accepted_ballot=ballot_message(promise.accepted_ballot),
    )
    if promise.accepted is not None:
        reply.accepted.CopyFrom(promise.accepted)
    if promise.decided is not None:
        reply.decided.CopyFrom(promise.decided)
    return reply


def parse_promise(reply: swarm_pb2.AgreementReply) -> Promise[Decision]:
    """What another acceptor answered."""
    accepted = reply.accepted if reply.HasField("accepted") else None
    accepted_ballot = NO_BALLOT
    if accepted is not None:
        accepted_ballot = Ballot(reply.accepted_ballot.number, reply.accepted_ballot.proposer)
    return Promise(
        reply.granted,
        Ballot(reply.promised.number, reply.promised.proposer),
        accepted_ballot,
        accepted,
        reply.decided if reply.HasField("decided") else None,
    )
