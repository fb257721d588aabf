"""Who is compared in `averaging.py`, and how one of them is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks.processes import BenchmarkProcess, Nursery, ProcessDied, usage_of
from tests.benchmarks.vectors import Vectors

SECONDS = 150.0
"""For anything that a contender does."""
_SETTLE_SECONDS = 0.2
"""After all are ready: whatever is still on its way arrives."""
WARM_ROUNDS = 3
TIMED_ROUNDS = 3
LARGE = 20_000_000
"""Vectors of more values have one round less of each."""
_SAMPLE = 16
"""Of the last round, one stretch in so many is compared: enough to see that it was done."""
_SLACK = 3.0
"""How much worse than the first round's the last round's error may be; feedback adds to it."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Contender:
    """A way to average."""

    name: str
    module: str
    function: str
    settings: dict[str, Any]
    bytes_a_value: int
    """Memory that a peer takes at most, as seen with ten million values."""
    ring_bytes: int = 0
    """Bytes a value in an all-reduce on a ring, whose traffic cannot be counted but computed."""


def ours(codec: str) -> Contender:
    """Murmuration's round."""
    return Contender(f"ours {codec}", "bare_peer", "run", {"codec": codec}, 56)


def stock(codec: str, part_bytes: int = 2**19) -> Contender:
    """hivemind's averager."""
    settings = {"codec": codec, "part_bytes": part_bytes}
    return Contender(f"stock {codec}", "rivals", "stock", settings, 40)


def gloo(codec: str) -> Contender:
    """torch.distributed's all-reduce."""
    size = 2 if codec == "fp16" else 4
    return Contender(f"gloo {codec}", "rivals", "gloo", {"codec": codec}, 16, size)


@dataclass(frozen=True)
class Measurement:
    """One contender's averaging; of its rounds in memory that is warm, the medians."""

    contender: str
    peers: int
    values: int
    seed: int
    wall_seconds: float
    """All are ready, to all have the result; ours with cut, agreement and adoption."""
    cpu_seconds: float
    """Of all processes in that time."""
    p2pd_seconds: float
    """Of that, p2pd's."""
    matching_seconds: float
    """Before: to find each other; ours does so in the round."""
    exchange_seconds: float | None
    """Of the wall time, between the first peer's and the last one's exchange; ours only."""
    megabytes_sent: float
    """By a peer."""
    error: float
    """Of the first round's result; relative, L2."""
    spread: float
    first_seconds: float
    """Wall time of the first round, before everything is warm."""


@dataclass(frozen=True)
class _Round:
    wall: float
    exchange: float
    """0 where it cannot be seen."""
    cpu: float
    p2pd: float
    p2pd_written: int
    matching: float


class _Group:
    """The processes of one contender."""

    def __init__(self, processes: list[BenchmarkProcess]) -> None:
        self._processes = processes
        self._others: list[str] = []

    def join(self, settings: dict[str, Any], nursery: Nursery) -> None:
        group = nursery.folder / self._processes[0].name
        for row, process in enumerate(self._processes):
            folder = group / str(row)
            folder.mkdir(parents=True)
            process.tell(**settings, row=row, folder=str(folder))
        first, *others = self._processes
        first.tell(initial_peers=[])
        addresses = first.hear(SECONDS)["addresses"]
        for process in others:
            process.tell(initial_peers=addresses)
        self._others = [process.hear(SECONDS)["name"] for process in others]

    def all(self, **order: Any) -> list[dict[str, Any]]:
        """Give all an order; their replies."""
        for process in self._processes:
            process.tell(**order)
        return [process.hear(SECONDS) for process in self._processes]

    def round(self) -> _Round:
        """Average once; ends when all have the result."""
        self.all(do="load")
        began = time.monotonic()
        self.all(do="match")
        matching = time.monotonic() - began
        time.sleep(_SETTLE_SECONDS)
        before = usage_of(self._processes)
        began = time.monotonic()
        replies = self.all(do="go", others=self._others)
        used = usage_of(self._processes) - before
        problems = sorted({reply["problem"] for reply in replies} - {""})
        if problems:
            raise ProcessDied(f"a round went wrong: {'; '.join(problems)}")
        wall = max(reply["ended"] for reply in replies) - began
        return _Round(
            wall=wall,
            exchange=_exchange_seconds(replies),
            cpu=used.cpu_seconds,
            p2pd=used.p2pd_seconds,
            p2pd_written=used.p2pd_written,
            matching=matching,
        )


def measure(contender: Contender, vectors: Vectors, seed: int, nursery: Nursery) -> Measurement:
    """Start a contender's processes, compare what their first round gives, time later ones."""
    peers, values = vectors.inputs.shape
    settings = contender.settings | {"peers": peers, "values": values}
    fewer = values > LARGE
    vectors.results[:] = 0
    with nursery.processes(
        peers, contender.module, contender.function, vectors.descriptor
    ) as processes:
        group = _Group(processes)
        group.join(settings, nursery)
        first = group.round()
        group.all(do="store")
        compared = vectors.compare()
        for _ in range(WARM_ROUNDS - 1):
            group.round()
        timed = [group.round() for _ in range(TIMED_ROUNDS - fewer)]
        group.all(do="store")
        error = vectors.compare(_SAMPLE).error
        if error > _SLACK * compared.error + _ROUNDING:
            raise ProcessDied(f"{contender.name}: an error of {error} after {compared.error}")
    return Measurement(
        contender=contender.name,
        peers=peers,
        values=values,
        seed=seed,
        wall_seconds=median(it.wall for it in timed),
        cpu_seconds=median(it.cpu for it in timed),
        p2pd_seconds=median(it.p2pd for it in timed),
        matching_seconds=median(it.matching for it in timed),
        exchange_seconds=median(it.exchange for it in timed) or None,
        megabytes_sent=median(_bytes_sent(contender, it, peers, values) for it in timed) / 1e6,
        error=compared.error,
        spread=compared.spread,
        first_seconds=first.wall,
    )


def _exchange_seconds(replies: list[dict[str, Any]]) -> float:
    spans = [reply["exchanged"] for reply in replies if "exchanged" in reply]
    if not spans:
        return 0.0
    return float(max(end for _, end in spans) - min(begin for begin, _ in spans))


def _bytes_sent(contender: Contender, timed: _Round, peers: int, values: int) -> float:
    """By a peer. Half of what all p2pd write goes to the network, half to their own peers."""
    if contender.ring_bytes:
        return 2 * (peers - 1) / peers * contender.ring_bytes * values
    return timed.p2pd_written / 2 / peers
