"""The table of `python -m tests.benchmarks limits`."""

from __future__ import annotations

from dataclasses import dataclass

HEADER = "| limit | set | measured | how |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One limit at one value."""

    limit: str
    set: str
    measured: str
    how: str


def line(row: Row) -> str:
    """As a row of a table in Markdown."""
    return f"| {row.limit} | {row.set} | {row.measured} | {row.how} |"
