"""The table, the verdicts and the plot of the churn benchmark."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.churn_figures import Figures, loss_ratio
from tests.benchmarks.plots import PALETTE, figure, save

HEADER = """\
| run | seed | rounds | void | s a round | longest pause, s | merged / computed | idle, steps | \
digests | tokens/s |
|---|---|---|---|---|---|---|---|---|---|"""


def line(it: Figures) -> str:
    """A row of the table."""
    agreed = "equal" if not it.disagreements else "**differ**"
    agreed = f"{agreed} ({it.states})" if it.states else "none"
    return (
        f"| {it.condition} | {it.seed} | {it.rounds} | {it.void} | {it.round_seconds:.2f} | "
        f"{it.longest_pause:.1f} | {100 * it.share:.1f} % | {it.idle_steps:.2f} | "
        f"{agreed} | {it.run_tokens / max(it.seconds, 1e-9):.0f} |"
    )


def summary(results: Sequence[Figures]) -> str:
    """What the table does not say: losses, recoveries by kind of fault, joins, what went wrong."""
    calm = {it.seed: it for it in results if it.condition == "undisturbed"}
    lines = []
    for it in results:
        if it.seed in calm and it is not calm[it.seed]:
            ratio = loss_ratio(it.losses, calm[it.seed].losses)
            if ratio is not None:
                lines.append(f"{it.condition} {it.seed}: loss {ratio:.4f} x undisturbed")
        lines += [f"{it.condition} {it.seed}: {said}" for said in it.disagreements]
        if it.forked:
            lines.append(f"{it.condition} {it.seed}: {it.forked} rounds of a fork given up")
        lines += [f"{it.condition} {it.seed}: did not happen: {said}" for said in it.not_happened]
        lines += [
            f"{it.condition} {it.seed}: joined in {seconds:.1f} s, aim {aim:.1f} s"
            for seconds, aim in it.joins
        ]
        if it.twice is not None:
            twice = f"{100 * it.twice:.2f} % merged twice"
            lines.append(f"{it.condition} {it.seed}: chunks skipped {it.skipped}, {twice}")
    for condition in dict.fromkeys(it.condition for it in results):
        for kind, seconds in by_kind([it for it in results if it.condition == condition]).items():
            known = [it for it in seconds if it is not None]
            never = len(seconds) - len(known)
            middle = f"median {statistics.median(known):.1f} s, " if known else ""
            most = f"at most {max(known):.1f} s" if known else ""
            lines.append(
                f"{condition}: next merged work after {kind}: {middle}{most} of {len(seconds)}"
                + (f", never {never}" if never else "")
            )
    return "\n".join(lines)


def by_kind(results: Sequence[Figures]) -> dict[str, list[float | None]]:
    """Times of recovery by kind of fault."""
    found: dict[str, list[float | None]] = defaultdict(list)
    for it in results:
        for fault, seconds in it.recoveries:
            found[fault.split()[0]].append(seconds)
    return dict(found)


def draw(results: Sequence[Figures], path: Path) -> None:
    """Losses over merged tokens, and recoveries."""
    made, (losses, times) = figure(2, "Eight peers under a tape of faults")
    conditions = list(dict.fromkeys(it.condition for it in results))
    for it in results:
        if it.losses:
            losses.plot(
                [tokens / 1e6 for tokens, _ in it.losses],
                [loss for _, loss in it.losses],
                color=PALETTE[conditions.index(it.condition)],
                linewidth=0.9,
                label=f"{it.condition} {it.seed}",
            )
    losses.set_xlabel("million merged tokens")
    losses.set_ylabel("validation loss, nats")
    if losses.lines:
        losses.legend(fontsize=7, ncols=3)
    kinds = list(by_kind(results))
    disturbed = [it for it in conditions if by_kind([r for r in results if r.condition == it])]
    for place, condition in enumerate(disturbed):
        found = by_kind([it for it in results if it.condition == condition])
        points = [
            (kinds.index(kind) + 0.1 * place, it)
            for kind, seconds in found.items()
            for it in seconds
            if it is not None
        ]
        colour = PALETTE[conditions.index(condition)]
        times.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, label=condition)
    if disturbed:
        times.legend(fontsize=7)
    times.set_xticks(range(len(kinds)), kinds)
    times.set_ylabel("s until merged again")
    save(made, path)
