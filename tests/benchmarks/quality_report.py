"""What the benchmark `quality` shows: a table of conditions, our aims, and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.plots import PALETTE, figure, save
from tests.benchmarks.quality_conditions import (
    ADAMW,
    AIMS,
    ALONE,
    CONDITIONS,
    FEWER_BYTES,
    MUON,
    OVER_ADAMW,
    OVER_MUON,
    Condition,
)
from tests.benchmarks.quality_sim import BATCH_TOKENS, Setting, fewer_bytes

_HEADER = (
    "| condition | rounds of | codec | held-out loss, median (each seed) | / data parallel Muon "
    "| / data parallel AdamW | bytes a token, fewer than fp32 data parallel | our aims |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Result:
    """What came of a condition with one seed."""

    condition: str
    seed: int
    loss: float
    """Of the global parameters at the end, on held-out text: nats per byte."""
    rounds: int
    parameters: int
    seconds: int
    setting: dict[str, object]


class Results:
    """All results of one model and length."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._all = results

    def losses(self, condition: str) -> dict[int, float]:
        """By seed."""
        return {it.seed: it.loss for it in self._all if it.condition == condition}

    def median(self, condition: str) -> float | None:
        losses = self.losses(condition)
        return statistics.median(losses.values()) if losses else None

    def ratio(self, of: str, to: str) -> float | None:
        """The median of the ratios with the same seed."""
        above, below = self.losses(of), self.losses(to)
        ratios = [above[seed] / below[seed] for seed in above if seed in below]
        return statistics.median(ratios) if ratios else None


def bytes_ratio(setting: Setting) -> float | None:
    """How many times fewer bytes a token than fp32 data parallel; None where nobody sends.

    Of whole rounds: the last one of a run may be shorter.
    """
    if setting.peers == 1:
        return None
    if setting.data_parallel:
        return 1.0
    speeds = setting.speeds or (1.0,)
    return fewer_bytes(setting, setting.inner_steps_per_round * statistics.mean(speeds))


def table(found: Sequence[Result]) -> str:
    """A row for each condition, in Markdown."""
    results = Results(found)
    rows = (_row(it, results) for it in CONDITIONS if results.losses(it.name))
    return "\n".join([_HEADER, *rows])


def _row(condition: Condition, results: Results) -> str:
    setting = condition.setting
    each = ", ".join(f"{loss:.4f}" for _, loss in sorted(results.losses(condition.name).items()))
    in_rounds = not setting.data_parallel and setting.peers > 1
    cells = [
        condition.name,
        str(setting.inner_steps_per_round) if in_rounds else "-",
        setting.contribution if setting.peers > 1 else "-",
        f"{_text(results.median(condition.name), '.4f')} ({each})",
        _text(results.ratio(condition.name, MUON), ".3f"),
        _text(results.ratio(condition.name, ADAMW), ".3f"),
        _text(bytes_ratio(setting), ".0f"),
        _verdict(condition, results) if condition.is_ours else "",
    ]
    return f"| {' | '.join(cells)} |"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _verdict(condition: Condition, results: Results) -> str:
    """Which of the aims for every condition of ours it misses."""
    over_adamw = results.ratio(condition.name, ADAMW)
    over_muon = results.ratio(condition.name, MUON)
    ratio = bytes_ratio(condition.setting)
    missed = [
        *([f"{OVER_ADAMW} x AdamW"] if over_adamw and over_adamw > OVER_ADAMW else []),
        *([f"{OVER_MUON} x Muon"] if over_muon and over_muon > OVER_MUON else []),
        *([f"{FEWER_BYTES:g} x fewer bytes"] if ratio and ratio < FEWER_BYTES else []),
    ]
    return f"**missed**: {', '.join(missed)}" if missed else "all hold"


def verdicts(found: Sequence[Result]) -> str:
    """The aims that compare two conditions of ours."""
    results = Results(found)
    lines = ["| ratio of losses | median (range) | aim | |", "|---|---|---|---|"]
    for aim in AIMS:
        above, below = results.losses(aim.of), results.losses(aim.to)
        ratios = [above[seed] / below[seed] for seed in above if seed in below]
        if ratios:
            median = statistics.median(ratios)
            held = "holds" if median <= aim.at_most else "**missed**"
            lines.append(
                f"| {aim.of} / {aim.to} | {median:.4f} ({min(ratios):.4f} to {max(ratios):.4f}) "
                f"| {aim.at_most:g} | {held} |"
            )
    return "\n".join(lines)


def draw(found: Sequence[Result], path: Path) -> None:
    """Loss over bytes a token that a peer sends; who sends nothing is a line."""
    results = Results(found)
    made, (axes,) = figure(1, "Held-out loss after equal tokens, over what a peer sends")
    made.set_size_inches(9, 5)
    for condition in CONDITIONS:
        loss, ratio = results.median(condition.name), bytes_ratio(condition.setting)
        if loss is None or not (condition.repeated or condition.is_ours):
            continue
        colour = PALETTE[0] if condition.is_ours else PALETTE[1]
        if ratio is None:
            axes.axhline(loss, color=PALETTE[5], linewidth=0.8, linestyle="--")
            axes.annotate(ALONE, (0.4, loss + 0.01), xycoords=("axes fraction", "data"), fontsize=7)
            continue
        at = _bytes_a_token(found[0].parameters, condition.setting) / ratio
        axes.plot(at, loss, "o" if condition.is_ours else "s", color=colour)
        axes.annotate(
            condition.name, (at, loss), (3, 5), textcoords="offset points", rotation=20, fontsize=7
        )
    axes.set_xscale("log")
    axes.set_xlabel("bytes that a peer sends for a token it trains (logarithmic)")
    axes.set_ylabel("held-out loss, nats per byte")
    save(made, path)


def _bytes_a_token(parameters: int, setting: Setting) -> float:
    """Of fp32 data parallel, by a ring all-reduce."""
    return 2 * (setting.peers - 1) / setting.peers * 4 * parameters / BATCH_TOKENS
