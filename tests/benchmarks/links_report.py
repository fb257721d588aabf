"""What the benchmark `links` shows: a table's rows, and a plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.plots import PALETTE, figure, save

OURS = "murmuration"
AIM_OVER_BOUND = 1.15


@dataclass(frozen=True)
class Row:
    """One codec, or one rival, on one kind of link; medians over rounds."""

    who: str
    codec: str
    megabits: float
    values: int
    sent_bytes: int
    """By the mean peer in a round; ours: messages only, the rival's: all that left it."""
    bound_seconds: float
    """`sent_bytes` at the link's rate."""
    round_seconds: float
    """Ours: from the call for the cut to the decision, at the slowest peer. The rival's: how long
    it blocks."""
    cycle_seconds: float
    """From one round to the next."""
    share: float
    """Inner steps done of those that the time would have allowed; the mean peer's."""
    busy: float
    """The machine's processors meanwhile, whatever they did; near 1 they decide, not the link."""
    processor_seconds: float
    """Of one of our peers' daemon and p2pd, in a round; 0 for the rival, who was not asked."""

    @property
    def over_bound(self) -> float:
        return self.round_seconds / self.bound_seconds


HEADER = (
    "| who | codec | Mbit/s | values | sent, MB | bound, s | round, s | round / bound "
    "| cycle, s | trainer computes | CPU of a peer, s | cores busy |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    return (
        f"| {row.who} | {row.codec} | {row.megabits:g} | {row.values / 1e6:g}M "
        f"| {row.sent_bytes / 1e6:.2f} | {row.bound_seconds:.2f} | {row.round_seconds:.2f} "
        f"| {row.over_bound:.2f} | {row.cycle_seconds:.2f} | {row.share:.1%} "
        f"| {row.processor_seconds:.2f} | {row.busy:.0%} |"
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Round over bound, and the trainer's share, by codec and rate."""
    made, (upper, lower) = figure(2, "Rounds over slow links, without a pause between them")
    rates = sorted({row.megabits for row in rows})
    kinds = list(dict.fromkeys((row.who, row.codec) for row in rows))
    for index, kind in enumerate(kinds):
        mine = sorted((row for row in rows if (row.who, row.codec) == kind), key=_rate)
        at = [rates.index(row.megabits) for row in mine]
        form, colour = ("o-" if kind[0] == OURS else "s--"), PALETTE[index % len(PALETTE)]
        label = ", ".join(kind)
        upper.plot(at, [row.over_bound for row in mine], form, label=label, color=colour)
        lower.plot(at, [100 * row.share for row in mine], form, label=label, color=colour)
    upper.axhline(AIM_OVER_BOUND, color="grey", linewidth=0.8)
    upper.set_ylabel("round / wire's bound")
    lower.set_ylabel("trainer computes, % of the time")
    for axes in (upper, lower):
        axes.set_xticks(range(len(rates)), [f"{rate:g} Mbit/s" for rate in rates])
    upper.legend(ncols=3, fontsize=8)
    save(made, path)


def _rate(row: Row) -> float:
    return row.megabits
