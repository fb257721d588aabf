"""The run and the places of the stores' tests."""

from __future__ import annotations

from pathlib import Path

from coordinator.domain import Run

Where = Path | str
"""A SQLite file or the URL of a PostgreSQL schema."""

RUN = Run(
    run_id="demo",
    spec=b"{}",
    spec_hash=b"h" * 32,
    owner_key=b"k" * 32,
    signature=b"s" * 64,
    description="a run",
    target_tokens=1000,
    created_at_ms=1,
)
