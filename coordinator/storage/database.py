"""One connection to the database, and its transactions.

Journal: WAL, so that a reader (an owner with `sqlite3`) never blocks a report. Synchronous: FULL,
because a peer forgets what the coordinator has taken: an answer must not outrun the disk, even if
the power fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from coordinator.domain import StorageError
from coordinator.set_aside import set_aside
from coordinator.storage import schema
from swarmpb.exits import Exit, UserError

log = logging.getLogger(__name__)


class DamagedError(Exception):
    """The file is no sound SQLite database. `str(error)` says what SQLite says."""


class Database:
    """One connection; used by one caller at a time, of whatever thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def close(self) -> None:
        """Write the journal back and let go of the file."""
        self.connection.close()
        self.connection.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of what is done inside is on disk at the end, or nothing of it.

        One inside another is a part of it. `StorageError` if the disk does not take it.
        """
        if self.connection.in_transaction():
            yield self.connection
            return
        try:
            with self.connection.begin():
                yield self.connection
        except OperationalError as error:
            raise StorageError(f"the coordinator cannot use its database: {error.orig}") from error


def open_sqlite(path: Path) -> Database:
    """The database in the file at `path`, or a new one. A damaged one is set aside, and said so.

    `UserError` (STATE_FOLDER) if the file cannot be written, or another version wrote it.
    """
    try:
        return Database(_connect(path))
    except DamagedError as error:
        moved = set_aside(path, companions=("-wal", "-shm"))
        log.warning(
            "%s is damaged (%s) and was moved to %s; this coordinator starts without its runs",
            path,
            error,
            moved,
        )
    return Database(_connect(path))


def _connect(path: Path) -> Connection:
    """A connection to a sound database with the present schema."""
    engine = create_engine(
        # one connection for good; `Store` promises one caller at a time, of whatever thread
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        connection = engine.connect()
        _check(connection, path)
    except OperationalError as error:
        engine.dispose()
        raise UserError(
            Exit.STATE_FOLDER,
            f"cannot use {path}: {error.orig}; free space there, or choose another --state-dir",
        ) from error
    except DatabaseError as error:
        engine.dispose()
        raise DamagedError(str(error.orig)) from error
    except (UserError, DamagedError):
        engine.dispose()
        raise
    return connection


def _prepare(connection: Any, _record: Any) -> None:
    # Python's driver begins no transaction for reading, nor for a change of tables: we do
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _check(connection: Connection, path: Path) -> None:
    with connection.begin():
        verdict = connection.scalar(text("PRAGMA quick_check(1)"))
        if verdict != "ok":
            raise DamagedError(str(verdict))
        version = connection.scalar(text("PRAGMA user_version"))
    if version == schema.SCHEMA_VERSION:
        return
    if version != 0 and version not in schema.UPGRADES:
        raise UserError(
            Exit.STATE_FOLDER,
            f"{path} has version {version} and this coordinator writes {schema.SCHEMA_VERSION};"
            " use the coordinator that wrote it, or choose another --state-dir",
        )
    with connection.begin():
        for older in range(version or schema.SCHEMA_VERSION, schema.SCHEMA_VERSION):
            for statement in schema.UPGRADES[older]:
                connection.execute(text(statement))
        schema.metadata.create_all(connection)
        connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
