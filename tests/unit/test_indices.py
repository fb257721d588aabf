"""What is asked often is answered by an index, however much is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from coordinator.history import DAY
from coordinator.storage.store import Store
from tests.contract.stores import RUN
from tests.contract.test_thinning import tell

MANY = "attempts|receipts|words|credited|digests|validations|events|samples|speeds"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as opened:
        opened.add_run(RUN)
        for number in range(1, 4):
            tell(opened, number, 1000.0 * number, "QmAnna", "QmBob")
        yield opened


@contextmanager
def scans(store: Store) -> Iterator[list[str]]:
    """The tables that grow and that SQLite reads from end to end inside, with the question."""
    found: list[str] = []
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, values: Any, _x: Any, many: bool) -> None:
        if statement.lstrip().startswith(("SELECT", "DELETE", "UPDATE")) and not many:
            asked.append((statement, values))

    with store.together() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with store.together() as connection:
        for statement, values in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            for step in plan:
                if re.match(rf"SCAN ({MANY})\b", step.detail):
                    found.append(f"{step.detail}: {statement}")
    assert asked


def test_taking_reports_reads_no_table_from_end_to_end(store: Store) -> None:
    with scans(store) as found:
        tell(store, 3, 3000.0, "QmAnna")
        tell(store, 4, 4000.0, "QmAnna")
    assert found == []


def test_what_the_dashboard_asks_reads_no_table_from_end_to_end(store: Store) -> None:
    history, curves = store.history, store.curves
    with scans(store) as found:
        attempts, _ = history.rounds("demo", before=100, limit=2)
        history.rounds("demo")
        history.receipts("demo", "QmAnna", before=100)
        history.receipts_of("demo", [it.id for it in attempts])
        history.totals("demo", "QmAnna")
        history.totals_since("demo", 0, DAY)
        history.counts("demo")
        history.first_and_newest_validation("demo")
        store.receipts.of_round("demo", 3)
        store.events.newest(before=100, run_id="demo")
        curves.rounds("demo", 0.0, 5000.0, 10)
        curves.samples("demo", 0.0, 5000.0, 10)
        curves.validations("demo", 0.0, 10)
    assert found == []
