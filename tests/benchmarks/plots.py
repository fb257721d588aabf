"""Plots of benchmarks: one style, small files, readable on a screen and in print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0b5fa5", "#d1495b", "#edae49", "#8d6a9f", "#66a3d2", "#5c6670", "#a9b2ba")
"""Ours blue, rivals warm, bounds grey; apart in greyscale too, beside their hatches."""
_HATCHES = ("", "", "///", "xxx", "///", "", "...")
_DPI = 110
_INCHES = 9.0, 3.2
"""Width, and height of a panel."""
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Panel:
    """One diagram of several with the same groups."""

    title: str
    bars: dict[str, list[float | None]]
    """By series, a value for each group; None where there is none."""
    lines: tuple[float, ...] = ()
    """Values to mark across all groups, such as aims."""


def figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    """An empty figure of so many diagrams, one above the other, in the common style."""
    # an extra that only benchmarks need, and slow to import
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.rcParams.update(_STYLE)
    width, height = _INCHES
    made = Figure(figsize=(width, height * panels), layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(title)
    return made, [made.add_subplot(panels, 1, index + 1) for index in range(panels)]


def save(made: Figure, path: Path) -> None:
    """Write a PNG."""
    made.savefig(path, dpi=_DPI)


def grouped_bars(path: Path, title: str, groups: Sequence[str], panels: Sequence[Panel]) -> None:
    """For each group a bar of every series, with its value written on it."""
    made, axes = figure(len(panels), title)
    for panel, axis in zip(panels, axes, strict=True):
        shown = {name: bars for name, bars in panel.bars.items() if any(bars)}
        width = 0.84 / max(1, len(shown))
        for index, (name, bars) in enumerate(shown.items()):
            style = list(panel.bars).index(name) % len(PALETTE)
            known = [(at, value) for at, value in enumerate(bars) if value]
            drawn = axis.bar(
                [at + (index - (len(shown) - 1) / 2) * width for at, _ in known],
                [value for _, value in known],
                width,
                label=name,
                color=PALETTE[style],
                hatch=_HATCHES[style],
                edgecolor="white",
                linewidth=0.3,
            )
            axis.bar_label(drawn, fmt="%.2g", fontsize=6, padding=1)
        for value in panel.lines:
            axis.axhline(value, color="#333333", linewidth=0.8, linestyle="--", zorder=3)
        axis.set_ylabel(panel.title)
        axis.set_xticks(range(len(groups)), groups)
    axes[0].legend(ncols=7, loc="upper left", bbox_to_anchor=(0, 1.13), fontsize=8)
    save(made, path)
