"""The coordinator's memory on disk.

All methods block, and are called by one thread at a time; the servicer runs them off the event
loop. Each is one transaction: what it was given is on disk when it returns. Several inside
`together` are one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from coordinator.domain import Coverage, PeerState, Report, Run
from coordinator.storage import schema
from coordinator.storage.curves import Curves
from coordinator.storage.database import Database
from coordinator.storage.events import EventStore
from coordinator.storage.history import History
from coordinator.storage.membership import MembershipStore
from coordinator.storage.postgresql import open_server, read_server
from coordinator.storage.receipts import ReceiptStore
from coordinator.storage.rows import AttemptRows, PeerRows
from coordinator.storage.samples import SampleStore
from coordinator.storage.sqlite_file import open_file, read_file
from coordinator.storage.thinned import Thinned
from coordinator.storage.thinner import Thinner
from coordinator.storage.upsert import replacing, replacing_smaller
from coordinator.storage.words import WordStore


def open_database(where: Path | str) -> Database:
    """The SQLite file at a path, or the PostgreSQL database at a URL, with the present tables."""
    return open_file(where) if isinstance(where, Path) else open_server(where)


def open_to_read(where: Path | str) -> Database:
    """The same, beside a coordinator that may use it, and without changing anything.

    `UserError` STATE_FOLDER if it is not there or of another version, and as `open_server` says.
    """
    return read_file(where) if isinstance(where, Path) else read_server(where)


class Reader:
    """What was, without a way to change it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.history = History(database)
        self.curves = Curves(database)

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()


class Store:
    """Runs, their peers' last states, and what came of everything that the peers reported."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._peers = PeerRows(database)
        self._attempts = AttemptRows(database)
        self._thinned = Thinned(database)
        self._words = WordStore(database, self._peers, self._attempts, self._thinned)
        self.receipts = ReceiptStore(database, self._peers, self._attempts, self._thinned)
        self.thinner = Thinner(database, self._peers, self._attempts, self._thinned)
        self.samples = SampleStore(database, self._peers)
        self.history = History(database)
        self.curves = Curves(database)
        self.events = EventStore(database)
        self.membership = MembershipStore(database)

    @classmethod
    def open(cls, where: Path | str) -> Store:
        """Open the SQLite file at a path, or the PostgreSQL database at a URL, or make its tables.

        A damaged file is set aside, and said so. `UserError` as `open_file` and `open_server` say.
        """
        return cls(open_database(where))

    def close(self) -> None:
        """Write the journal back and let go of the file or server."""
        self._database.close()

    def reader(self) -> Reader:
        """The past through a connection of its own, for another thread; the caller closes it."""
        return Reader(self._database.reader())

    def together(self) -> AbstractContextManager[Connection]:
        """A transaction for all that is done inside: on disk at its end, or undone by an error."""
        return self._database.transaction()

    def add_run(self, run: Run) -> None:
        """Keep a new run. `StorageError` if the disk does not take it."""
        with self._database.transaction() as connection:
            connection.execute(insert(schema.runs), asdict(run))

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        query = select(schema.runs).order_by(schema.runs.c.created_at_ms, schema.runs.c.run_id)
        with self._database.transaction() as connection:
            return [Run(**row) for row in connection.execute(query).mappings()]

    def delete_run(self, run_id: str) -> None:
        """Forget a run with all that is known of it."""
        with self._database.transaction() as connection:
            attempts = select(schema.attempts.c.id).where(schema.attempts.c.run_id == run_id)
            peers = select(schema.peers.c.id).where(schema.peers.c.run_id == run_id)
            # what is many first, table by table: a cascade would look for each row by itself
            for table in (schema.receipts, schema.words, schema.digests):
                connection.execute(delete(table).where(table.c.attempt.in_(attempts)))
            for table in (schema.credited, schema.totals, schema.peer_states):
                connection.execute(delete(table).where(table.c.peer.in_(peers)))
            for table in reversed(schema.metadata.sorted_tables):
                if "run_id" in table.c:
                    connection.execute(delete(table).where(table.c.run_id == run_id))
        for rows in (self._peers, self._attempts, self._thinned):
            rows.forget()

    def news_of(self, reports: Sequence[Report]) -> list[Report]:
        """The reports without the outcomes and validations that are kept already, in order.

        What two of them tell alike counts as the news of the first.
        """
        return self._words.news_of(reports)

    def keep_all(self, news: Sequence[Report]) -> None:
        """Keep peers' states and what `news_of` found new, in the order given.

        All on disk when this returns, or nothing. `StorageError` if the disk does not take it.
        """
        with self._database.transaction() as connection:
            self._keep_states(connection, news)
            self._words.keep(news)
            coverages = [
                {"run_id": report.run_id, **vars(report.coverage)}
                for report in news
                if report.coverage is not None
            ]
            if coverages:
                # of equal rounds the first word stands
                newer = replacing_smaller(connection, schema.coverage, "round")
                connection.execute(newer, coverages)

    def forget_peer(self, run_id: str, peer_id: str) -> None:
        """Drop a peer's last state; what it told about rounds stays."""
        with self._database.transaction() as connection:
            row = self._peers.find(connection, run_id, [peer_id]).get(peer_id)
            if row is not None:
                table = schema.peer_states
                connection.execute(delete(table).where(table.c.peer == row.peer))

    def peers(self, run_id: str) -> list[PeerState]:
        """The last states of a run's peers, in the order in which these were first heard of."""
        table, peers = schema.peer_states, schema.peers
        query = (
            select(peers.c.peer_id, *_without(table, "peer"))
            .join(peers, peers.c.id == table.c.peer)
            .where(peers.c.run_id == run_id)
            .order_by(peers.c.id)
        )
        with self._database.transaction() as connection:
            return [PeerState(**row) for row in connection.execute(query).mappings()]

    def coverage(self, run_id: str) -> Coverage | None:
        """That of a run's newest round, if any peer told it."""
        table = schema.coverage
        query = select(*_without(table, "run_id")).where(table.c.run_id == run_id)
        with self._database.transaction() as connection:
            row = connection.execute(query).mappings().first()
        return Coverage(**row) if row is not None else None

    def _keep_states(self, connection: Connection, news: Sequence[Report]) -> None:
        rows: dict[int, dict[str, Any]] = {}
        heard: dict[str, dict[str, float]] = {}
        for report in news:
            of_run = heard.setdefault(report.run_id, {})
            of_run.setdefault(report.peer.peer_id, report.peer.received_at)
        peers = {
            run_id: self._peers.find_or_add(connection, run_id, of_run)
            for run_id, of_run in heard.items()
        }
        for report in news:
            row = {"peer": peers[report.run_id][report.peer.peer_id].peer, **vars(report.peer)}
            del row["peer_id"]
            rows[row["peer"]] = row
        if rows:
            connection.execute(replacing(connection, schema.peer_states), list(rows.values()))


def _without(table: Table, *names: str) -> list[Any]:
    return [column for column in table.c if column.name not in names]
