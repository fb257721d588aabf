"""The dashboard file and the alerts speak of figures that are there, and of all that matter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain import Event, EventKind
from coordinator.operators.metrics import RUN_FIGURES, Metrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "murmuration.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
_NAME = re.compile(r"\b(?:murmuration|process)_[a-z_]+")
GAUGES = {
    "murmuration_reports_waiting",
    "murmuration_stream_listeners",
    "murmuration_database_bytes",
}
"""Registered where what they measure is made: see `observing` and `web.serving`."""


class OneRun:
    def run_figures(self) -> list[tuple[str, dict[str, float | None]]]:
        return [("demo", dict.fromkeys(RUN_FIGURES, 1.0))]


@pytest.fixture(scope="module")
def exposed() -> set[str]:
    """The names on `/metrics` once everything has happened."""
    metrics = Metrics()
    metrics.read_runs(OneRun())
    for name in GAUGES:
        metrics.gauge(name, "", lambda: 1.0)
    metrics.happened([Event(1, 0.0, "demo", EventKind.JOINED, "")])
    metrics.reports.labels("taken").inc()
    metrics.calls.labels("Report", "OK").inc()
    metrics.http.labels("200").inc()
    metrics.webhooks.labels("delivered").inc()
    lines = metrics.exposition().decode().splitlines()
    return {re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")}


def expressions() -> list[str]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    of_panels = [it["expr"] for panel in board["panels"] for it in panel["targets"]]
    return [*of_panels, *(it["query"]["query"] for it in board["templating"]["list"][1:])]


def test_every_figure_on_the_dashboard_is_exposed(exposed: set[str]) -> None:
    named = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert named - exposed == set()


def test_every_figure_of_ours_is_on_the_dashboard(exposed: set[str]) -> None:
    shown = " ".join(expressions())
    ours = {name for name in exposed if name.startswith("murmuration_")}
    families = {re.sub("_(bucket|sum|count|created)$", "", name) for name in ours}
    assert {name for name in families if name.removesuffix("_total") not in shown} == set()


def test_alerts_speak_of_figures_that_are_there(exposed: set[str]) -> None:
    expressions = re.findall(r"expr: '(.*)'$", ALERTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(expressions) == 5
    named = {name for expression in expressions for name in _NAME.findall(expression)}
    assert named - exposed == set()


def test_panels_have_their_own_places_and_numbers() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(it["gridPos"]["x"], it["gridPos"]["y"]) for it in panels]
    assert len(set(places)) == len(places)
    assert all(it["gridPos"]["x"] + it["gridPos"]["w"] <= 24 for it in panels)
