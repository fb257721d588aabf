"""What a peer has to tell its coordinator, kept on disk: how rounds ended, losses on held-out text.

A small SQLite file in the run's folder, so that a peer that is killed tells later what it had not
told, and tells again what a coordinator has lost. Whatever the disk does, nobody waits for it: what
it does not take stays in memory until it does, and the user is told once.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from google.protobuf.message import DecodeError

from peer.files import set_aside
from peer.swarm.clock import CLOCK
from swarmpb.v1 import coordinator_pb2

log = logging.getLogger(__name__)

KEPT_ROWS = 50_000
"""Days of 5-second rounds; about 250 bytes each. The oldest go first."""
WAITING_ROWS = 20_000
"""In memory, while the disk takes nothing."""
_SPARE_ROWS = 512
"""So many more are let in: one deletion for hundreds of rounds."""
_VERSION = 1

Told = coordinator_pb2.RoundOutcome | coordinator_pb2.Validation
_SORTS: tuple[type[Told], ...] = (coordinator_pb2.RoundOutcome, coordinator_pb2.Validation)


@dataclass(frozen=True)
class Row:
    """One thing to tell; numbers grow, and rows are told in their order."""

    number: int
    told: Told


class Journal:
    """Rows in the order in which they happened, on disk as far as it takes them."""

    def __init__(self, path: Path, kept: int = KEPT_ROWS) -> None:
        self._path = path
        self._kept = kept
        self._file: _File | None = None
        self._waiting: deque[Row] = deque(maxlen=WAITING_ROWS)
        self._problem = ""
        self._disk = anyio.Lock()
        self._news = anyio.Event()
        self.highest = 0
        """The number of the newest row."""
        self.name = secrets.token_bytes(8)
        """Another one whenever rows on disk were lost, or cannot be read any more."""

    async def open(self) -> None:
        """Go on with the file, or make it. A damaged one is set aside, and said."""
        async with self._disk:
            await self._open()

    def add(self, told: Told) -> None:
        """Take note of what happened; on disk soon."""
        # milliseconds: growing even if the newest rows had been told and never reached the disk
        self.highest = max(self.highest + 1, int(CLOCK.now() * 1000))
        self._waiting.append(Row(self.highest, told))
        self._news.set()

    def skip_to(self, number: int) -> None:
        """Number new rows above this."""
        self.highest = max(self.highest, number)

    async def keep_writing(self, pause: float) -> None:
        """Write what is new until cancelled, at most once in `pause` seconds."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self.write()
            await anyio.sleep(pause)

    async def write(self) -> None:
        """Put on disk what waits for it; what it does not take goes on waiting."""
        async with self._disk:
            if not self._waiting or not await self._open():
                return
            rows = list(self._waiting)
            if await self._guarded(lambda file: file.append(rows, self._kept)):
                self._forget_waiting(rows[-1].number)
                if self._problem:
                    log.warning("%s is written again", self._path)
                    self._problem = ""

    async def rows(self, after: int, most: int) -> list[Row]:
        """At most `most` rows with numbers above `after`, in order."""
        async with self._disk:
            found: list[Row] = []
            if self._file is not None:
                read = partial(_read, after=after, most=most, into=found)
                if not await self._guarded(read):
                    # those in memory must not be told as if none came before them
                    self._let_go()
                    return []
            waiting = [row for row in self._waiting if row.number > after]
            return [*found, *waiting][:most]

    async def drop(self, number: int) -> None:
        """Forget a row that nobody will ever take."""
        async with self._disk:
            self._waiting = deque(
                (row for row in self._waiting if row.number != number), maxlen=WAITING_ROWS
            )
            if self._file is not None:
                await self._guarded(lambda file: file.remove(number))

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        await self.write()
        async with self._disk:
            if self._file is not None:
                await self._guarded(_File.close)
                self._file = None

    def _forget_waiting(self, number: int) -> None:
        while self._waiting and self._waiting[0].number <= number:
            self._waiting.popleft()

    # ---- the disk, one thread at a time ----------------------------------------------------

    async def _open(self) -> bool:
        """Whether the file is open now."""
        if self._file is None:
            opened = await anyio.to_thread.run_sync(self._try, lambda: _File(self._path))
            if opened is None and not self._path.exists():  # a damaged one was set aside
                opened = await anyio.to_thread.run_sync(self._try, lambda: _File(self._path))
            self._file = opened
            if opened is not None:
                self.name = opened.name
                self._put_after(opened.highest)
        return self._file is not None

    def _put_after(self, number: int) -> None:
        """Number what waits above `number`: this clock may have been set back."""
        self.skip_to(number)
        if self._waiting and self._waiting[0].number <= number:
            waiting, self._waiting = self._waiting, deque(maxlen=WAITING_ROWS)
            for row in waiting:
                self.add(row.told)

    async def _guarded(self, work: Callable[[_File], object]) -> bool:
        """Whether the open file did it."""
        file = self._file
        if file is None:
            return False
        done = await anyio.to_thread.run_sync(self._try, lambda: (work(file),))
        if done is None and file.damaged:
            self._let_go()
        return done is not None

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self.name = secrets.token_bytes(8)

    def _try(self, work: Callable[[], Any]) -> Any:
        """What the disk gives, or None: said once, and a damaged file is set aside."""
        try:
            return work()
        except (sqlite3.OperationalError, OSError) as error:
            self._say(str(error))
        except sqlite3.DatabaseError as error:
            if self._file is not None:
                self._file.damaged = True
            try:
                _set_aside(self._path, str(error))
            except OSError as why:
                self._say(f"{error}, and it cannot be moved away: {why}")
        return None

    def _say(self, problem: str) -> None:
        if not self._problem:
            log.warning(
                "cannot use %s: %s; what is to be told to the coordinator is kept in memory",
                self._path,
                problem,
            )
        self._problem = problem


class _File:
    """The SQLite file; raises `sqlite3.OperationalError` for a disk that does not take or give
    something, and any other `sqlite3.DatabaseError` for damage."""

    def __init__(self, path: Path) -> None:
        self.damaged = False
        # one thread at a time, of whatever number
        self._connection = sqlite3.connect(
            path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
            (self.name,) = self._one("SELECT name FROM journal")
            (self.highest,) = self._one("SELECT coalesce(max(number), 0) FROM told")
            (self._count,) = self._one("SELECT count(*) FROM told")
        except BaseException:
            self._connection.close()
            raise

    def append(self, rows: list[Row], kept: int) -> None:
        """Add rows in one transaction; the oldest go once there are many more than `kept`."""
        many = self._count + len(rows) > kept + _SPARE_ROWS
        values = [
            (row.number, _SORTS.index(type(row.told)), row.told.SerializeToString()) for row in rows
        ]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", values)
            if many:
                connection.execute(
                    "DELETE FROM told WHERE number <= (SELECT number FROM told "
                    "ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (kept,),
                )
        self._count = kept if many else self._count + len(rows)

    def rows(self, after: int, most: int) -> list[Row]:
        query = "SELECT number, sort, content FROM told WHERE number > ? ORDER BY number LIMIT ?"
        found = self._connection.execute(query, (after, most)).fetchall()
        try:
            return [Row(number, _SORTS[sort].FromString(data)) for number, sort, data in found]
        except (DecodeError, IndexError, TypeError) as error:
            raise sqlite3.DatabaseError(f"a row makes no sense: {error}") from error

    def remove(self, number: int) -> None:
        self._connection.execute("DELETE FROM told WHERE number = ?", (number,))

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        # a killed peer loses nothing; a power cut may cost the last rows, but not the file
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "journal_size_limit=1000000"):
            self._connection.execute(f"PRAGMA {pragma}")
        (verdict,) = self._one("PRAGMA quick_check(1)")
        (version,) = self._one("PRAGMA user_version")
        if verdict != "ok" or version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"{verdict}; version {version}")
        if version == 0:
            with self._transaction() as connection:
                connection.execute("CREATE TABLE journal (name BLOB NOT NULL)")
                connection.execute(
                    "CREATE TABLE told "
                    "(number INTEGER PRIMARY KEY, sort INTEGER NOT NULL, content BLOB NOT NULL)"
                )
                connection.execute("INSERT INTO journal VALUES (?)", (secrets.token_bytes(8),))
                connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _one(self, query: str) -> Any:
        found = self._connection.execute(query).fetchone()
        if found is None:
            raise sqlite3.DatabaseError(f"nothing to {query}")
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk may have ended it already
                self._connection.execute("ROLLBACK")
            raise


def newest(path: Path, most: int) -> tuple[int, list[Told]]:
    """How many rows a file has, and the newest, for whoever only looks. `ValueError` if damaged."""
    if not path.exists():
        return 0, []
    waiting = path.with_name(path.name + "-wal")
    # a look must not leave files behind where no peer has any
    how = "mode=ro" if waiting.exists() else "immutable=1"
    try:
        where = f"{path.absolute().as_uri()}?{how}"
        with closing(sqlite3.connect(where, uri=True, timeout=1.0)) as file:
            (count,) = file.execute("SELECT count(*) FROM told").fetchone()
            query = "SELECT sort, content FROM told ORDER BY number DESC LIMIT ?"
            rows = file.execute(query, (most,)).fetchall()
        return count, [_SORTS[sort].FromString(data) for sort, data in rows]
    except (sqlite3.Error, DecodeError, IndexError, TypeError) as error:
        raise ValueError(f"the journal cannot be read: {error}") from error


def _read(file: _File, after: int, most: int, into: list[Row]) -> None:
    into.extend(file.rows(after, most))


def _set_aside(path: Path, why: str) -> None:
    aside = set_aside(path, why)
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.replace(aside.with_name(aside.name + suffix))
