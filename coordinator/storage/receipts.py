"""What became of each peer's work in each round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import ColumnElement, case, func, select

from coordinator.domain import Receipt
from coordinator.receipts import NOT_MISSED, Credit
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.upsert import replacing

_COLUMNS = [column for column in schema.receipts.c if column.name != "run_id"]


class ReceiptStore:
    """The receipts of all runs: one for each run, peer and round."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, run_id: str, receipts: Sequence[Receipt]) -> None:
        """Put them in place of what was kept of the same peers and rounds; the last one stands."""
        rows = {(it.peer_id, it.round): {"run_id": run_id, **asdict(it)} for it in receipts}
        if rows:
            with self._database.transaction() as connection:
                connection.execute(replacing(connection, schema.receipts), list(rows.values()))

    def of_round(self, run_id: str, round_: int) -> list[Receipt]:
        """Those of one round."""
        return self._read(run_id, schema.receipts.c.round == round_)

    def of_peer(
        self, run_id: str, peer_id: str, before: int | None = None, limit: int = 200
    ) -> list[Receipt]:
        """A peer's, of rounds below `before`; the newest first."""
        table = schema.receipts
        whose = [table.c.peer_id == peer_id]
        if before is not None:
            whose.append(table.c.round < before)
        return self._read(run_id, *whose, limit=limit)

    def credits(self, run_id: str) -> dict[str, Credit]:
        """By peer, the sums of its receipts."""
        table = schema.receipts
        missed = table.c.included.is_(False) & table.c.reason.not_in(NOT_MISSED)
        sums = (
            select(
                table.c.peer_id,
                func.sum(table.c.merged_tokens),
                func.sum(case((table.c.observed, table.c.merged_tokens), else_=0)),
                func.sum(case((table.c.included, 1), else_=0)),
                func.sum(case((missed, 1), else_=0)),
                func.max(case((missed, table.c.round))),
            )
            .where(table.c.run_id == run_id)
            .group_by(table.c.peer_id)
        )
        with self._database.transaction() as connection:
            found = connection.execute(sums).all()
            newest = {(row[0], row[5]) for row in found if row[5] is not None}
            reasons = {}
            for peer_id, round_ in newest:
                reasons[peer_id] = connection.scalar(
                    select(table.c.reason).where(
                        table.c.run_id == run_id,
                        table.c.peer_id == peer_id,
                        table.c.round == round_,
                    )
                )
        return {
            peer_id: Credit(
                int(tokens), int(observed), rounds, out, (last or 0, reasons.get(peer_id) or "")
            )
            for peer_id, tokens, observed, rounds, out, last in found
        }

    def _read(
        self, run_id: str, *conditions: ColumnElement[bool], limit: int | None = None
    ) -> list[Receipt]:
        table = schema.receipts
        query = (
            select(*_COLUMNS)
            .where(table.c.run_id == run_id, *conditions)
            .order_by(table.c.round.desc(), table.c.peer_id)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            return [Receipt(**row) for row in connection.execute(query).mappings()]
