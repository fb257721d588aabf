"""Peers and attempts that are being written, in memory: most reports then read nothing.

Their rows are numbered here: nobody else writes them. What is in memory is what is on disk, or
will be at the end of the present transaction; if that is undone, memory forgets everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, insert, select

from coordinator.domain import Outcome
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.upsert import replacing

MOST_PEERS = 50_000
MOST_ATTEMPTS = 4096
"""In memory; beyond that it begins anew."""
MOST_DIGESTS = 16
"""Kept of one attempt; two are already a fault."""
_AT_ONCE = 500
"""Values in one question."""

_Value = TypeVar("_Value", int, str)


@dataclass(slots=True)
class PeerRow:
    """A peer and its totals, with the columns of `totals`."""

    peer: int
    rounds: int = 0
    missed: int = 0
    claimed_tokens: int = 0
    merged_tokens: int = 0
    observed_tokens: int = 0
    missed_round: int = 0
    missed_reason: str = ""
    thinned_round: int = -1
    """Of its receipts for rounds up to this one some are only in the sums."""
    late: int = 0


class PeerRows:
    """The peers of all runs, by run and peer id."""

    def __init__(self, database: Database) -> None:
        self._rows: dict[tuple[str, str], PeerRow] = {}
        self._last = -1
        database.on_undo(self.forget)

    def forget(self) -> None:
        """Read again what is asked for."""
        self._rows.clear()
        self._last = -1

    def find(
        self, connection: Connection, run_id: str, peer_ids: Iterable[str]
    ) -> dict[str, PeerRow]:
        """Those of a run that were heard of before, by peer id."""
        wanted = set(peer_ids)
        missing = [it for it in wanted if (run_id, it) not in self._rows]
        if len(self._rows) + len(missing) > MOST_PEERS:
            self.forget()
            missing = list(wanted)
        if missing:
            self._recall(connection, run_id, missing)
        return {it: self._rows[run_id, it] for it in wanted if (run_id, it) in self._rows}

    def _recall(self, connection: Connection, run_id: str, missing: list[str]) -> None:
        table, sums = schema.peers, schema.totals
        columns = [column for column in sums.c if column.name != "peer"]
        query = select(table.c.peer_id, table.c.id, *columns).outerjoin(
            sums, sums.c.peer == table.c.id
        )
        for some in pieces(missing):
            asked = query.where(table.c.run_id == run_id, table.c.peer_id.in_(some))
            for row in connection.execute(asked):
                known = {} if row.rounds is None else dict(zip(SUMS, row[2:], strict=True))
                self._rows[run_id, row.peer_id] = PeerRow(row.id, **known)

    def find_or_add(
        self, connection: Connection, run_id: str, first_heard: dict[str, float]
    ) -> dict[str, PeerRow]:
        """Those of a run, by peer id; new ones are first heard of at the given unix seconds."""
        found = self.find(connection, run_id, first_heard)
        new = [it for it in first_heard if it not in found]
        if not new:
            return found
        if self._last < 0:
            self._last = _greatest(connection, schema.peers)
        rows = []
        for peer_id in new:
            self._last += 1
            found[peer_id] = self._rows[run_id, peer_id] = PeerRow(self._last)
            rows.append(
                {
                    "id": self._last,
                    "run_id": run_id,
                    "peer_id": peer_id,
                    "joined_at": first_heard[peer_id],
                }
            )
        connection.execute(insert(schema.peers), rows)
        return found


SUMS = [column.name for column in schema.totals.c if column.name != "peer"]


@dataclass(slots=True)
class AttemptRow:
    """An attempt at a round, with the columns of `attempts`, and its digests."""

    id: int
    run_id: str
    round: int
    attempt: bytes
    at: float
    committed: bool = False
    reason: str = ""
    members: int = 0
    run_tokens: int = 0
    seconds: float = 0.0
    round_seconds: float = 0.0
    finished_by: int = 0
    included: int = 0
    bytes_sent: int = 0
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    told: list[bytes] = field(default_factory=list)
    """Digests, in the order in which they were first told."""

    def hear(self, outcome: Outcome) -> None:
        """Add one peer's word. The first one on its size stands; who calls it void missed it."""
        if outcome.committed and not self.committed:
            self.finished_by, self.committed, self.members, self.reason = 0, True, 0, ""
        elif self.committed and not outcome.committed:
            return
        if not self.finished_by:
            self.run_tokens = outcome.run_tokens
            # the reason of a committed round is about one peer that was left out
            self.reason = "" if outcome.committed else outcome.reason
        if not self.members:
            self.members, self.seconds = outcome.members, outcome.seconds
            self.round_seconds = outcome.round_seconds
        self.finished_by += 1
        if outcome.included:
            self._include(outcome)
        told = outcome.digest if outcome.committed else b""
        if told and told not in self.told and len(self.told) < MOST_DIGESTS:
            self.told.append(told)

    def _include(self, outcome: Outcome) -> None:
        self.included += 1
        self.bytes_sent += outcome.bytes_sent
        if outcome.train_loss is not None:
            self.loss_sum += outcome.train_loss * outcome.own_tokens
            self.loss_weight += outcome.own_tokens

    def columns(self) -> dict[str, Any]:
        """The row in `attempts`."""
        row = asdict(self)
        row["digests"] = len(row.pop("told"))
        return row


Place = tuple[str, int, bytes]
"""Run, round and name of an attempt."""


class AttemptRows:
    """The newest attempts of all runs."""

    def __init__(self, database: Database) -> None:
        self._rows: dict[Place, AttemptRow] = {}
        self._last = -1
        database.on_undo(self.forget)

    def forget(self) -> None:
        """Read again what is asked for."""
        self._rows.clear()
        self._last = -1

    def find(self, connection: Connection, places: Iterable[Place]) -> dict[Place, AttemptRow]:
        """Those that were told of before."""
        wanted = set(places)
        missing = {it for it in wanted if it not in self._rows}
        if len(self._rows) + len(missing) > MOST_ATTEMPTS:
            self.forget()
            missing = wanted
        for run_id in {it[0] for it in missing}:
            self._load(connection, run_id, {it[1:] for it in missing if it[0] == run_id})
        return {it: self._rows[it] for it in wanted if it in self._rows}

    def add(self, connection: Connection, place: Place, at: float) -> AttemptRow:
        """A new one that ended at `at` (unix seconds); to be written by `write`."""
        if self._last < 0:
            self._last = _greatest(connection, schema.attempts)
        self._last += 1
        row = self._rows[place] = AttemptRow(self._last, *place, at)
        return row

    def write(self, connection: Connection, rows: Iterable[AttemptRow]) -> None:
        """Put rows in place of what is on disk."""
        rows = list(rows)
        if not rows:
            return
        connection.execute(replacing(connection, schema.attempts), [row.columns() for row in rows])
        told = [
            {"attempt": row.id, "number": number, "digest": digest}
            for row in rows
            for number, digest in enumerate(row.told)
        ]
        if told:
            connection.execute(replacing(connection, schema.digests), told)

    def _load(self, connection: Connection, run_id: str, wanted: set[tuple[int, bytes]]) -> None:
        table, digests = schema.attempts, schema.digests
        columns = [column for column in table.c if column.name != "digests"]
        loaded: dict[int, AttemptRow] = {}
        for some in pieces({round_ for round_, _ in wanted}):
            query = select(*columns).where(table.c.run_id == run_id, table.c.round.in_(some))
            for row in connection.execute(query).mappings():
                if (row["round"], row["attempt"]) in wanted:
                    loaded[row["id"]] = AttemptRow(**row)
        for keys in pieces(loaded):
            asked = select(digests).where(digests.c.attempt.in_(keys)).order_by(digests.c.number)
            for told in connection.execute(asked):
                loaded[told.attempt].told.append(told.digest)
        self._rows.update({(run_id, it.round, it.attempt): it for it in loaded.values()})


def _greatest(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.coalesce(func.max(table.c.id), 0))) or 0)


def pieces(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """The values in order, few enough at a time for one question."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
