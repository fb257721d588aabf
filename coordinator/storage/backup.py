"""A coordinator in one file: a SQLite database with all tables, and the keys that it is known by.

What is read is one moment of the database, also while the coordinator serves, and also of a
PostgreSQL one. Whoever has the file can speak for the coordinator's runs: its mode is 0600.
Models of finished runs are not in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, text

from coordinator.config import ServeSettings
from coordinator.storage import schema
from coordinator.storage.sqlite_file import open_file
from coordinator.storage.store import open_database, open_to_read
from peer.runtime import RuntimeFolder
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private

AT_ONCE = 1000
"""Rows in memory."""


def key_files(settings: ServeSettings) -> list[Path]:
    """What makes a coordinator the one that peers and owners know."""
    return [
        settings.authority_key,
        settings.identity,
        settings.admin_token,
        settings.own_tls.certificate,
        settings.own_tls.key,
        settings.webhook_secret,
    ]


def back_up(settings: ServeSettings, target: Path) -> int:
    """Write a new file; how many rows are in it.

    `UserError` STATE_FOLDER if there is nothing to read, or the file is there or cannot be written.
    """
    with _new_file(target) as unfinished:
        with (
            closing(open_to_read(settings.database)) as source,
            closing(open_file(unfinished)) as made,
            source.transaction() as reading,
            made.transaction() as writing,
        ):
            rows = _copy(reading, writing)
        with closing(sqlite3.connect(unfinished)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("CREATE TABLE keys (name TEXT PRIMARY KEY, content BLOB NOT NULL)")
            connection.executemany("INSERT INTO keys VALUES (?, ?)", _keys(settings))
            connection.commit()
    return rows


def restore(settings: ServeSettings, source: Path) -> int:
    """Take up in an empty state folder and an empty database what a file has; how many rows.

    `UserError` STATE_FOLDER if the file is no backup, or there is something already.
    """
    with contextlib.ExitStack() as held:
        folder = RuntimeFolder.claim(settings.state_dir, "a coordinator")
        held.callback(folder.close)
        present = [path.name for path in key_files(settings) if path.exists()]
        if present:
            raise _not_empty(f"{settings.state_dir} has {present[0]} already")
        copy = Path(held.enter_context(tempfile.TemporaryDirectory(dir=folder.path))) / "backup"
        keys = _checked_copy(source, copy)
        # a backup of an older coordinator is brought up to date first
        read = held.enter_context(closing(open_file(copy)))
        write = held.enter_context(closing(open_database(settings.database)))
        with read.transaction() as reading, write.transaction() as writing:
            if writing.scalar(select(func.count()).select_from(schema.runs)):
                raise _not_empty("the database has runs already")
            rows = _copy(reading, writing)
        names = {path.name: path for path in key_files(settings)}
        for name, content in keys:
            if name in names:  # a newer coordinator may have other keys
                write_private(names[name], content)
    return rows


def _copy(reading: Connection, writing: Connection) -> int:
    """All rows of all tables."""
    copied = 0
    for table in schema.metadata.sorted_tables:
        result = reading.execution_options(yield_per=AT_ONCE).execute(select(table))
        for rows in result.mappings().partitions():
            writing.execute(insert(table), [dict(row) for row in rows])
            copied += len(rows)
    _go_on_counting(writing, schema.events, "number")
    return copied


def _go_on_counting(connection: Connection, table: Table, column: str) -> None:
    """PostgreSQL does not see which numbers were given by hand."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column}'),"  # noqa: S608  our names
                f" (SELECT coalesce(max({column}), 0) + 1 FROM {table.name}), false)"
            )
        )


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A file beside `target`, for its owner only, that takes that name once it is whole."""
    if target.exists():
        raise UserError(Exit.STATE_FOLDER, f"{target} is there already; name another file")
    try:
        folder = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise UserError(
            Exit.STATE_FOLDER, f"cannot write to {target.parent}: {error.strerror}"
        ) from error
    try:
        unfinished = Path(folder) / "backup"
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield unfinished
        _sync(unfinished)
        unfinished.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keys(settings: ServeSettings) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in key_files(settings) if path.exists()]


def _checked_copy(source: Path, copy: Path) -> Sequence[tuple[str, bytes]]:
    """Copy a backup; the keys in it."""
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        shutil.copyfile(source, copy)
        with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
            keys = connection.execute("SELECT name, content FROM keys").fetchall()
            sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except OSError as error:
        raise UserError(Exit.STATE_FOLDER, f"cannot read {source}: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        raise UserError(Exit.STATE_FOLDER, f"{source} is no backup of a coordinator") from error
    if not sound:
        raise UserError(Exit.STATE_FOLDER, f"{source} is damaged; use another backup")
    return keys


def _not_empty(what: str) -> UserError:
    return UserError(
        Exit.STATE_FOLDER,
        f"{what}; a backup is restored into a new --state-dir and an empty database",
    )
