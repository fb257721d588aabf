"""The headline of a run's page, from all that is known of the run at one moment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.domain import Run, RunFacts
from coordinator.happenings.watch import Standing
from coordinator.reports.progress import Ledger
from coordinator.spectators.condition import Situation, condition, seconds_left
from coordinator.spectators.views import RunLine, RunOverview
from swarmpb.membership import RunState, StandingOrders
from swarmpb.redaction import redacted
from swarmpb.spec import RunSpec

STATES = {
    RunState.DRAFT: "draft",
    RunState.OPEN: "open",
    RunState.PAUSED: "paused",
    RunState.FINISHING: "finishing",
    RunState.FINISHED: "finished",
}


@dataclass(frozen=True)
class Wishes:
    """What a run's owner wants of it now."""

    state: str = "open"
    reason: str = ""
    invite_only: bool = False
    target_tokens: int = 0
    """Where it ends."""

    @classmethod
    def of(cls, run: Run, orders: StandingOrders | None) -> Wishes:
        """Those in a run's orders; without any it is open to all."""
        if orders is None:
            return cls(target_tokens=run.target_tokens)
        stop = orders.stop_tokens or run.target_tokens
        return cls(
            state=STATES.get(orders.state, "open"),
            reason=orders.reason,
            invite_only=orders.invite_only,
            target_tokens=min(stop, run.target_tokens),
        )


@dataclass(frozen=True)
class Past:
    """What the store tells of a run's newest rounds."""

    commits: Sequence[tuple[float, int]] = ()
    """When each was committed (unix seconds) and what was merged after it, the oldest first."""
    validated_round: int | None = None
    validated_at: float | None = None


def line(run: Run, ledger: Ledger, wishes: Wishes, now: float) -> RunLine:
    """A run in the list of all runs."""
    return RunLine(
        run_id=run.run_id,
        description=run.description,
        state=wishes.state,
        created_at=run.created_at_ms / 1000,
        peers_live=ledger.count_live(now),
        round=ledger.round,
        tokens=ledger.tokens,
        target_tokens=wishes.target_tokens,
    )


def overview(
    run: Run,
    spec: RunSpec,
    ledger: Ledger,
    wishes: Wishes,
    standing: Standing,
    past: Past,
    parameters: int | None,
    join_command: str,
    now: float,
) -> RunOverview:
    """The headline at `now` (unix seconds)."""
    facts = ledger.headline(now)
    peers_ever = len(ledger.peers)
    since_commit = max(0.0, now - past.commits[-1][0]) if past.commits else None
    word, reason = condition(
        _situation(facts, wishes, standing, peers_ever, since_commit), spec.round
    )
    heard = ledger.heard_at
    coverage = facts.coverage
    chunks = coverage.pass_chunks if coverage else 0
    return RunOverview(
        run_id=run.run_id,
        description=run.description,
        now=now,
        model=spec.model.architecture,
        parameters=parameters,
        state=wishes.state,
        condition=word,
        reason=redacted(reason),
        invite_only=wishes.invite_only,
        join_command=join_command,
        owner=run.owner_key.hex(),
        spec_hash=run.spec_hash.hex(),
        created_at=run.created_at_ms / 1000,
        round=facts.round,
        tokens=facts.tokens,
        target_tokens=wishes.target_tokens,
        progress=min(1.0, facts.tokens / wishes.target_tokens),
        seconds_left=_left(word, facts, wishes, past),
        tokens_per_second=facts.tokens_per_second,
        peers_live=facts.peers_live,
        peers_ever=peers_ever,
        train_loss=facts.train_loss,
        validation_loss=facts.validation_loss,
        first_validation_loss=facts.first_validation_loss,
        validation_round=past.validated_round,
        validation_seconds_ago=(
            None if past.validated_at is None else max(0.0, now - past.validated_at)
        ),
        rounds_committed=facts.rounds_committed,
        rounds_void=facts.rounds_void,
        last_round_seconds_ago=since_commit,
        digests_agree=facts.digests_agree,
        bytes_sent_per_round=facts.bytes_sent_per_round,
        report_seconds_ago=None if heard is None else max(0.0, now - heard),
        text_seen_once=coverage.merged_once / chunks if coverage and chunks else None,
        text_seen_again=coverage.merged_again / chunks if coverage and chunks else None,
        passes=coverage.passes if coverage else None,
    )


def _situation(
    facts: RunFacts,
    wishes: Wishes,
    standing: Standing,
    peers_ever: int,
    since_commit: float | None,
) -> Situation:
    return Situation(
        state=wishes.state,
        state_reason=wishes.reason,
        invite_only=wishes.invite_only,
        tokens=facts.tokens,
        target_tokens=wishes.target_tokens,
        peers_live=facts.peers_live,
        peers_ever=peers_ever,
        since_commit=since_commit,
        waiting=standing.waiting,
        intervals=standing.intervals,
        newest_void=standing.newest_void,
        diverged_round=standing.diverged_round,
    )


def _left(word: str, facts: RunFacts, wishes: Wishes, past: Past) -> float | None:
    """Only of a run that goes on: a pace of the past says nothing about one that stands."""
    if word not in ("training", "finishing", "finished"):
        return None
    if word == "finished":
        return 0.0 if facts.tokens >= wishes.target_tokens else None
    return seconds_left(facts.tokens, wishes.target_tokens, past.commits)
