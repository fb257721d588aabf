"""Leading an attempt at a round: call for the cut, fix the roster, compile the manifest, decide."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import anyio.to_thread

from peer.averaging import methods
from peer.averaging.agreement import Ballot
from peer.averaging.answers import silence_seconds
from peer.averaging.attempt import Attempt
from peer.averaging.coverage import parse_chunks
from peer.averaging.decision import Decision, Voters, recover, void
from peer.averaging.exchange import Exchange
from peer.averaging.history import Branch
from peer.averaging.links import parse_link
from peer.averaging.malformed import Malformed, require
from peer.averaging.manifest import (
    Manifest,
    ManifestPart,
    Report,
    compile_parts,
    left_out_of,
    manifest_message,
    merged_tokens,
    parse_report,
    report_of,
)
from peer.averaging.parts import MAX_MEMBERS, MAX_TOKENS
from peer.averaging.roster import ATTEMPT_BYTES, Pledge, Roster, form_roster, roster_message
from peer.averaging.rounds import Rounds
from peer.swarm.interface import Refused, Unreachable, call, short
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)


async def lead(rounds: Rounds, others: Sequence[str]) -> None:
    """Lead one attempt at the next round with `others`, the live peers that stand where we do.

    Raises `Refused` if this peer itself cannot take part.
    """
    own = rounds.network.peer_id
    attempt = rounds.enlist(rounds.random.randbytes(ATTEMPT_BYTES), own)
    try:
        decision = await _attempt(rounds, attempt, list(others)[: MAX_MEMBERS - 1])
    except BaseException:
        rounds.abandon(attempt)
        raise
    await rounds.conclude(attempt, decision)


async def _attempt(rounds: Rounds, attempt: Attempt, others: Sequence[str]) -> Decision:
    pledges, refusals, own_refusal = await _cut_everywhere(rounds, attempt, others)
    problem = _too_few(pledges, len(others) + 1, rounds.spec.round.min_peers, refusals)
    if own_refusal is not None or problem:
        # those that have cut are free for the next try
        freed = Voters(rounds.network, attempt, tuple(others), rounds.deadlines)
        rounds.tasks.start_soon(freed.spread, void(str(own_refusal or problem)))
        if own_refusal is not None:
            raise own_refusal
        return void(problem)
    codec = rounds.spec.round.codec
    roster = form_roster(attempt.id, attempt.base, attempt.leader, pledges, codec)
    reports = await _exchange(rounds, attempt, roster)
    branch = _branch_to_merge(rounds, pledges)
    decision = await _compile(rounds, attempt, roster, reports, branch)
    voters = rounds.voters(attempt)
    agreed = await voters.propose(Ballot(0, attempt.leader), decision)
    if agreed is None:
        agreed = await recover(voters, rounds.random)
    await rounds.announce(attempt, agreed)
    return agreed


def _too_few(pledges: dict[str, Pledge], live: int, min_peers: int, refusals: list[str]) -> str:
    """Why a round with these members would not be the swarm's; empty if it would."""
    because = f" ({'; '.join(refusals)})" if refusals else ""
    if len(pledges) < min_peers:
        return f"{len(pledges)} of {min_peers} peers needed have cut{because}"
    if 2 * len(pledges) <= live:
        # two halves that each thought the other dead would commit different rounds
        return f"only {len(pledges)} of {live} live peers have cut{because}"
    if not any(pledge.tokens for pledge in pledges.values()):
        return "nobody has trained since the last round"
    return ""


async def _cut_everywhere(
    rounds: Rounds, attempt: Attempt, others: Sequence[str]
) -> tuple[dict[str, Pledge], list[str], Refused | None]:
    """What those say that have cut, and why others and this peer have not; all at once."""
    own_refusal: Refused | None = None

    async def cut_here() -> None:
        nonlocal own_refusal
        try:
            await rounds.cut(attempt)
        except Refused as refusal:
            own_refusal = refusal

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_here)
        pledges, refusals = await _call_for_cut(rounds, attempt, others)
    if own_refusal is None:
        cut = attempt.cut
        branch = rounds.history.branch_digest
        pledges[rounds.network.peer_id] = Pledge(cut.tokens, rounds.link, cut.chunks, branch)
    return pledges, refusals, own_refusal


async def _call_for_cut(
    rounds: Rounds, attempt: Attempt, others: Sequence[str]
) -> tuple[dict[str, Pledge], list[str]]:
    """What those say that have cut, and why the others have not."""
    base = attempt.base
    pledges: dict[str, Pledge] = {}
    refusals: list[str] = []
    request = swarm_pb2.CutRequest(
        attempt=attempt.id, round=base.round, digest=base.digest, spec_hash=rounds.spec.hash()
    )

    async def ask(other: str) -> None:
        try:
            shortly = rounds.history.is_suspect(other)
            seconds = rounds.deadlines.suspect if shortly else rounds.deadlines.cut
            reply = await call(rounds.network, other, methods.CUT, request, seconds)
            require(reply.tokens <= MAX_TOKENS, f"claims {reply.tokens} tokens")
            chunks = parse_chunks(reply.chunks)
        except (Unreachable, Refused, Malformed) as error:
            if isinstance(error, Unreachable):
                rounds.history.suspect([other])
            refusals.append(f"{short(other)}: {error}")
        else:
            pledges[other] = Pledge(reply.tokens, parse_link(reply.link), chunks, reply.branch)

    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(ask, other)
    return pledges, refusals


async def _exchange(rounds: Rounds, attempt: Attempt, roster: Roster) -> dict[int, Report]:
    """Run the exchange; by member, what each reports to hold. Silent members are missing."""
    reports: dict[int, Report] = {}
    message = roster_message(roster, rounds.spec)
    seconds = rounds.spec.round.exchange_seconds + rounds.deadlines.report
    own = roster.index(rounds.network.peer_id)
    news = anyio.Event()

    def add(index: int, report: Report) -> None:
        nonlocal news
        reports[index] = report
        news.set()
        news = anyio.Event()

    async def tell(index: int, member: str) -> None:
        try:
            reply = await call(rounds.network, member, methods.ROSTER, message, seconds)
            add(index, parse_report(reply, roster))
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no report from %s: %s", short(member), error)

    async with anyio.create_task_group() as tasks:
        for index, member in enumerate(roster.members):
            if index != own:
                tasks.start_soon(tell, index, member)
        exchange = await rounds.exchange(attempt, roster)
        add(own, report_of(exchange.held))
        # who has not got all of it by then will fetch the rest
        with anyio.move_on_after(max(rounds.deadlines.report, silence_seconds(seconds))):
            while len(reports.keys() | exchange.lost) < len(roster.members):
                await news.wait()
        await attempt.foresight.wait()
        tasks.cancel_scope.cancel()
    return reports


def _branch_to_merge(rounds: Rounds, pledges: dict[str, Pledge]) -> Branch | None:
    """The other half's state, once most members have it: the rest must download the result."""
    digest = rounds.history.branch_digest
    ready = sum(pledge.branch == digest for pledge in pledges.values())
    return rounds.history.branch if digest and 2 * ready > len(pledges) else None


async def _compile(
    rounds: Rounds,
    attempt: Attempt,
    roster: Roster,
    reports: dict[int, Report],
    branch: Branch | None,
) -> Decision:
    """What to propose: the manifest with the state that it leads to, or why there is none."""
    exchange, base = attempt.exchange, attempt.base
    assert exchange is not None, "compiled after the exchange"  # noqa: S101  an invariant
    parts = compile_parts(roster, reports)
    surprised = await _fetch_missing(rounds, exchange, parts)
    held = {
        index: mine
        for index, mine in exchange.held.items()
        if mine.is_what(parts[index].digest, parts[index].included)
    }
    if not held:
        return void("every owner was lost")
    parts = tuple(
        part if index in held else ManifestPart(void=True) for index, part in enumerate(parts)
    )
    tokens = base.tokens + merged_tokens(roster, parts)
    if attempt.foreseen is None or surprised or branch is not None:
        attempt.foreseen = await anyio.to_thread.run_sync(
            rounds.archive.outer_step, base, tokens, roster, held, branch
        )
    state, left_out = attempt.foreseen, left_out_of(roster, parts, reports)
    merge = branch.merge if branch else None
    manifest = Manifest(roster, parts, state.tokens, state.digest, left_out, merge)
    return Decision(manifest=manifest_message(manifest, rounds.spec))


async def _fetch_missing(rounds: Rounds, exchange: Exchange, parts: Sequence[ManifestPart]) -> bool:
    """Get what the members agree on and this one does not have; whether there was any."""
    mine = exchange.held
    missing = [
        index
        for index, part in enumerate(parts)
        if not part.void and not (index in mine and mine[index].is_what(part.digest, part.included))
    ]
    # the members wait: what cannot be had soon is void
    with anyio.move_on_after(rounds.deadlines.report):
        await rounds.archive.fetch_parts(exchange.roster, parts, missing, exchange.correct)
    return bool(missing)
