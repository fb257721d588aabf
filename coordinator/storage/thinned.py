"""What of a run is only in sums by now, in memory: asked for with each word."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.upsert import replacing


@dataclass(frozen=True)
class Marks:
    """Unix seconds: attempts, and receipts of attempts, that ended before are only in sums."""

    attempts_before: float = 0.0
    receipts_before: float = 0.0


class Thinned:
    """The marks of all runs."""

    def __init__(self, database: Database) -> None:
        self._marks: dict[str, Marks] = {}
        database.on_undo(self.forget)

    def forget(self) -> None:
        """Read again what is asked for."""
        self._marks.clear()

    def of(self, connection: Connection, run_id: str) -> Marks:
        """Those of a run."""
        marks = self._marks.get(run_id)
        if marks is None:
            table = schema.thinned
            query = select(table.c.attempts_before, table.c.receipts_before)
            row = connection.execute(query.where(table.c.run_id == run_id)).first()
            marks = self._marks[run_id] = Marks(*row) if row else Marks()
        return marks

    def raise_to(
        self,
        connection: Connection,
        run_id: str,
        attempts_before: float = 0.0,
        receipts_before: float = 0.0,
    ) -> None:
        """Move the marks; they never go back."""
        marks = self.of(connection, run_id)
        marks = self._marks[run_id] = Marks(
            max(marks.attempts_before, attempts_before),
            max(marks.receipts_before, receipts_before),
        )
        row = {
            "run_id": run_id,
            "attempts_before": marks.attempts_before,
            "receipts_before": marks.receipts_before,
        }
        connection.execute(replacing(connection, schema.thinned), row)
