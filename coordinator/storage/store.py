"""The coordinator's memory on disk: SQLite, one connection, one caller at a time.

Journal: WAL, so that a reader (an owner with `sqlite3`) never blocks a report. Synchronous: FULL,
because a peer forgets what the coordinator has taken: an answer must not outrun the disk, even if
the power fails. All methods block; the servicer runs them off the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Table, create_engine, delete, event, insert, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from coordinator.domain import (
    Coverage,
    Outcome,
    PeerState,
    Report,
    Run,
    StorageError,
    Validation,
)
from coordinator.set_aside import set_aside
from coordinator.storage import schema
from swarmpb.exits import Exit, UserError

log = logging.getLogger(__name__)

_Value = TypeVar("_Value", PeerState, Outcome, Validation, Coverage)


class _DamagedError(Exception):
    """The file is no sound SQLite database. `str(error)` says what SQLite says."""


class Store:
    """Runs, their peers' last states, and everything that the peers reported about rounds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the database at `path`, or make one. A damaged one is set aside, and said so.

        `UserError` (STATE_FOLDER) if the file cannot be written, or another version wrote it.
        """
        try:
            return cls(_connect(path))
        except _DamagedError as error:
            moved = set_aside(path, companions=("-wal", "-shm"))
            log.warning(
                "%s is damaged (%s) and was moved to %s; this coordinator starts without its runs",
                path,
                error,
                moved,
            )
        return cls(_connect(path))

    def close(self) -> None:
        """Write the journal back and let go of the file."""
        self._connection.close()
        self._connection.engine.dispose()

    def add_run(self, run: Run) -> None:
        """Keep a new run. `StorageError` if the disk does not take it."""
        with self._transaction() as connection:
            connection.execute(insert(schema.runs), asdict(run))

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        query = select(schema.runs).order_by(schema.runs.c.created_at_ms)
        with self._transaction() as connection:
            return [Run(**row) for row in connection.execute(query).mappings()]

    def news(self, report: Report) -> Report:
        """A report without the outcomes and validations that are kept already, in order."""
        with self._transaction() as connection:
            outcomes = _new_outcomes(connection, report)
            validations = _new_validations(connection, report)
        return replace(report, outcomes=tuple(outcomes), validations=tuple(validations))

    def keep(self, news: Report) -> None:
        """Keep a peer's state and what `news` found new.

        On disk when this returns. `StorageError` if the disk does not take it.
        """
        with self._transaction() as connection:
            _replace_peer(connection, news)
            _append(connection, schema.outcomes, news.run_id, news.outcomes)
            _append(connection, schema.validations, news.run_id, news.validations)
            if news.coverage is not None:
                _replace_coverage(connection, news.run_id, news.coverage)

    def forget_peer(self, run_id: str, peer_id: str) -> None:
        """Drop a peer's last state; what it told about rounds stays."""
        table = schema.peers
        with self._transaction() as connection:
            connection.execute(
                delete(table).where(table.c.run_id == run_id, table.c.peer_id == peer_id)
            )

    def peers(self, run_id: str) -> list[PeerState]:
        """The last states of a run's peers."""
        return self._rows(schema.peers, run_id, PeerState)

    def outcomes(self, run_id: str) -> list[Outcome]:
        """All that peers told about a run's rounds, in the order of arrival."""
        return self._rows(schema.outcomes, run_id, Outcome)

    def validations(self, run_id: str) -> list[Validation]:
        """All losses on held-out text of a run, in the order of arrival."""
        return self._rows(schema.validations, run_id, Validation)

    def coverage(self, run_id: str) -> Coverage | None:
        """That of a run's newest round, if any peer told it."""
        found = self._rows(schema.coverage, run_id, Coverage)
        return found[0] if found else None

    def _rows(self, table: Table, run_id: str, kind: type[_Value]) -> list[_Value]:
        columns = [column for column in table.c if column.name not in ("id", "run_id")]
        query = select(*columns).where(table.c.run_id == run_id).order_by(text("rowid"))
        with self._transaction() as connection:
            return [kind(**row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._connection.begin():
                yield self._connection
        except OperationalError as error:
            raise StorageError(f"the coordinator cannot use its database: {error.orig}") from error


def _replace_peer(connection: Connection, report: Report) -> None:
    row = {"run_id": report.run_id, **asdict(report.peer)}
    connection.execute(
        sqlite.insert(schema.peers)
        .values(row)
        .on_conflict_do_update(index_elements=["run_id", "peer_id"], set_=row)
    )


def _replace_coverage(connection: Connection, run_id: str, coverage: Coverage) -> None:
    row = {"run_id": run_id, **asdict(coverage)}
    insertion = sqlite.insert(schema.coverage).values(row)
    connection.execute(
        insertion.on_conflict_do_update(
            index_elements=["run_id"],
            set_=row,
            where=insertion.excluded.round > schema.coverage.c.round,
        )
    )


def _new_outcomes(connection: Connection, report: Report) -> list[Outcome]:
    """Those whose attempt, and if they commit whose round, this peer has not told before."""
    table = schema.outcomes
    told = connection.execute(
        select(table.c.round, table.c.attempt, table.c.committed).where(
            table.c.run_id == report.run_id,
            table.c.peer_id == report.peer.peer_id,
            table.c.round.in_({outcome.round for outcome in report.outcomes}),
        )
    ).all()
    attempts = {(row.round, row.attempt) for row in told}
    committed = {row.round for row in told if row.committed}
    new = []
    for outcome in report.outcomes:
        attempt = (outcome.round, outcome.attempt)
        if attempt in attempts or (outcome.committed and outcome.round in committed):
            continue
        new.append(outcome)
        attempts.add(attempt)
        if outcome.committed:
            committed.add(outcome.round)
    return new


def _new_validations(connection: Connection, report: Report) -> list[Validation]:
    """Those of rounds that this peer has told no loss of before."""
    table = schema.validations
    told = set(
        connection.scalars(
            select(table.c.round).where(
                table.c.run_id == report.run_id,
                table.c.peer_id == report.peer.peer_id,
                table.c.round.in_({validation.round for validation in report.validations}),
            )
        )
    )
    # of two losses of one round in one report the first stands
    of_rounds = {validation.round: validation for validation in reversed(report.validations)}
    return [
        validation
        for validation in report.validations
        if validation.round not in told and of_rounds[validation.round] is validation
    ]


def _append(
    connection: Connection,
    table: Table,
    run_id: str,
    values: tuple[Outcome, ...] | tuple[Validation, ...],
) -> None:
    if values:
        connection.execute(insert(table), [{"run_id": run_id, **asdict(value)} for value in values])


def _connect(path: Path) -> Connection:
    """A connection to a sound database with the present schema."""
    engine = create_engine(
        # one connection for good; `Store` promises one caller at a time, of whatever thread
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
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
        raise _DamagedError(str(error.orig)) from error
    except (UserError, _DamagedError):
        engine.dispose()
        raise
    return connection


def _prepare(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _check(connection: Connection, path: Path) -> None:
    with connection.begin():
        verdict = connection.scalar(text("PRAGMA quick_check(1)"))
        if verdict != "ok":
            raise _DamagedError(str(verdict))
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
        # Python's driver begins no transaction for a change of tables, which SQLite would take back
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for older in range(version or schema.SCHEMA_VERSION, schema.SCHEMA_VERSION):
            for statement in schema.UPGRADES[older]:
                connection.execute(text(statement))
        schema.metadata.create_all(connection)
        connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
