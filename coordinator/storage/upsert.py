"""INSERT … ON CONFLICT DO UPDATE, which SQLite and PostgreSQL both know and SQL does not.

Each statement is made once: SQLAlchemy takes longer to make one than SQLite to carry it out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def replacing(connection: Connection, table: Table) -> Insert:
    """An insertion that puts a row in place of the one with the same primary key."""
    return _replacing(connection.dialect.name, table, None)


def replacing_smaller(connection: Connection, table: Table, column: str) -> Insert:
    """One that puts a row in place of the one with the same primary key and a lesser column."""
    return _replacing(connection.dialect.name, table, column)


def adding(connection: Connection, table: Table, *columns: str) -> Insert:
    """An insertion that adds these columns to those of the row with the same primary key."""
    return _adding(connection.dialect.name, table, columns)


def raising(connection: Connection, table: Table, rows: Select[Any], column: str) -> Insert:
    """An insertion of selected rows, by all columns in order, for one column of rows there are.

    Where a row has the primary key already, only that column is replaced, if it is less.
    """
    made = _insertion(connection.dialect.name, table)
    return made.from_select([it.name for it in table.c], rows).on_conflict_do_update(
        index_elements=_key(table),
        set_={column: made.excluded[column]},
        where=made.excluded[column] > table.c[column],
    )


@cache
def _replacing(dialect: str, table: Table, column: str | None) -> Insert:
    made = _insertion(dialect, table)
    key = _key(table)
    return made.on_conflict_do_update(
        index_elements=key,
        set_={it.name: made.excluded[it.name] for it in table.c if it.name not in key},
        where=made.excluded[column] > table.c[column] if column is not None else None,
    )


@cache
def _adding(dialect: str, table: Table, columns: tuple[str, ...]) -> Insert:
    made = _insertion(dialect, table)
    return made.on_conflict_do_update(
        index_elements=_key(table),
        set_={name: table.c[name] + made.excluded[name] for name in columns},
    )


def _insertion(dialect: str, table: Table) -> Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _key(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]
