"""INSERT … ON CONFLICT DO UPDATE, which SQLite and PostgreSQL both know and SQL does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def insertion(connection: Connection, table: Table) -> Insert:
    """An insertion into `table` that knows what to do on conflict, for this database."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def replacing(
    connection: Connection,
    table: Table,
    keep: Sequence[str] = (),
    where: Callable[[Insert], ColumnElement[bool]] | None = None,
) -> Insert:
    """An insertion that puts a row in place of the one with the same primary key.

    `keep`: columns whose first value stands. `where`: only then is the row replaced.
    """
    made = insertion(connection, table)
    key = [column.name for column in table.primary_key]
    changed = {
        column.name: made.excluded[column.name]
        for column in table.c
        if column.name not in key and column.name not in keep
    }
    return made.on_conflict_do_update(
        index_elements=key, set_=changed, where=where(made) if where else None
    )
