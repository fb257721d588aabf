"""How fast, how exact and how alike: our averaging against stock hivemind's and gloo's.

`python -m tests.benchmarks averaging [--small] [--out FOLDER]`, more with `--help`. Every
contender averages the same vectors, one process a peer, on this machine's loopback; each
repetition has new vectors and new processes, and all contenders take their turn in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import plots
from tests.benchmarks.contenders import Contender, Measurement, gloo, measure, ours, stock
from tests.benchmarks.processes import Nursery, ProcessDied, nursery
from tests.benchmarks.vectors import Vectors

FP32, INT8 = "ours fp32", "ours int8"
STOCK_FP32, STOCK_INT8 = "stock fp32", ("stock uniform8", "stock blockwise8")
CONTENDERS = (
    ours("int8"),
    stock("fp32", part_bytes=2**21),  # a little faster than the default, 2**19; 2**17 is slower
    stock("uniform8"),  # quantile8 takes five times as long, for half the error
    # hivemind does not install what this codec needs
    *([stock("blockwise8")] if find_spec("bitsandbytes") else []),
    ours("fp32"),
    gloo("fp32"),
    gloo("fp16"),
)
ALL_VALUES = 10_000_000, 50_000_000
ALL_PEERS = 2, 4, 8
REPETITIONS = 3
BUDGET_SECONDS = 480.0
SPARE_BYTES = 1 << 30
"""Left to whatever else runs on the machine."""


@dataclass(frozen=True)
class Cell:
    """What is averaged: vectors of so many values, among so many peers."""

    peers: int
    values: int

    def __str__(self) -> str:
        return f"{self.peers} x {self.values / 1e6:g}M"


@dataclass(frozen=True)
class Aim:
    """A bound on the ratio of two contenders' figures in the same repetition."""

    of: str
    to: str
    what: str
    at_most: float


AIMS = (
    *(Aim(INT8, STOCK_FP32, what, 1 / 3) for what in ("wall_seconds", "cpu_seconds")),
    *(
        Aim(INT8, codec, what, 1 / 2)
        for codec in STOCK_INT8
        for what in ("wall_seconds", "cpu_seconds", "error")
    ),
)


@dataclass
class Results:
    """What was measured, and what was not, with its reason."""

    measured: list[Measurement] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def of(self, cell: Cell, contender: str) -> list[Measurement]:
        return [
            it
            for it in self.measured
            if (it.peers, it.values, it.contender) == (cell.peers, cell.values, contender)
        ]

    def ratios(self, cell: Cell, aim: Aim) -> list[float]:
        """Of each repetition that has both."""
        below = {it.seed: getattr(it, aim.what) for it in self.of(cell, aim.to)}
        return [
            getattr(it, aim.what) / below[it.seed]
            for it in self.of(cell, aim.of)
            if below.get(it.seed)
        ]


class Benchmark:
    """Measures cell after cell, repetition after repetition, while there is time."""

    def __init__(self, hatchery: Nursery, contenders: Sequence[Contender], seconds: float) -> None:
        self.results = Results()
        self._nursery = hatchery
        self._contenders = contenders
        self._deadline = time.monotonic() + seconds
        self._took: dict[Cell, float] = {}

    def run(self, cells: Sequence[Cell], repetitions: int) -> None:
        for seed in range(repetitions):
            for cell in cells:
                began = time.monotonic()
                if began + self._expected(cell) > self._deadline:
                    self._skip(f"{cell}, repetition {seed + 1}: it would take too long")
                    continue
                self._repeat(cell, seed)
                self._took[cell] = time.monotonic() - began

    def _expected(self, cell: Cell) -> float:
        """Seconds that a repetition will take, from this cell's last one or the others'."""
        size = cell.peers * cell.values
        others = (took * size / (it.peers * it.values) for it, took in self._took.items())
        return self._took.get(cell) or min(others, default=0.0)

    def _repeat(self, cell: Cell, seed: int) -> None:
        """All contenders on one set of vectors; who begins changes from one to the next."""
        with Vectors(cell.peers, cell.values) as vectors:
            vectors.fill(seed)
            turn = seed % len(self._contenders)
            for contender in (*self._contenders[turn:], *self._contenders[:turn]):
                what = f"{cell}, {contender.name}, repetition {seed + 1}"
                need = contender.bytes_a_value * cell.peers * cell.values + SPARE_BYTES
                if need > psutil.virtual_memory().available:
                    self._skip(f"{what}: it needs {need / 1e9:.0f} GB of free memory")
                    continue
                try:
                    measured = measure(contender, vectors, seed, self._nursery)
                except ProcessDied as error:
                    self._skip(f"{what}: {error}")
                    continue
                self.results.measured.append(measured)
                print(f"  {what}: {measured.wall_seconds:.3f} s", flush=True)

    def _skip(self, why: str) -> None:
        self.results.skipped.append(why)
        print(f"  skipped: {why}", flush=True)


Figure = tuple[str, Callable[[Measurement], float | None], str]

COLUMNS: tuple[Figure, ...] = (
    ("wall s", lambda it: it.wall_seconds, ".3f"),
    ("of that exchange", lambda it: it.exchange_seconds, ".3f"),
    ("CPU s", lambda it: it.cpu_seconds, ".2f"),
    ("of that p2pd", lambda it: it.p2pd_seconds, ".2f"),
    ("matching before, s", lambda it: it.matching_seconds, ".3f"),
    ("first round, s", lambda it: it.first_seconds, ".3f"),
    ("MB sent by a peer", lambda it: it.megabytes_sent, ".1f"),
    ("error", lambda it: it.error, ".2g"),
    ("spread", lambda it: it.spread, ".2g"),
)


def table(results: Results, cells: Sequence[Cell], contenders: Sequence[Contender]) -> str:
    """Medians of all repetitions, in Markdown."""
    names = ["peers x values", "contender", "times", *(name for name, _, _ in COLUMNS)]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for cell in cells:
        for contender in contenders:
            found = results.of(cell, contender.name)
            if found:
                figures = [_median_text(found, column) for column in COLUMNS]
                row = [str(cell), contender.name, str(len(found)), *figures]
                lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _median_text(found: Sequence[Measurement], column: Figure) -> str:
    _, figure, form = column
    known = [value for value in map(figure, found) if value is not None]
    return format(statistics.median(known), form) if known else "-"


def verdicts(results: Results, cells: Sequence[Cell]) -> str:
    """Each aim in each cell: median and range of the ratios within repetitions."""
    lines = ["| peers x values | ratio | median (range) | aim | |", "|---|---|---|---|---|"]
    for cell in cells:
        for aim in AIMS:
            ratios = results.ratios(cell, aim)
            if ratios:
                median = statistics.median(ratios)
                what = f"{aim.what.removesuffix('_seconds')}, {aim.of} / {aim.to}"
                spread = f"{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                held = "holds" if median <= aim.at_most else "**missed**"
                lines.append(f"| {cell} | {what} | {spread} | {aim.at_most:.2f} | {held} |")
        apart = [it.spread for it in results.of(cell, INT8)]
        if apart:
            held = "holds" if max(apart) == 0 else "**missed**"
            lines.append(f"| {cell} | spread, {INT8} | {max(apart):g} | 0 | {held} |")
    return "\n".join(lines)


def circumstances() -> dict[str, Any]:
    """Where and with what this was measured."""
    packages = ("hivemind", "numpy", "torch", "uvloop", "protobuf")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": [round(it, 1) for it in os.getloadavg()],
    } | {name: version(name) for name in packages}


def report(results: Results, cells: Sequence[Cell], folder: Path, before: dict[str, Any]) -> None:
    """Print the tables; write them, every figure and the plot to `folder`."""
    tables = f"{table(results, cells, CONTENDERS)}\n\n{verdicts(results, cells)}\n"
    print(f"\n{tables}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "averaging.md").write_text(tables, encoding="utf-8")
    everything = {
        "before": before,
        "after": circumstances(),
        "skipped": results.skipped,
        "measurements": [asdict(it) for it in results.measured],
    }
    (folder / "averaging.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    if find_spec("matplotlib"):  # of the extra `benchmarks`
        plot(results, cells, folder / "averaging.png")
    print(f"results are in {folder}")


def plot(results: Results, cells: Sequence[Cell], path: Path) -> None:
    """Wall and CPU seconds of all contenders, as ratios to stock fp32."""
    panels = [
        plots.Panel(f"{what}, {STOCK_FP32} = 1", _bars(results, cells, f"{what}_seconds"), (1 / 3,))
        for what in ("wall", "cpu")
    ]
    title = "One averaging, against stock hivemind in fp32; dashed: our aim for int8"
    plots.grouped_bars(path, title, [str(it) for it in cells], panels)


def _bars(results: Results, cells: Sequence[Cell], what: str) -> dict[str, list[float | None]]:
    """By contender, the median of its ratios to stock fp32 in each cell."""
    bars: dict[str, list[float | None]] = {}
    for contender in CONTENDERS:
        aim = Aim(contender.name, STOCK_FP32, what, 1.0)
        found = [results.ratios(cell, aim) for cell in cells]
        bars[contender.name] = [statistics.median(it) if it else None for it in found]
    return bars


def main() -> None:
    parser = argparse.ArgumentParser(prog="averaging", description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--out", type=Path, help="folder for results; default: a new one")
    parser.add_argument("--seconds", type=float, default=BUDGET_SECONDS, help="time for all of it")
    parser.add_argument("--peers", type=int, nargs="+", default=ALL_PEERS)
    parser.add_argument("--values", type=int, nargs="+", default=ALL_VALUES)
    given = parser.parse_args()
    cells = [Cell(peers, values) for values in given.values for peers in given.peers]
    contenders: Sequence[Contender] = CONTENDERS
    repetitions = REPETITIONS
    if given.small:
        cells, contenders, repetitions = [Cell(2, 200_000)], CONTENDERS[:2], 1
    before = circumstances()
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as folder,
        nursery(Path(folder), "bare_peer", "rivals") as hatchery,
    ):
        benchmark = Benchmark(hatchery, contenders, given.seconds)
        try:
            benchmark.run(cells, repetitions)
        finally:
            out = given.out or Path(tempfile.mkdtemp(prefix="averaging-"))
            report(benchmark.results, cells, out, before)


if __name__ == "__main__":
    main()
