"""The coordinator's memory on disk.

All methods block, and are called by one thread at a time; the servicer runs them off the event
loop. Each is one transaction: what it was given is on disk when it returns. Several in
`together` are one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Table, delete, insert, select, text

from coordinator.domain import Coverage, Outcome, PeerState, Report, Run, Validation
from coordinator.storage import schema
from coordinator.storage.database import Database, open_sqlite
from coordinator.storage.events import EventStore
from coordinator.storage.membership import MembershipStore
from coordinator.storage.receipts import ReceiptStore
from coordinator.storage.upsert import Insert, replacing

_Value = TypeVar("_Value", PeerState, Outcome, Validation, Coverage)
_Peer = tuple[str, str]
"""Run id and peer id."""

FEW_ROUNDS = 16
"""A report with more of them is one that catches up; it is asked about for itself, so that no
question has more values than a database takes."""


class Store:
    """Runs, their peers' last states, and everything that the peers reported about rounds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        connection = database.connection
        # made once: SQLAlchemy takes longer to make a statement than SQLite to carry it out
        self._replace_peer = replacing(connection, schema.peers)
        self._replace_coverage = _newer_coverage(connection)
        self.events = EventStore(database)
        self.membership = MembershipStore(database)
        self.receipts = ReceiptStore(database)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the database at `path`, or make one. A damaged one is set aside, and said so.

        `UserError` (STATE_FOLDER) if the file cannot be written, or another version wrote it.
        """
        return cls(open_sqlite(path))

    def close(self) -> None:
        """Write the journal back and let go of the file."""
        self._database.close()

    def together(self) -> AbstractContextManager[Connection]:
        """A transaction for all that is done inside: on disk at its end, or undone by an error."""
        return self._database.transaction()

    def add_run(self, run: Run) -> None:
        """Keep a new run. `StorageError` if the disk does not take it."""
        with self._database.transaction() as connection:
            connection.execute(insert(schema.runs), asdict(run))

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        query = select(schema.runs).order_by(schema.runs.c.created_at_ms)
        with self._database.transaction() as connection:
            return [Run(**row) for row in connection.execute(query).mappings()]

    def delete_run(self, run_id: str) -> None:
        """Forget a run with all that is known of it."""
        with self._database.transaction() as connection:
            connection.execute(delete(schema.runs).where(schema.runs.c.run_id == run_id))

    def news_of(self, reports: Sequence[Report]) -> list[Report]:
        """The reports without the outcomes and validations that are kept already, in order.

        What two of them tell alike counts as the news of the first.
        """
        with self._database.transaction() as connection:
            outcomes = _new_outcomes(connection, reports)
            validations = _new_validations(connection, reports)
        return [
            replace(report, outcomes=tuple(rounds), validations=tuple(losses))
            for report, rounds, losses in zip(reports, outcomes, validations, strict=True)
        ]

    def keep_all(self, news: Sequence[Report]) -> None:
        """Keep peers' states and what `news_of` found new, in the order given.

        All on disk when this returns, or nothing. `StorageError` if the disk does not take it.
        """
        states = {
            (report.run_id, report.peer.peer_id): _row(report.run_id, report.peer)
            for report in news
        }
        outcomes = [_row(report.run_id, outcome) for report in news for outcome in report.outcomes]
        validations = [
            _row(report.run_id, validation) for report in news for validation in report.validations
        ]
        coverages = [
            _row(report.run_id, report.coverage) for report in news if report.coverage is not None
        ]
        with self._database.transaction() as connection:
            if states:
                connection.execute(self._replace_peer, list(states.values()))
            if outcomes:
                connection.execute(insert(schema.outcomes), outcomes)
            if validations:
                connection.execute(insert(schema.validations), validations)
            if coverages:
                connection.execute(self._replace_coverage, coverages)

    def forget_peer(self, run_id: str, peer_id: str) -> None:
        """Drop a peer's last state; what it told about rounds stays."""
        table = schema.peers
        with self._database.transaction() as connection:
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
        with self._database.transaction() as connection:
            return [kind(**row) for row in connection.execute(query).mappings()]


def _newer_coverage(connection: Connection) -> Insert:
    """Of each run the highest round's stands; of equal rounds the first word."""
    table = schema.coverage
    return replacing(connection, table, where=lambda new: new.excluded.round > table.c.round)


def _new_outcomes(connection: Connection, reports: Sequence[Report]) -> list[list[Outcome]]:
    """By report, those whose attempt, and if they commit whose round, its peer has not told."""
    told: set[tuple[str, str, int, bytes]] = set()
    committed: set[tuple[str, str, int]] = set()
    table = schema.outcomes
    rounds = _rounds_of(reports, lambda report: report.outcomes)
    for row in _told(connection, table, rounds, table.c.attempt, table.c.committed):
        told.add((row.run_id, row.peer_id, row.round, row.attempt))
        if row.committed:
            committed.add((row.run_id, row.peer_id, row.round))
    found = []
    for report in reports:
        run_id, peer_id = report.run_id, report.peer.peer_id
        new = []
        for outcome in report.outcomes:
            place = (run_id, peer_id, outcome.round)
            attempt = (*place, outcome.attempt)
            if attempt in told or (outcome.committed and place in committed):
                continue
            new.append(outcome)
            told.add(attempt)
            if outcome.committed:
                committed.add(place)
        found.append(new)
    return found


def _new_validations(connection: Connection, reports: Sequence[Report]) -> list[list[Validation]]:
    """By report, those of rounds that its peer has told no loss of before."""
    rounds = _rounds_of(reports, lambda report: report.validations)
    told = {
        (row.run_id, row.peer_id, row.round)
        for row in _told(connection, schema.validations, rounds)
    }
    found = []
    for report in reports:
        run_id, peer_id = report.run_id, report.peer.peer_id
        new = []
        for validation in report.validations:
            place = (run_id, peer_id, validation.round)
            if place not in told:
                new.append(validation)
                told.add(place)
        found.append(new)
    return found


def _rounds_of(
    reports: Sequence[Report], rows: Callable[[Report], Iterable[Outcome | Validation]]
) -> dict[_Peer, set[int]]:
    """By run and peer, the rounds that these rows of its reports tell of."""
    rounds: defaultdict[_Peer, set[int]] = defaultdict(set)
    for report in reports:
        if told := rows(report):
            rounds[report.run_id, report.peer.peer_id].update(row.round for row in told)
    return rounds


def _told(
    connection: Connection,
    table: Table,
    rounds: Mapping[_Peer, set[int]],
    *columns: Column[Any],
) -> Iterator[Row[Any]]:
    """What these peers told of these rounds before, and of others' rounds among them."""
    for run_id, peers, numbers in _questions(rounds):
        query = select(table.c.run_id, table.c.peer_id, table.c.round, *columns).where(
            table.c.run_id == run_id, table.c.peer_id.in_(peers), table.c.round.in_(numbers)
        )
        yield from connection.execute(query)


def _questions(
    rounds: Mapping[_Peer, set[int]],
) -> Iterator[tuple[str, set[str], set[int]]]:
    """Run, peers and rounds to ask for: many peers with a few rounds each are one question."""
    together: dict[str, tuple[set[str], set[int]]] = {}
    for (run_id, peer_id), numbers in rounds.items():
        if len(numbers) > FEW_ROUNDS:
            yield run_id, {peer_id}, numbers
            continue
        peers, all_numbers = together.setdefault(run_id, (set(), set()))
        peers.add(peer_id)
        all_numbers |= numbers
    for run_id, (peers, all_numbers) in together.items():
        yield run_id, peers, all_numbers


def _row(run_id: str, value: _Value) -> dict[str, Any]:
    """Not `asdict`: that copies each of the plain values that these are made of."""
    return {"run_id": run_id, **vars(value)}
