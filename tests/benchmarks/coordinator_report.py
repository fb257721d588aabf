"""What the load did to the coordinator: figures, a table, a plot, and whether the aims are met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.coordinator_identities import load
from tests.benchmarks.coordinator_served import Look, kept
from tests.benchmarks.plots import PALETTE, figure, save

PEERS = "peers"
DASHBOARDS = "dashboards"
AIM_SECONDS = 0.05
AIM_BYTES = 300e6
FLAT_BYTES = 10e6
"""More than that in the second half is not flat."""

_Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Latency:
    """Of many answers, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True)
class Found:
    """All that was found. Unless said otherwise, of the time between the first interval, in which
    the peers come, and the kill.
    """

    plan: dict[str, Any]
    sent: int
    """Reports, in all,"""
    failed: dict[str, int]
    """those not taken by status, in all,"""
    failed_undisturbed: int
    """and those of them that failed before the kill."""
    per_second: float
    latency: Latency
    """Of reports, from when they were due."""
    latency_joining: Latency
    """In the first interval."""
    latency_back: Latency
    """From five seconds after the coordinator was back."""
    sender: Latency
    """How late reports were sent: the load's own share of the latency."""
    overviews: int
    """Server-sent,"""
    overview_gap: Latency | None
    """and how long apart on one stream."""
    pages: Latency | None
    """Answers to dashboards: the overview, and the page of participants."""
    dashboard_failures: dict[str, int]
    cpu_share: float
    """Of one processor, coordinator and p2pd."""
    waited_share: float
    """Of the time, in which a thread of it waited for the processor."""
    resident: tuple[int, int, int]
    """Bytes after the first minute, half-way, and before the kill, p2pd's included,"""
    resident_p2pd: int
    """and p2pd's share in the last."""
    most_others: int
    """Most bytes of other processes that it had started, for a while."""
    descriptors: int
    database_per_hour: float
    """Bytes, by least squares over the second half; journal not counted."""
    bytes_per_row: float
    rows: int
    """Told by peers, and acknowledged."""
    outage_seconds: float
    """From the kill until the coordinator had said that it listens."""
    lost_at_kill: int
    """Acknowledged reports and rows that were not on disk after SIGKILL,"""
    lost_at_end: int
    """and at the end."""
    taken_back: int
    """Answers that went back behind an earlier one."""
    silent_at_end: int
    """Peers whose last report was not taken: open, not lost."""
    sender_cpu_share: float
    complaints: str
    """The coordinator's standard error."""
    looks: list[Look]
    per_ten_seconds: list[tuple[float, float, float, int]]
    """Second, median latency, 99th percentile, reports taken."""


def found_in(
    folder: Path,
    snapshot: Path,
    database: Path,
    keys: list[Path],
    plan: dict[str, Any],
    looks: list[Look],
    times: tuple[float, float, float],
    complaints: str,
) -> Found:
    """What the processes left in `folder`; times: begin, kill, back, of the monotonic clock."""
    begin_at, killed_at, back_at = times
    told = json.loads((folder / f"{PEERS}.json").read_text())
    with np.load(folder / f"{PEERS}.npz") as columns:
        log = {name: columns[name] for name in columns}
    due, latency = log["due"], log["latency"]
    measured = (due < killed_at) & (due >= begin_at + plan["interval"])
    names = [identity.peer_id for identity in load(keys, plan["peers"])]
    before = [look for look in looks if look.at < killed_at]
    half = [look for look in before if look.at >= (begin_at + killed_at) / 2]
    rows = told["rows_told"]
    dashboards = _dashboards(folder, begin_at + plan["interval"], killed_at)
    seconds = killed_at - begin_at
    return Found(
        plan=plan,
        sent=len(due),
        failed=told["failures"],
        failed_undisturbed=int((log["failed"] < killed_at).sum()),
        per_second=float(measured.sum() / (killed_at - begin_at - plan["interval"])),
        latency=_latency(latency[measured]),
        latency_joining=_latency(latency[due < begin_at + plan["interval"]]),
        latency_back=_latency(latency[due > back_at + 5.0]),
        sender=_latency(log["late"][measured]),
        overviews=dashboards["overviews"],
        overview_gap=dashboards["gaps"],
        pages=dashboards["pages"],
        dashboard_failures=dashboards["failures"],
        cpu_share=_slope([(look.at, look.cpu_seconds) for look in before if look.at >= begin_at]),
        waited_share=_slope(
            [(look.at, look.waited_seconds) for look in before if look.at >= begin_at]
        ),
        resident=_memory(before, begin_at, seconds),
        resident_p2pd=before[-1].p2pd,
        most_others=max(look.others for look in before),
        descriptors=before[-1].descriptors,
        database_per_hour=3600 * _slope([(look.at, look.database) for look in half]),
        bytes_per_row=(looks[-1].database - looks[0].database) / max(1, rows),
        rows=rows,
        outage_seconds=back_at - killed_at,
        lost_at_kill=_lost(snapshot, names, log, log["answered"] < back_at),
        lost_at_end=_lost(database, names, log, log["answered"] > 0),
        taken_back=told["taken_back"],
        silent_at_end=len(names) - len(set(log["peer"][log["answered"] > back_at].tolist())),
        sender_cpu_share=told["cpu_seconds"] / told["wall_seconds"],
        complaints=complaints,
        looks=looks,
        per_ten_seconds=_over_time(due - begin_at, latency),
    )


def _memory(looks: Sequence[Look], begin_at: float, seconds: float) -> tuple[int, int, int]:
    def at(moment: float) -> int:
        look = min(looks, key=lambda it: abs(it.at - moment))
        return look.resident + look.p2pd

    return at(begin_at + min(60, seconds / 4)), at(begin_at + seconds / 2), at(begin_at + seconds)


def _lost(database: Path, names: list[str], log: dict[str, _Column], which: _Column) -> int:
    """Acknowledged sequences and rows that the database does not have."""
    states = kept(database, "load")
    sequence = np.zeros(len(names), np.int64)
    row = np.zeros(len(names), np.int64)
    np.maximum.at(sequence, log["peer"][which], log["sequence"][which])
    np.maximum.at(row, log["peer"][which], log["row"][which])
    lost = 0
    for name, last, taken in zip(names, sequence.tolist(), row.tolist(), strict=True):
        known_sequence, known_row, told = states.get(name, (0, 0, 0))
        # each row is one outcome here
        lost += (known_sequence < last) + max(0, taken - min(known_row, told))
    return lost


def _dashboards(folder: Path, begin_at: float, end_at: float) -> dict[str, Any]:
    path = folder / f"{DASHBOARDS}.npz"
    if not path.exists():
        return {"overviews": 0, "gaps": None, "pages": None, "failures": {}}
    told = json.loads((folder / f"{DASHBOARDS}.json").read_text())
    with np.load(path) as columns:
        measured = (columns["due"] >= begin_at) & (columns["due"] < end_at - 1)
        pages = _latency(columns["latency"][measured])
        gaps = _latency(columns["gaps"])
    overviews = told["events"].get("overview", 0)
    return {"overviews": overviews, "gaps": gaps, "pages": pages, "failures": told["failures"]}


def _latency(values: _Column) -> Latency:
    known = values[~np.isnan(values)]
    if not len(known):
        return Latency(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    p50, p90, p99, p999 = np.percentile(known, [50, 90, 99, 99.9]).tolist()
    return Latency(len(known), p50, p90, p99, p999, float(known.max()))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares; 0 without two points."""
    if len(points) < 2:
        return 0.0
    at, values = np.array(points).T
    return float(np.polyfit(at - at[0], values, 1)[0])


def _over_time(second: _Column, latency: _Column) -> list[tuple[float, float, float, int]]:
    found = []
    for turn in range(int(second.max() // 10) + 1):
        inside = _latency(latency[(second >= 10 * turn) & (second < 10 * turn + 10)])
        found.append((10.0 * turn + 5, inside.p50, inside.p99, inside.count))
    return found


def judge(found: Found, full: bool) -> list[str]:
    """What was promised and is not so; `full`: aims on time and memory too."""
    problems = []
    for what in ("lost_at_kill", "lost_at_end", "taken_back"):
        if count := getattr(found, what):
            problems.append(f"{what.replace('_', ' ')}: {count}")
    if full and found.silent_at_end:
        problems.append(f"{found.silent_at_end} peers were not heard again")
    if full and found.failed_undisturbed:
        problems.append(f"{found.failed_undisturbed} reports failed with nobody killed")
    if full and found.latency.p99 > AIM_SECONDS:
        problems.append(f"99th percentile {found.latency.p99 * 1000:.0f} ms")
    if full and max(found.resident) > AIM_BYTES:
        problems.append(f"memory {max(found.resident) / 1e6:.0f} MB")
    if full and found.resident[2] - found.resident[1] > FLAT_BYTES:
        problems.append("memory is not flat")
    return problems


def table(found: Found) -> str:
    """In Markdown."""
    plan = found.plan
    rows = [
        ("reports sent, a second", f"{found.sent}, {found.per_second:.0f}"),
        ("failed before the kill", str(found.failed_undisturbed)),
        ("latency of a report", _told(found.latency)),
        ("while the peers come", _told(found.latency_joining)),
        ("from 5 s after the return", _told(found.latency_back)),
        ("of that the load's own lateness", _told(found.sender)),
        ("dashboards: answers", _told(found.pages)),
        ("overviews pushed, and their gaps", f"{found.overviews}, {_told(found.overview_gap)}"),
        ("failures of dashboards", str(found.dashboard_failures or "none")),
        (
            "share of one processor",
            f"{found.cpu_share:.0%}; threads waited for it {found.waited_share:.0%} of the time",
        ),
        (
            "memory after a minute, half-way, at the end",
            ", ".join(f"{it / 1e6:.0f}" for it in found.resident)
            + f" MB, of that p2pd {found.resident_p2pd / 1e6:.0f};"
            f" for a while {found.most_others / 1e6:.0f} in processes beside it",
        ),
        ("descriptors", str(found.descriptors)),
        (
            "database",
            f"{found.database_per_hour / 1e6:.0f} MB an hour,"
            f" {found.bytes_per_row:.0f} bytes a row",
        ),
        ("killed: away for", f"{found.outage_seconds:.1f} s; failed then: {found.failed}"),
        ("acknowledged and lost, after the kill", str(found.lost_at_kill)),
        ("acknowledged and lost, at the end", f"{found.lost_at_end} of {found.rows} rows"),
        ("peers not heard again", str(found.silent_at_end)),
        ("share of the load's own processor", f"{found.sender_cpu_share:.0%}"),
    ]
    title = (
        f"{plan['peers']} peers every {plan['interval']:g} s, {plan['dashboards']} dashboards,"
        f" {plan['seconds']:g} s"
    )
    said = f"\nthe coordinator said:\n{found.complaints[-2000:]}" if found.complaints else ""
    lines = [f"| {title} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines) + said


def _told(latency: Latency | None) -> str:
    if latency is None or not latency.count:
        return "none"
    values = (latency.p50, latency.p90, latency.p99, latency.p999, latency.longest)
    shown = ", ".join(f"{1000 * value:.1f}" for value in values)
    return f"p50, p90, p99, p99.9, longest: {shown} ms ({latency.count})"


def draw(found: Found, path: Path) -> None:
    """Latency, memory and database over time."""
    made, (above, middle, below) = figure(3, "One coordinator under load")
    killed = found.plan["seconds"]
    at = [point[0] for point in found.per_ten_seconds]
    above.plot(at, [1000 * it[2] for it in found.per_ten_seconds], color=PALETTE[1], label="p99")
    above.plot(at, [1000 * it[1] for it in found.per_ten_seconds], color=PALETTE[0], label="p50")
    above.axhline(1000 * AIM_SECONDS, color="#333333", linewidth=0.8, linestyle="--")
    above.set_yscale("log")
    above.set_ylabel("report latency, ms")
    above.legend()
    start = found.looks[0].at
    moments = [look.at - start for look in found.looks]
    middle.plot(
        moments, [(look.resident + look.p2pd) / 1e6 for look in found.looks], color=PALETTE[0]
    )
    middle.axhline(AIM_BYTES / 1e6, color="#333333", linewidth=0.8, linestyle="--")
    middle.set_ylabel("memory, MB")
    middle.set_ylim(bottom=0)
    below.plot(moments, [look.database / 1e6 for look in found.looks], color=PALETTE[0])
    below.set_ylabel("database, MB")
    below.set_xlabel("seconds")
    for axis in (above, middle, below):
        axis.axvline(killed, color=PALETTE[2], linewidth=1.0)
    save(made, path)


def plain(found: Found) -> dict[str, Any]:
    """As JSON takes it."""
    return asdict(found)
