"""Leading an attempt at a round: call for the cut, fix the roster, compile the manifest, decide."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import anyio.to_thread

from peer.averaging import methods
from peer.averaging.agreement import Ballot
from peer.averaging.attempt import Attempt
from peer.averaging.decision import Decision, recover, void
from peer.averaging.parts import MAX_MEMBERS, MAX_TOKENS, HeldPart, PartReport
from peer.averaging.roster import (
    ATTEMPT_BYTES,
    Malformed,
    Manifest,
    ManifestPart,
    Roster,
    compile_parts,
    form_roster,
    manifest_message,
    merged_tokens,
    parse_report,
    roster_message,
)
from peer.averaging.rounds import Rounds
from peer.swarm.interface import Refused, Unreachable, call, short
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)


async def lead(rounds: Rounds, others: Sequence[str]) -> None:
    """Lead one attempt at the next round with `others`, the live peers that stand where we do.

    Raises `Refused` if this peer itself cannot take part.
    """
    own = rounds.network.peer_id
    attempt = await rounds.begin(rounds.random.randbytes(ATTEMPT_BYTES), own)
    try:
        decision = await _attempt(rounds, attempt, list(others)[: MAX_MEMBERS - 1])
    except BaseException:
        rounds.abandon(attempt)
        raise
    await rounds.conclude(attempt, decision)


async def _attempt(rounds: Rounds, attempt: Attempt, others: Sequence[str]) -> Decision:
    tokens, refusals = await _call_for_cut(rounds, attempt, others)
    tokens[rounds.network.peer_id] = attempt.cut.tokens
    if problem := _too_few(tokens, len(others) + 1, rounds.spec.round.min_peers, refusals):
        return void(problem)
    base = attempt.base
    roster = form_roster(
        attempt.id, base.round, base.digest, attempt.leader, tokens, base.parameters.size
    )
    reports = await _exchange(rounds, attempt, roster)
    decision = await _compile(rounds, attempt, roster, reports)
    voters = rounds.voters(attempt)
    agreed = await voters.propose(Ballot(0, attempt.leader), decision)
    if agreed is None:
        agreed = await recover(voters, rounds.random)
    await rounds.announce(attempt, agreed)
    return agreed


def _too_few(tokens: dict[str, int], live: int, min_peers: int, refusals: list[str]) -> str:
    """Why a round with these members would not be the swarm's; empty if it would."""
    because = f" ({'; '.join(refusals)})" if refusals else ""
    if len(tokens) < min_peers:
        return f"{len(tokens)} of {min_peers} peers needed have cut{because}"
    if 2 * len(tokens) <= live:
        # two halves that each thought the other dead would commit different rounds
        return f"only {len(tokens)} of {live} live peers have cut{because}"
    if not any(tokens.values()):
        return "nobody has trained since the last round"
    return ""


async def _call_for_cut(
    rounds: Rounds, attempt: Attempt, others: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """The tokens of those that have cut, and why the others have not."""
    base, tokens, refusals = attempt.base, {}, []
    request = swarm_pb2.CutRequest(
        attempt=attempt.id, round=base.round, digest=base.digest, spec_hash=rounds.spec.hash()
    )

    async def ask(other: str) -> None:
        try:
            reply = await call(rounds.network, other, methods.CUT, request, rounds.deadlines.cut)
        except (Unreachable, Refused) as error:
            refusals.append(f"{short(other)}: {error}")
        else:
            if reply.tokens > MAX_TOKENS:
                refusals.append(f"{short(other)}: claims {reply.tokens} tokens")
            else:
                tokens[other] = reply.tokens

    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(ask, other)
    return tokens, refusals


async def _exchange(
    rounds: Rounds, attempt: Attempt, roster: Roster
) -> dict[int, list[PartReport]]:
    """Run the exchange; by member, what each reports to hold. Silent members are missing."""
    reports: dict[int, list[PartReport]] = {}
    message = roster_message(roster, rounds.spec)
    seconds = rounds.spec.round.exchange_seconds + rounds.deadlines.report

    async def tell(index: int, member: str) -> None:
        try:
            reply = await call(rounds.network, member, methods.ROSTER, message, seconds)
            reports[index] = parse_report(reply, roster)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no report from %s: %s", short(member), error)

    async with anyio.create_task_group() as tasks:
        for index, member in enumerate(roster.members):
            if member != rounds.network.peer_id:
                tasks.start_soon(tell, index, member)
        exchange = await rounds.exchange(attempt, roster)
    own = roster.index(rounds.network.peer_id)
    reports[own] = [
        PartReport(index, held.digest, held.included, held.left_out)
        for index, held in exchange.held.items()
    ]
    return reports


async def _compile(
    rounds: Rounds, attempt: Attempt, roster: Roster, reports: dict[int, list[PartReport]]
) -> Decision:
    """What to propose: the manifest with the state that it leads to, or why there is none."""
    parts = compile_parts(roster, reports)
    exchange, base = attempt.exchange, attempt.base
    have = exchange.held if exchange else {}
    held: dict[int, HeldPart] = {}
    reachable: list[ManifestPart] = []
    for index, part in enumerate(parts):
        try:
            held |= await rounds.archive.gather_part(roster, index, part, have)
            reachable.append(part)
        except Unreachable as error:
            log.debug("round %d, part %d: %s", base.round, index, error)
            reachable.append(ManifestPart(void=True))
    if not held:
        return void("every owner was lost")
    tokens = base.tokens + merged_tokens(roster, reachable)
    state = await anyio.to_thread.run_sync(rounds.archive.outer_step, base, tokens, roster, held)
    have.update(held)
    manifest = Manifest(roster, tuple(reachable), tokens, state.digest)
    return Decision(manifest=manifest_message(manifest, rounds.spec))
