"""Agreement over the network: the leader's proposal, and recovery when the leader is silent."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import Random

import anyio

from peer.averaging.agreement import (
    NO_BALLOT,
    Ballot,
    Promise,
    known_decision,
    majority,
    proposal,
)
from peer.averaging.attempt import Attempt
from peer.averaging.deadlines import Deadlines
from peer.averaging.methods import AGREEMENT
from peer.swarm.interface import (
    MAX_REASON_LENGTH,
    Network,
    Refused,
    Unreachable,
    call,
    printable,
    short,
)
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

Decision = swarm_pb2.Decision


def void(reason: str) -> Decision:
    """The decision that nothing happened, and why."""
    return Decision(reason=reason)


@dataclass(frozen=True)
class Voters:
    """The roster of an attempt as one member reaches it."""

    network: Network
    attempt: Attempt
    members: tuple[str, ...]
    deadlines: Deadlines

    async def propose(self, ballot: Ballot, value: Decision) -> Decision | None:
        """Get `value` accepted by a majority. None: no majority accepted."""
        promises = await self._ask(ballot, _accept(value))
        decided = known_decision(promises)
        if decided is None and sum(it.granted for it in promises) >= majority(len(self.members)):
            decided = value
        if decided is not None:
            self.attempt.learn(decided)
        return decided

    async def spread(self, decision: Decision) -> None:
        """Tell every member what is decided; those that do not hear it will ask."""
        everybody = len(self.members)
        request = swarm_pb2.AgreementRequest(learn=decision)
        await self._ask(Ballot(0, self.network.peer_id), request, enough=everybody)

    async def prepare(self, ballot: Ballot) -> list[Promise[Decision]]:
        """Ask for promises until a majority has given them."""
        return await self._ask(ballot, swarm_pb2.AgreementRequest(prepare=True))

    async def _ask(
        self, ballot: Ballot, request: swarm_pb2.AgreementRequest, enough: int = 0
    ) -> list[Promise[Decision]]:
        """Ask every member, this one included, until `enough` have granted it (a majority)."""
        enough = enough or majority(len(self.members))
        request.attempt, request.round = self.attempt.id, self.attempt.base.round
        request.ballot.CopyFrom(_ballot_message(ballot))
        promises: list[Promise[Decision]] = []
        async with anyio.create_task_group() as tasks:

            async def ask(member: str) -> None:
                try:
                    promises.append(await self._vote_of(member, ballot, request))
                except (Unreachable, Refused) as error:
                    log.debug("%s does not vote: %s", short(member), error)
                if sum(it.granted for it in promises) >= enough:
                    tasks.cancel_scope.cancel()

            for member in self.members:
                tasks.start_soon(ask, member)
        return promises

    async def _vote_of(
        self, member: str, ballot: Ballot, request: swarm_pb2.AgreementRequest
    ) -> Promise[Decision]:
        if member == self.network.peer_id:
            return _vote(self.attempt, ballot, request)
        reply = await call(self.network, member, AGREEMENT, request, self.deadlines.vote)
        return _parse_promise(reply)


async def recover(voters: Voters, random: Random) -> Decision:
    """Find out, or bring about, the decision of an attempt whose leader is silent.

    When no majority of the roster answers for long, the attempt counts as void here, whatever this
    member had accepted: nobody takes an outer step alone. Should the others have committed it,
    this member is behind them, and catches up.
    """
    attempt, own = voters.attempt, void("its leader fell silent before a majority had the result")
    for number in range(1, voters.deadlines.recovery_tries + 1):
        # proposers that start at the same moment would outbid each other for ever
        with anyio.move_on_after(random.uniform(0.1, 0.5) * number):
            await attempt.decided.wait()
        if attempt.acceptor.decided is not None:
            return attempt.acceptor.decided
        above = max(attempt.acceptor.promised.number, 0) + number
        ballot = Ballot(above, voters.network.peer_id)
        promises = await voters.prepare(ballot)
        decided = known_decision(promises)
        if decided is not None:
            attempt.learn(decided)
            return decided
        value = proposal(promises, len(voters.members), own)
        decided = None if value is None else await voters.propose(ballot, value)
        if decided is not None:
            return decided
    return void("no majority of the roster answers")


def answer(attempt: Attempt, caller: str, request: swarm_pb2.AgreementRequest) -> Promise[Decision]:
    """An acceptor's side: vote on a request of another member of the roster."""
    roster = attempt.roster
    if roster is None and caller == attempt.leader and request.HasField("learn"):
        # the leader has given up before there was a roster: what it says binds nobody else
        attempt.release(printable(request.learn.reason, MAX_REASON_LENGTH))
        return Promise(True, attempt.acceptor.promised)
    if roster is None or caller not in roster.members:
        raise Refused("not a member of this attempt")
    if request.ballot.proposer != caller:
        raise Refused("a ballot of somebody else")
    step = request.WhichOneof("step")
    if step != "learn" and request.ballot.number == 0 and caller != roster.leader:
        raise Refused("ballot 0 belongs to the leader")
    ballot = Ballot(request.ballot.number, request.ballot.proposer)
    return _vote(attempt, ballot, request)


def _vote(
    attempt: Attempt, ballot: Ballot, request: swarm_pb2.AgreementRequest
) -> Promise[Decision]:
    acceptor = attempt.acceptor
    step = request.WhichOneof("step")
    if step == "prepare":
        return acceptor.prepare(ballot)
    if step == "accept":
        return acceptor.accept(ballot, request.accept)
    if step == "learn":
        attempt.learn(request.learn)
        return Promise(True, acceptor.promised, decided=request.learn)
    raise Refused("neither prepare, accept nor learn")


def _accept(value: Decision) -> swarm_pb2.AgreementRequest:
    return swarm_pb2.AgreementRequest(accept=value)


def _ballot_message(ballot: Ballot) -> swarm_pb2.Ballot:
    return swarm_pb2.Ballot(number=max(ballot.number, 0), proposer=ballot.proposer)


def promise_message(promise: Promise[Decision]) -> swarm_pb2.AgreementReply:
    """What an acceptor answers."""
    reply = swarm_pb2.AgreementReply(
        granted=promise.granted,
        promised=_ballot_message(promise.promised),
        accepted_ballot=_ballot_message(promise.accepted_ballot),
    )
    if promise.accepted is not None:
        reply.accepted.CopyFrom(promise.accepted)
    if promise.decided is not None:
        reply.decided.CopyFrom(promise.decided)
    return reply


def _parse_promise(reply: swarm_pb2.AgreementReply) -> Promise[Decision]:
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
