"""Reports that came together, sorted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from coordinator.domain import Report


def one_of_each_peer(reports: Mapping[int, Report]) -> list[dict[int, Report]]:
    """The reports apart in waves, so that each is judged by what its peer told before it."""
    waves: list[dict[int, Report]] = []
    told: Counter[tuple[str, str]] = Counter()
    for place, report in reports.items():
        peer = (report.run_id, report.peer.peer_id)
        if told[peer] == len(waves):
            waves.append({})
        waves[told[peer]][place] = report
        told[peer] += 1
    return waves


def by_run(reports: Iterable[Report]) -> dict[str, list[Report]]:
    """The reports apart by run, in order."""
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.run_id, []).append(report)
    return found
