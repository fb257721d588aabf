"""One connection to the database, and its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from coordinator.domain import StorageError


class Database:
    """One connection; used by one caller at a time, of whatever thread.

    A server that went away is called again at the next transaction.
    """

    def __init__(self, connect: Callable[[], Connection], connect_reader: Callable[[], Connection]):
        """`connect` opens the connection that writes, `connect_reader` others beside it."""
        self.connection = connect()
        self._connect_reader = connect_reader
        self._undone: list[Callable[[], None]] = []

    def close(self) -> None:
        """Write a journal back, and let go of the file or the server."""
        self.connection.close()
        self.connection.engine.dispose()

    def reader(self) -> Database:
        """Another connection that only reads, for another thread; the caller closes it."""
        return Database(self._connect_reader, self._connect_reader)

    def on_undo(self, forget: Callable[[], None]) -> None:
        """Call `forget` whenever a transaction was undone: what memory holds of it is wrong."""
        self._undone.append(forget)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of what is done inside is on disk at the end, or nothing of it.

        One inside another is a part of it. `StorageError` if the database does not take it.
        """
        if self.connection.in_transaction():
            yield self.connection
            return
        try:
            with self.connection.begin():
                yield self.connection
        except (OperationalError, InterfaceError) as error:
            self._undo()
            raise StorageError(f"the coordinator cannot use its database: {said(error)}") from error
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        for forget in self._undone:
            forget()


def said(error: DBAPIError) -> str:
    """What the database says, as one line."""
    return " ".join(str(error.orig).split())
