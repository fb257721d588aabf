"""What happened to runs, kept in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Select, insert, select

from coordinator.domain import Event, EventKind
from coordinator.storage import schema
from coordinator.storage.database import Database


class EventStore:
    """The event log of all runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, events: Sequence[Event]) -> list[Event]:
        """Keep events, and say which number each was given; theirs is ignored."""
        if not events:
            return []
        rows = [{**asdict(event), "kind": event.kind.value} for event in events]
        for row in rows:
            del row["number"]
        table = schema.events
        command = insert(table).returning(table.c.number, sort_by_parameter_order=True)
        with self._database.transaction() as connection:
            numbers = connection.scalars(command, rows).all()
        return [replace(event, number=given) for event, given in zip(events, numbers, strict=True)]

    def after(self, number: int, run_id: str | None = None, limit: int = 1000) -> list[Event]:
        """The first `limit` events with higher numbers, of one run or of all; the oldest first."""
        table = schema.events
        query = select(table).where(table.c.number > number).order_by(table.c.number)
        return self._read(query if run_id is None else query.where(table.c.run_id == run_id), limit)

    def newest(
        self, before: int | None = None, run_id: str | None = None, limit: int = 100
    ) -> list[Event]:
        """The last `limit` events, or the last before a number; the newest first."""
        table = schema.events
        query = select(table).order_by(table.c.number.desc())
        if before is not None:
            query = query.where(table.c.number < before)
        return self._read(query if run_id is None else query.where(table.c.run_id == run_id), limit)

    def _read(self, query: Select[Any], limit: int) -> list[Event]:
        with self._database.transaction() as connection:
            rows = connection.execute(query.limit(limit)).mappings().all()
        return [Event(**{**row, "kind": EventKind(row["kind"])}) for row in rows]
