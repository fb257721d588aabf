"""What a run's state amounts to just now, in one word and in words to act on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from coordinator.happenings.happening import span
from coordinator.happenings.stalling import is_stalled
from swarmpb.spec import RoundSpec

Condition = Literal[
    "draft", "waiting", "training", "stalled", "diverged", "paused", "finishing", "finished"
]

RECENT_RATES = 20
"""The estimate is from so many of the newest rounds."""
FURTHEST_SECONDS = 10 * 365 * 86_400.0
"""Nobody is helped by an estimate beyond this."""


@dataclass(frozen=True)
class Situation:
    """All that the condition of a run follows from."""

    state: str
    """draft, open, paused, finishing or finished,"""
    state_reason: str
    """as its owner says why; may be empty."""
    invite_only: bool
    tokens: int
    target_tokens: int
    peers_live: int
    peers_ever: int
    since_commit: float | None
    """Seconds since a round was committed; None: there was none."""
    waiting: float
    """Seconds in which nothing but a commit has been missing."""
    intervals: Sequence[float]
    """Seconds between commits, of the newest rounds."""
    newest_void: str
    """Why the last attempt came to nothing; empty: it did not."""
    diverged_round: int | None
    """A round whose members hold different states, and have not come together since."""


def condition(it: Situation, spec: RoundSpec) -> tuple[Condition, str]:
    """The word, and a line that says why and what to do; empty where nothing needs to be said."""
    ended = _as_its_owner_wants(it)
    if ended is not None:
        return ended
    if not it.peers_live:
        return "waiting", _deserted(it)
    if it.peers_live < spec.min_peers:
        return "waiting", _too_few(it, spec)
    if it.diverged_round is not None:
        return "diverged", (
            f"members of round {it.diverged_round} hold different states; those in the minority"
            " fetch the others' by themselves: if this lasts, see who was in that round"
        )
    if is_stalled(spec, it.peers_live, it.waiting, it.intervals):
        return "stalled", _stalled(it)
    if it.state == "finishing":
        return "finishing", _and(
            "the learning rate falls over the last tokens; then the run is finished",
            it.state_reason,
        )
    if it.since_commit is None:
        return "training", "no round has been committed yet; the first one is under way"
    return "training", ""


def seconds_left(
    tokens: int, target_tokens: int, commits: Sequence[tuple[float, int]]
) -> float | None:
    """How long until the target at the pace of the newest rounds; None: nobody can know.

    commits: of the newest rounds, the oldest first, when each was committed (unix seconds) and
    what was merged in the run after it. One slow round, or one clock that is wrong, moves the
    median little.
    """
    if tokens >= target_tokens:
        return 0.0
    newest = commits[-RECENT_RATES - 1 :]
    rates = [
        (later_tokens - tokens_then) / (later - then)
        for (then, tokens_then), (later, later_tokens) in pairwise(newest)
        if later > then
    ]
    rate = median(rates) if rates else 0.0
    if rate <= 0:
        return None
    left = (target_tokens - tokens) / rate
    return left if left < FURTHEST_SECONDS else None


def _as_its_owner_wants(it: Situation) -> tuple[Condition, str] | None:
    if it.state == "draft":
        return "draft", "nobody can join yet: its owner opens it with `coordinator run resume`"
    if it.state == "paused":
        return "paused", _and("paused by its owner; peers keep their work", it.state_reason)
    if it.state == "finished" or it.tokens >= it.target_tokens:
        reached = it.tokens >= it.target_tokens
        why = "the target is reached" if reached else "ended by its owner"
        return "finished", _and(why, "" if reached else it.state_reason)
    return None


def _deserted(it: Situation) -> str:
    invite = _invite(it)
    if not it.peers_ever:
        return f"nobody has joined yet; {invite}"
    return f"no peer is live; the run goes on when one comes back, or {invite}"


def _too_few(it: Situation, spec: RoundSpec) -> str:
    live = "1 peer is live" if it.peers_live == 1 else f"{it.peers_live} peers are live"
    return f"{live}, and a round needs {spec.min_peers}; {_invite(it)}"


def _stalled(it: Situation) -> str:
    since = "no round has ever been committed"
    if it.since_commit is not None:
        since = f"no round has been committed for {span(it.since_commit)}"
    why = f"the last attempt was void: {it.newest_void}" if it.newest_void else (
        "the peers' reasons in the table may tell why"
    )  # fmt: skip
    return f"{since}, though {it.peers_live} peers are live; {why}"


def _invite(it: Situation) -> str:
    if it.invite_only:
        return "its owner invites others with `coordinator invite create`"
    return "others join with the command below"


def _and(line: str, reason: str) -> str:
    return f"{line}: {reason}" if reason else line
