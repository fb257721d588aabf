"""What `peer doctor` says: a table for people, a document for scripts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from peer.doctor.findings import ATTENTION, BAD, OK, UNCHECKED, Verdict
from peer.screen.plain import one_line

_SIGNS = {
    OK: ("✓", "green"),
    ATTENTION: ("!", "yellow"),
    BAD: ("✗", "red"),
    UNCHECKED: ("·", "dim"),
}


def show(verdict: Verdict, console: Console) -> None:
    """A line for each check, what to change below it, and the verdict."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in verdict.checks:
        sign, style = _SIGNS[check.state]
        words = Text(one_line(check.words))
        if check.advice:
            words.append(f"\n→ {one_line(check.advice)}", "bold")
        table.add_row(Text(sign, style), check.name, Text(check.state, style), words)
    console.print(table)
    console.print()
    console.print(Text(one_line(verdict.words), "green" if verdict.helpful else "red"))


def document(verdict: Verdict) -> dict[str, Any]:
    """The same for scripts; the names stay."""
    return {
        "helpful": verdict.helpful,
        "verdict": verdict.words,
        "checks": [asdict(it) for it in verdict.checks],
        "figures": verdict.figures,
    }
