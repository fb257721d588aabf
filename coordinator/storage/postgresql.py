"""A database on a PostgreSQL server, named by a URL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from coordinator.storage.database import Database, said
from coordinator.storage.versions import bring_up_to_date, require_present
from swarmpb.exits import Exit, UserError

CONNECT_SECONDS = 10
EXAMPLE = "postgresql://user:password@host/database"
INSTALL = "pip install 'murmuration[postgresql]'"
_SECRETS = ("password", "passfile", "sslpassword")

LOCK_MS = 5000
"""A coordinator that was killed may be connected for a little longer."""
_LOCK = "SELECT pg_advisory_lock(hashtextextended('murmuration ' || current_schema(), 0))"
"""Held for as long as the connection lives: two coordinators would contradict each other."""


class _TakenError(Exception):
    """Another coordinator uses the database."""


def open_server(address: str) -> Database:
    """The database at a URL such as `EXAMPLE`.

    `UserError`: BAD_CONFIG for a wrong URL or a missing driver, STATE_FOLDER for a server that
    does not let us in or a database of a newer coordinator, ALREADY_RUNNING if another uses it.
    """
    url = _postgresql(address)

    def connect() -> Connection:
        return _connect(url, alone=True)

    def connect_reader() -> Connection:
        return _engine(url, alone=False).connect()

    return Database(connect, connect_reader)


def read_server(address: str) -> Database:
    """The same, beside a coordinator that may use it; each transaction sees one moment of it."""
    url = _postgresql(address)

    def connect() -> Connection:
        return _connect(url, alone=False)

    return Database(connect, connect)


def _postgresql(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise _wrong_url() from error
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        raise _wrong_url()
    try:
        import psycopg  # noqa: F401  only to see that it is there
    except ImportError as error:
        raise UserError(
            Exit.BAD_CONFIG, f"for a PostgreSQL database install its driver: {INSTALL}"
        ) from error
    return url.set(drivername="postgresql+psycopg")


def _wrong_url() -> UserError:
    return UserError(Exit.BAD_CONFIG, f"--database takes a URL like {EXAMPLE}")


def _engine(url: URL, alone: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        connect_args={"connect_timeout": CONNECT_SECONDS},
        isolation_level="READ COMMITTED" if alone else "REPEATABLE READ",
    )
    if alone:
        event.listen(engine, "connect", _take)
    return engine


def _take(connection: Any, _record: Any) -> None:
    from psycopg.errors import LockNotAvailable

    try:
        connection.execute(f"SET lock_timeout = {LOCK_MS}")
        connection.execute(_LOCK)
        connection.execute("SET lock_timeout = 0")
    except LockNotAvailable as error:
        raise _TakenError from error
    connection.commit()


def _connect(url: URL, alone: bool) -> Connection:
    name = f"the database {url.database} of {url.host or 'this machine'}"
    engine = _engine(url, alone)
    try:
        connection = engine.connect()
        if alone:
            bring_up_to_date(connection, name, "name another --database")
        else:
            require_present(connection, name)
    except _TakenError as error:
        engine.dispose()
        raise UserError(
            Exit.ALREADY_RUNNING, f"another coordinator uses {name}; stop it, or name another"
        ) from error
    except DBAPIError as error:
        engine.dispose()
        raise UserError(
            Exit.STATE_FOLDER,
            f"cannot use {name}: {without_secrets(said(error), url)};"
            " see that the server runs and lets this user in, or name another --database",
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return connection


def without_secrets(message: str, url: URL) -> str:
    """What a driver or a server says, which may quote what it was told."""
    secrets = [url.password, *(url.query.get(name) for name in _SECRETS)]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            message = message.replace(secret, "***")
    return message
