"""What a run under a plan of faults comes to, from what its peers wrote down. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tests.faults.plan import Freeze, Join, Return, Split, parse

LAST_SHARE = 0.3
"""Of the merged tokens that two runs have in common: where their losses are compared."""
_LATE_ROUNDS = 10
_REUNION_SECONDS = 60.0
"""So long after a split ended, a side may not have noticed."""
JOIN_FACTOR, JOIN_ROUNDS = 1.3, 1.0
"""A joiner's aim: the time that its link takes for the state, times this, and so many rounds."""


@dataclass(frozen=True)
class Story:
    """One peer of a run, as it went."""

    number: int
    notes: Sequence[Mapping[str, Any]]
    """See `witnessed_peer`."""
    steps: Sequence[tuple[float, float]]
    """Beginning and end of each inner step, unix seconds."""
    survivor: bool
    """Up in the end, and never killed."""


@dataclass(frozen=True)
class Happened:
    """A fault; unix seconds."""

    at: float
    fault: str
    over: float
    """When the peer could go on; 0: not at all."""


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
    """The longest that a survivor's trainer did nothing, in inner steps of its own."""
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
    """Chunks that are not merged though as many are as would have reached them `_LATE_ROUNDS`
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
    commits = _commits(stories, chain, rounds)
    began = min(commits.values(), default=0.0)
    gaps = np.diff(sorted(commits.values()))
    survivors = [it for it in stories if it.survivor]
    idles = [
        (at - began, it.number, length) for it in survivors for at, length in idle(it, happened)
    ]
    round_seconds = float(np.median(gaps)) if len(gaps) else math.nan
    return Figures(
        condition=condition,
        seed=seed,
        rounds=len(commits),
        void=_void(stories),
        seconds=float(gaps.sum()),
        round_seconds=round_seconds,
        longest_pause=float(gaps.max(initial=0.0)),
        computed=tokens_per_step * sum(_computed(it, rounds) for it in survivors),
        merged=sum(note["tokens"] for it in survivors for note in _of(it, chain, rounds)),
        run_tokens=sum(note["tokens"] for it in stories for note in _of(it, chain, rounds)),
        idle_steps=max((length for _, _, length in idles), default=math.nan),
        idles=[it for it in idles if it[2] > 1.0],
        step_seconds=statistics.median(_durations(survivors)),
        states=sum("digest" in note for it in stories for note in it.notes),
        disagreements=_disagreements(stories, happened),
        forked=len({it["digest"] for it in _states(stories)} - chain),
        events=[(it.at - began, it.fault) for it in happened],
        commits=sorted(at - began for at in commits.values()),
        skipped=_skipped(stories),
        twice=_twice(stories),
        recoveries=[(it.fault, recovery(it, stories)) for it in happened if _heals(it)],
        joins=[
            (seconds, JOIN_FACTOR * state_seconds + JOIN_ROUNDS * round_seconds)
            for it in happened
            if isinstance(_parsed(it), Join)
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
        if isinstance(fault := _parsed(it), Freeze) and fault.peer == story.number
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
    fault = _parsed(it)
    if isinstance(fault, Split):
        hit = {peer for side in fault.sides[:-1] for peer in side}
    else:
        hit = {fault.peer}
    firsts: list[float | None] = []
    for story in stories:
        if story.number in hit and (story.steps or story.survivor):
            later = (note["at"] for note in _merges(story) if note["at"] > it.over)
            firsts.append(next(later, None))
    known = [first for first in firsts if first is not None]
    return max(known) - it.over if known and len(known) == len(firsts) else None


# ---- parts of it -----------------------------------------------------------------------


def _parsed(it: Happened) -> Any:
    verb = it.fault.split()[0]
    # a plan of one line has nobody who could return
    before = f"kill peer {it.fault.split()[2]} at round 0\n" if verb == "return" else ""
    return parse(before + it.fault).faults[-1]


def _heals(it: Happened) -> bool:
    return it.over > 0 and isinstance(_parsed(it), Freeze | Join | Return | Split)


def _merges(story: Story, rounds: float = math.inf) -> list[Mapping[str, Any]]:
    return [note for note in story.notes if note["how"] == "merged" and note["round"] <= rounds]


def _computed(story: Story, rounds: int) -> int:
    """Inner steps until the cut of its last merged round, the one that was under way included."""
    merges = _merges(story, rounds)
    if not merges:
        return 0
    called = merges[-1]["at"] - merges[-1]["seconds"]
    return sum(begin <= called for begin, _ in story.steps)


def _durations(stories: Iterable[Story]) -> list[float]:
    return [end - begin for it in stories for begin, end in it.steps] or [math.nan]


def _newest(stories: Iterable[Story]) -> Mapping[str, Any] | None:
    return max(_states(stories), key=lambda it: it["round"], default=None)


def _skipped(stories: Sequence[Story]) -> int | None:
    newest = _newest(stories)
    if newest is None or "chunks" not in newest:
        return None
    chain = lineage(stories)
    before = newest["round"] - _LATE_ROUNDS
    earlier = [it for it in _states(stories) if it["digest"] in chain and it["round"] <= before]
    reached = max((sum(b - a for a, b in it["chunks"]) for it in earlier), default=0)
    done: int = sum(max(0, min(b, reached) - a) for a, b in newest["chunks"])
    return reached - done


def _twice(stories: Sequence[Story]) -> float | None:
    newest = _newest(stories)
    if newest is None or not newest.get("claims"):
        return None
    distinct: int = sum(b - a for a, b in newest["chunks"])
    claims: int = newest["claims"]
    return max(0.0, 1 - distinct / claims)


def lineage(stories: Iterable[Story]) -> set[str | None]:
    """The digests of the newest state and of all that it was made from, as far as noted.

    And None: of a rival, whose rounds have no digest.
    """
    parents = {it["digest"]: it["parents"] for it in _states(stories)}
    newest = _newest(stories)
    found: set[str | None] = {None}
    left = [newest["digest"]] if newest else []
    while left:
        digest = left.pop()
        if digest not in found:
            found.add(digest)
            left += parents.get(digest, [])
    return found


def _states(stories: Iterable[Story]) -> list[Mapping[str, Any]]:
    return [note for it in stories for note in it.notes if "digest" in note]


def _of(story: Story, chain: set[str | None], rounds: int) -> list[Mapping[str, Any]]:
    return [note for note in _merges(story, rounds) if note.get("digest") in chain]


def _commits(stories: Iterable[Story], chain: set[str | None], rounds: int) -> dict[int, float]:
    """When the first peer had each round."""
    first: dict[int, float] = {}
    for note in (note for it in stories for note in it.notes):
        made = note["how"] in ("merged", "left out") and note.get("digest") in chain
        if made and note["round"] <= rounds:
            first[note["round"]] = min(note["at"], first.get(note["round"], math.inf))
    return first


def _void(stories: Iterable[Story]) -> int:
    notes = [note for it in stories for note in it.notes if "attempt" in note]
    committed = {note["attempt"] for note in notes if note["how"] != "void"}
    return len({note["attempt"] for note in notes} - committed)


def _disagreements(stories: Sequence[Story], happened: Iterable[Happened]) -> list[str]:
    """Rounds of which peers hold different states, though the network was whole."""
    splits = [(it, fault) for it in happened if isinstance(fault := _parsed(it), Split)]
    first: dict[int, dict[str, tuple[float, int]]] = {}
    for it in stories:
        for note in it.notes:
            if "digest" in note:
                seen = first.setdefault(note["round"], {})
                earliest = seen.get(note["digest"], (math.inf, 0))
                seen[note["digest"]] = min((note["at"], it.number), earliest)

    def made_by(at: float, peer: int) -> object:
        for index, (it, fault) in enumerate(splits):
            if it.at <= at <= it.over + _REUNION_SECONDS:
                sides = fault.all_sides(len(stories))
                return index, next(side for side, who in enumerate(sides) if peer in who)
        return None

    wrong = []
    for number, seen in sorted(first.items()):
        # each side of a split may have made a round of its own
        if len({made_by(*it) for it in seen.values()}) < len(seen):
            told = (f"{it[:8]} first on {peer}" for it, (_, peer) in seen.items())
            wrong.append(f"round {number}: " + ", ".join(told))
    return wrong
