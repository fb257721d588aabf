"""Which rounds a run made, and what of it is merged, from what its peers wrote down. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.plan import Split, parse

_LATE_ROUNDS = 10
_REUNION_SECONDS = 60.0
"""So long after a split ended, a side may not have noticed."""


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


def fault_of(it: Happened) -> Any:
    """The fault as a plan has it."""
    verb = it.fault.split()[0]
    # a plan of one line has nobody who could return
    before = f"kill peer {it.fault.split()[2]} at round 0\n" if verb == "return" else ""
    return parse(before + it.fault).faults[-1]


def merges(story: Story, rounds: float = math.inf) -> list[Mapping[str, Any]]:
    """Its notes of rounds with its work in them."""
    return [note for note in story.notes if note["how"] == "merged" and note["round"] <= rounds]


def merges_on(story: Story, chain: set[str | None], rounds: int) -> list[Mapping[str, Any]]:
    """Those that are on a lineage."""
    return [note for note in merges(story, rounds) if note.get("digest") in chain]


def lineage(stories: Iterable[Story]) -> set[str | None]:
    """The digests of the newest state and of all that it was made from, as far as noted.

    And None: of a rival, whose rounds have no digest.
    """
    parents = {it["digest"]: it["parents"] for it in states(stories)}
    newest = newest_of(stories)
    found: set[str | None] = {None}
    left = [newest["digest"]] if newest else []
    while left:
        digest = left.pop()
        if digest not in found:
            found.add(digest)
            left += parents.get(digest, [])
    return found


def states(stories: Iterable[Story]) -> list[Mapping[str, Any]]:
    """All notes of a state."""
    return [note for it in stories for note in it.notes if "digest" in note]


def newest_of(stories: Iterable[Story]) -> Mapping[str, Any] | None:
    """The note of the state of most rounds."""
    return max(states(stories), key=lambda it: it["round"], default=None)


def skipped(stories: Sequence[Story]) -> int | None:
    """See `churn_figures.Figures.skipped`."""
    newest = newest_of(stories)
    if newest is None or "chunks" not in newest:
        return None
    chain = lineage(stories)
    before = newest["round"] - _LATE_ROUNDS
    earlier = [it for it in states(stories) if it["digest"] in chain and it["round"] <= before]
    reached = max((sum(b - a for a, b in it["chunks"]) for it in earlier), default=0)
    done: int = sum(max(0, min(b, reached) - a) for a, b in newest["chunks"])
    return reached - done


def twice(stories: Sequence[Story]) -> float | None:
    """See `churn_figures.Figures.twice`."""
    newest = newest_of(stories)
    if newest is None or not newest.get("claims"):
        return None
    distinct: int = sum(b - a for a, b in newest["chunks"])
    claims: int = newest["claims"]
    return max(0.0, 1 - distinct / claims)


def commits_of(stories: Iterable[Story], chain: set[str | None], rounds: int) -> dict[int, float]:
    """When the first peer had each round."""
    first: dict[int, float] = {}
    for note in (note for it in stories for note in it.notes):
        made = note["how"] in ("merged", "left out") and note.get("digest") in chain
        if made and note["round"] <= rounds:
            first[note["round"]] = min(note["at"], first.get(note["round"], math.inf))
    return first


def void(stories: Iterable[Story]) -> int:
    """Tries that nobody saw committed."""
    notes = [note for it in stories for note in it.notes if "attempt" in note]
    committed = {note["attempt"] for note in notes if note["how"] != "void"}
    return len({note["attempt"] for note in notes} - committed)


def disagreements(stories: Sequence[Story], happened: Iterable[Happened]) -> list[str]:
    """Rounds of which peers hold different states, though the network was whole."""
    splits = [(it, fault) for it in happened if isinstance(fault := fault_of(it), Split)]
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
