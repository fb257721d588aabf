"""The embedded database: one file.

Journal: WAL, so that a reader (an owner with `sqlite3`) never blocks a report. Synchronous: FULL,
because a peer forgets what the coordinator has taken: an answer must not outrun the disk, even if
the power fails.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from coordinator.set_aside import set_aside
from coordinator.storage.database import Database, said
from coordinator.storage.versions import bring_up_to_date, require_present
from swarmpb.exits import Exit, UserError

log = logging.getLogger(__name__)


class _DamagedError(Exception):
    """The file is no sound SQLite database. `str(error)` says what SQLite says."""


def open_file(path: Path) -> Database:
    """The database in the file at `path`, or a new one. A damaged one is set aside, and said so.

    `UserError` (STATE_FOLDER) if the file cannot be written, or a newer version wrote it.
    """

    def connect_reader() -> Connection:
        return _engine(path, reads_only=True).connect()

    try:
        return Database(lambda: _connect(path), connect_reader)
    except _DamagedError as error:
        moved = set_aside(path, companions=("-wal", "-shm"))
        log.warning(
            "%s is damaged (%s) and was moved to %s; this coordinator starts without its runs",
            path,
            error,
            moved,
        )
    return Database(lambda: _connect(path), connect_reader)


def read_file(path: Path) -> Database:
    """The database in a file that a coordinator may be using; nothing is changed.

    `UserError` (STATE_FOLDER) if it is not there, damaged, or of another version.
    """
    if not path.exists():
        raise UserError(
            Exit.STATE_FOLDER, f"there is no {path}; name the coordinator's --state-dir"
        )

    def connect() -> Connection:
        connection = _engine(path, reads_only=True).connect()
        try:
            require_present(connection, str(path))
        except DatabaseError as error:
            connection.engine.dispose()
            raise UserError(Exit.STATE_FOLDER, f"cannot read {path}: {said(error)}") from error
        except BaseException:
            connection.engine.dispose()
            raise
        return connection

    return Database(connect, connect)


def _engine(path: Path, reads_only: bool = False) -> Engine:
    engine = create_engine(
        # one connection for good; `Database` promises one caller at a time, of whatever thread
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_reader if reads_only else _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _connect(path: Path) -> Connection:
    """A connection to a sound database with the present tables."""
    engine = _engine(path)
    try:
        connection = engine.connect()
        with connection.begin():
            verdict = connection.scalar(text("PRAGMA quick_check(1)"))
        if verdict != "ok":
            raise _DamagedError(str(verdict))
        bring_up_to_date(connection, str(path), "choose another --state-dir")
    except OperationalError as error:
        engine.dispose()
        raise UserError(
            Exit.STATE_FOLDER,
            f"cannot use {path}: {said(error)}; free space there, or choose another --state-dir",
        ) from error
    except DatabaseError as error:
        engine.dispose()
        raise _DamagedError(said(error)) from error
    except BaseException:
        engine.dispose()
        raise
    return connection


def _prepare(connection: Any, _record: Any) -> None:
    # Python's driver begins no transaction for reading, nor for a change of tables: we do
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_reader(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON").close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
