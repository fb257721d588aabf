"""What the benchmark `agreement` shows: a table's rows, and a plot of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.plots import PALETTE, figure, save


@dataclass(frozen=True)
class Result:
    """One codec."""

    codec: str
    rounds: int
    agreed: int
    """Rounds after which there was one digest."""
    states: int
    """How many times a peer took a state; each was compared."""
    followed: int
    """Of these, how many were replayed or downloaded instead of averaged."""
    killed: int
    join_seconds: tuple[float, ...]
    """Of each peer that joined: from the start of its process to the first state."""
    merge_seconds: tuple[float, ...]
    """And to the first round that its work is in."""
    void: int
    void_reasons: tuple[str, ...]
    seconds: float
    disagreements: tuple[str, ...]

    @property
    def rounds_a_minute(self) -> float:
        return 60 * self.rounds / self.seconds


HEADER = (
    "| codec | rounds | with one digest | states compared | replayed or downloaded | killed "
    "| joined | join to state, s | join to first merge, s | void tries | rounds/min |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(result: Result) -> str:
    return (
        f"| {result.codec} | {result.rounds} | {result.agreed} | {result.states} "
        f"| {result.followed} | {result.killed} | {len(result.join_seconds)} "
        f"| {_median(result.join_seconds)} | {_median(result.merge_seconds)} | {result.void} "
        f"| {result.rounds_a_minute:.0f} |"
    )


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "none"


def draw(results: Sequence[Result], path: Path) -> None:
    """How long newcomers took, by codec."""
    made, (axes,) = figure(1, "Newcomers of a swarm that loses a peer every ten rounds")
    for index, result in enumerate(results):
        for place, seconds, colour in (
            (index - 0.1, result.join_seconds, PALETTE[0]),
            (index + 0.1, result.merge_seconds, PALETTE[1]),
        ):
            axes.plot([place] * len(seconds), seconds, "o", color=colour)
    labels = [f"{it.codec}\n{it.agreed} of {it.rounds} rounds agreed" for it in results]
    axes.set_xticks(range(len(results)), labels)
    axes.set_ylabel("s from a newcomer's start")
    axes.set_ylim(bottom=0)
    axes.legend(["to the swarm's state", "to its first merged round"])
    save(made, path)
