"""What a run under a plan of faults comes to, from what its peers wrote down. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tests.benchmarks.churn_rounds import (
    Happened,
    Story,
    commits_of,
    disagreements,
    fault_of,
    lineage,
    merges,
    merges_on,
    skipped,
    states,
    twice,
    void,
)
from tests.faults.plan import Freeze, Join, Return, Split

LAST_SHARE = 0.3
"""Of the merged tokens that two runs have in common: where their losses are compared."""
JOIN_FACTOR, JOIN_ROUNDS = 1.3, 1.0
"""A joiner's aim: the time that its link takes for the state, times this, and so many rounds."""


@dataclass
class Figures:
    """One run."""

    condition: str
    seed: int
    rounds: int
    void: int
    seconds: float
    """From the first committed round to the last."""
    round_seconds: float
    """Median time from one committed round to the next."""
    longest_pause: float
    """Between two committed rounds."""
    computed: int
    """Tokens that survivors trained until their last round's cut."""
    merged: int
    """Of those, in rounds."""
    run_tokens: int
    """Merged of all peers."""
    idle_steps: float
    """The longest that a survivor's trainer did nothing, in inner steps of its own; from the first
    committed round on: while eight peers start on two cores, the cores are what they wait for.
    """
    step_seconds: float
    states: int
    """Digests that were compared."""
    disagreements: list[str]
    losses: list[tuple[int, float]] = field(default_factory=list)
    """(merged tokens of the run, validation loss)."""
    recoveries: list[tuple[str, float | None]] = field(default_factory=list)
    """(fault, seconds until the peer's next work was merged; None: never)."""
    joins: list[tuple[float, float]] = field(default_factory=list)
    """(seconds from the start of a newcomer to its first merged work, the aim)."""
    not_happened: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Peers that ended though nothing had hit them, with their last words."""
    forked: int = 0
    """Rounds that one side of a split network made and that are not the run's."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """(seconds after the first round, fault)."""
    idles: list[tuple[float, int, float]] = field(default_factory=list)
    """(seconds after the first round, peer, inner steps) of all idle times above one step."""
    commits: list[float] = field(default_factory=list)
    """Seconds after the first round."""
    skipped: int | None = None
    """Chunks that are not merged though as many are as would have reached them ten
    rounds before the end, done in their order; None: the peers have none.
    """
    twice: float | None = None
    """Share of the chunks merged that had been before."""

    @property
    def share(self) -> float:
        return self.merged / self.computed if self.computed else math.nan


def figures(
    condition: str,
    seed: int,
    stories: Sequence[Story],
    happened: Sequence[Happened],
    tokens_per_step: int,
    state_seconds: float,
    rounds: int,
) -> Figures:
    """state_seconds: what a newcomer's link takes for the state; rounds: only those count."""
    chain = lineage(stories)
    commits = commits_of(stories, chain, rounds)
    began = min(commits.values(), default=0.0)
    gaps = np.diff(sorted(commits.values()))
    survivors = [it for it in stories if it.survivor]
    idles = [
        (at - began, it.number, length)
        for it in survivors
        for at, length in idle(it, happened)
        if at >= began
    ]
    round_seconds = float(np.median(gaps)) if len(gaps) else math.nan
    return Figures(
        condition=condition,
        seed=seed,
        rounds=len(commits),
        void=void(stories),
        seconds=float(gaps.sum()),
        round_seconds=round_seconds,
        longest_pause=float(gaps.max(initial=0.0)),
        computed=tokens_per_step * sum(_computed(it, rounds) for it in survivors),
        merged=sum(note["tokens"] for it in survivors for note in merges_on(it, chain, rounds)),
        run_tokens=sum(note["tokens"] for it in stories for note in merges_on(it, chain, rounds)),
        idle_steps=max((length for _, _, length in idles), default=math.nan),
        idles=[it for it in idles if it[2] > 1.0],
        step_seconds=statistics.median(_durations(survivors)),
        states=sum("digest" in note for it in stories for note in it.notes),
        disagreements=disagreements(stories, happened),
        forked=len({it["digest"] for it in states(stories)} - chain),
        events=[(it.at - began, it.fault) for it in happened],
        commits=sorted(at - began for at in commits.values()),
        skipped=skipped(stories),
        twice=twice(stories),
        recoveries=[
            (it.fault, seconds)
            for it in happened
            if _heals(it) and not _hit_again(it, seconds := recovery(it, stories), happened)
        ],
        joins=[
            (seconds, JOIN_FACTOR * state_seconds + JOIN_ROUNDS * round_seconds)
            for it in happened
            if isinstance(fault_of(it), Join)
            and (seconds := recovery(it, stories)) is not None
        ],
    )  # fmt: skip


def loss_ratio(
    disturbed: Sequence[tuple[int, float]], calm: Sequence[tuple[int, float]]
) -> float | None:
    """Mean ratio of the losses at the same merged tokens, near the end of both runs."""
    if len(calm) < 2 or len(disturbed) < 2:
        return None
    known = sorted(calm)
    end = min(known[-1][0], max(tokens for tokens, _ in disturbed))
    inside = [it for it in disturbed if (1 - LAST_SHARE) * end <= it[0] <= end]
    if not inside:
        return None
    tokens, losses = zip(*known, strict=True)
    return statistics.mean(loss / float(np.interp(at, tokens, losses)) for at, loss in inside)


def idle(story: Story, happened: Iterable[Happened]) -> list[tuple[float, float]]:
    """The gaps between inner steps: when each began, how long it was in steps of its own.

    Time in which the peer itself was frozen does not count.
    """
    frozen = [
        (it.at, it.over)
        for it in happened
        if isinstance(fault := fault_of(it), Freeze) and fault.peer == story.number
    ]
    usual = statistics.median(_durations([story]))
    return [
        (
            end,
            (begin - end - sum(max(0.0, min(begin, to) - max(end, at)) for at, to in frozen))
            / usual,
        )
        for (_, end), (begin, _) in pairwise(story.steps)
    ]


def recovery(it: Happened, stories: Sequence[Story]) -> float | None:
    """Seconds from the end of a fault until all that it had hit had work merged again."""
    fault = fault_of(it)
    if isinstance(fault, Split):
        hit = {peer for side in fault.sides[:-1] for peer in side}
    else:
        hit = {fault.peer}
    firsts: list[float | None] = []
    for story in stories:
        if story.number in hit and (story.steps or story.survivor):
            later = (note["at"] for note in merges(story) if note["at"] > it.over)
            firsts.append(next(later, None))
    known = [first for first in firsts if first is not None]
    return max(known) - it.over if known and len(known) == len(firsts) else None


# ---- parts of it -----------------------------------------------------------------------


def _hit_again(it: Happened, seconds: float | None, happened: Iterable[Happened]) -> bool:
    """Before it had recovered: then its time says nothing."""
    peer = getattr(fault_of(it), "peer", None)
    end = it.over + (math.inf if seconds is None else seconds)
    return any(
        it.over < other.at < end and getattr(fault_of(other), "peer", None) == peer
        for other in happened
        if peer is not None
    )


def _heals(it: Happened) -> bool:
    return it.over > 0 and isinstance(fault_of(it), Freeze | Join | Return | Split)


def _computed(story: Story, rounds: int) -> int:
    """Inner steps until the cut of its last merged round, the one that was under way included."""
    merged = merges(story, rounds)
    if not merged:
        return 0
    called = merged[-1]["at"] - merged[-1]["seconds"]
    return sum(begin <= called for begin, _ in story.steps)


def _durations(stories: Iterable[Story]) -> list[float]:
    return [end - begin for it in stories for begin, end in it.steps] or [math.nan]
