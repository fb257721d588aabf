"""What is asked of the past: bounded questions, each of which an index answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, cast, func, select

from coordinator.domain import Receipt, Validation
from coordinator.history import Attempt, PeerTotals, RoundCounts
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.fewer_peers import FORGOTTEN
from coordinator.storage.receipts import receipts_query


class History:
    """Reads what a `Store` keeps, of one run at a time. `StorageError` if that fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- receipts and their sums -----------------------------------------------------------

    def receipts(
        self, run_id: str, peer_id: str, before: int | None = None, limit: int = 200
    ) -> list[Receipt]:
        """The newest ones of a peer, or the newest for rounds below `before`; newest first."""
        table, peers = schema.receipts, schema.peers
        peer = select(peers.c.id).where(peers.c.run_id == run_id, peers.c.peer_id == peer_id)
        query = receipts_query().where(table.c.peer == peer.scalar_subquery())
        if before is not None:
            query = query.where(table.c.round < before)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(table.c.round.desc()).limit(limit)).mappings()
            return [Receipt(**row) for row in rows]

    def receipts_of(
        self, run_id: str, attempts: Collection[int], each: int = 100
    ) -> dict[int, list[Receipt]]:
        """By attempt (`Attempt.id`), receipts of at most `each` of its members."""
        table = schema.receipts
        found: dict[int, list[Receipt]] = {}
        with self._database.transaction() as connection:
            for attempt in attempts:
                query = receipts_query().where(table.c.attempt == attempt).limit(each)
                rows = connection.execute(query.where(schema.peers.c.run_id == run_id)).mappings()
                found[attempt] = [Receipt(**row) for row in rows]
        return found

    def receipts_since(self, run_id: str) -> float | None:
        """Receipts for attempts that ended before (unix seconds) are only in sums; None: all are
        kept."""
        table = schema.thinned
        query = select(table.c.receipts_before).where(table.c.run_id == run_id)
        with self._database.transaction() as connection:
            return connection.scalar(query) or None

    def totals(self, run_id: str, peer_id: str | None = None) -> list[PeerTotals]:
        """Of all peers that were ever heard of, or of one, over all receipts there ever were."""
        table, peers = schema.totals, schema.peers
        query = (
            select(
                peers.c.peer_id,
                peers.c.joined_at,
                *(
                    func.coalesce(table.c[name], 0).label(name)
                    for name in (*schema.CREDITS, "missed_round", "late")
                ),
                func.coalesce(table.c.missed_reason, "").label("missed_reason"),
            )
            .outerjoin(table, table.c.peer == peers.c.id)
            .where(peers.c.run_id == run_id)
            .order_by(peers.c.id)
        )
        if peer_id is not None:
            query = query.where(peers.c.peer_id == peer_id)
        with self._database.transaction() as connection:
            return [PeerTotals(**row) for row in connection.execute(query).mappings()]

    def totals_since(
        self, run_id: str, start: int, span: int, limit: int = 1000
    ) -> list[PeerTotals]:
        """Sums over the receipts of the hours or days (`span`) from `start` on (unix seconds).

        The most merged tokens first.
        """
        table, peers = schema.credited, schema.peers
        sums = {
            name: cast(func.sum(table.c[name]), schema.KEY).label(name) for name in schema.CREDITS
        }
        query = (
            select(peers.c.peer_id, *sums.values())
            .join(peers, peers.c.id == table.c.peer)
            .where(table.c.span == span, table.c.start >= start)
            .where(peers.c.run_id == run_id, peers.c.peer_id != FORGOTTEN)
            .group_by(peers.c.id, peers.c.peer_id)
            .order_by(sums["merged_tokens"].desc(), peers.c.id)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            return [PeerTotals(**row) for row in connection.execute(query).mappings()]

    # ---- rounds ----------------------------------------------------------------------------

    def counts(self, run_id: str) -> RoundCounts:
        """Of all rounds there ever were."""
        table, sums = schema.attempts, schema.round_sums
        kept = select(
            func.count(table.c.round.distinct()).filter(table.c.committed),
            func.count().filter(~table.c.committed),
            func.count(table.c.round.distinct()).filter(
                (table.c.digests > 1) & (table.c.attempt != b"")
            ),
            func.coalesce(func.max(table.c.run_tokens).filter(table.c.committed), 0),
        ).where(table.c.run_id == run_id)
        thinned = select(
            func.coalesce(func.sum(sums.c.committed), 0),
            func.coalesce(func.sum(sums.c.void), 0),
            func.coalesce(func.sum(sums.c.disagreed), 0),
            func.coalesce(func.max(sums.c.run_tokens), 0),
        ).where(sums.c.run_id == run_id)
        with self._database.transaction() as connection:
            committed, void, disagreed, tokens = connection.execute(kept).one()
            before = connection.execute(thinned).one()
        return RoundCounts(
            committed=committed + int(before[0]),
            void=void + int(before[1]),
            disagreed=disagreed + int(before[2]),
            tokens=max(tokens, int(before[3])),
        )

    def rounds(
        self, run_id: str, before: int | None = None, limit: int = 100
    ) -> tuple[list[Attempt], int | None]:
        """The newest attempts, those at one round together, or those at rounds below `before`.

        Newest first, and the round to ask before next; None: there is nothing older. There may
        be more than `limit` if the last round was tried often.
        """
        table = schema.attempts
        query = select(table).where(table.c.run_id == run_id)
        if before is not None:
            query = query.where(table.c.round < before)
        query = query.order_by(table.c.round.desc(), table.c.id.desc())
        with self._database.transaction() as connection:
            found = connection.execute(query.limit(limit + 1)).mappings().all()
            if len(found) <= limit:
                return _attempts(connection, found), None
            last = found[-1]["round"]
            whole = [row for row in found if row["round"] > last]
            if not whole:  # a page of one round: all of it that is bearable
                only = query.where(table.c.round == last).limit(10 * limit)
                whole = list(connection.execute(only).mappings())
            return _attempts(connection, whole), whole[-1]["round"]

    # ---- validations -----------------------------------------------------------------------

    def first_and_newest_validation(
        self, run_id: str
    ) -> tuple[tuple[float, Validation], tuple[float, Validation]] | None:
        """Those of the lowest and of the highest round, with the unix seconds of their coming."""
        table, peers = schema.validations, schema.peers
        query = (
            select(
                table.c.at,
                func.coalesce(peers.c.peer_id, FORGOTTEN),
                table.c.round,
                table.c.run_tokens,
                table.c.loss,
            )
            .outerjoin(peers, peers.c.id == table.c.peer)
            .where(table.c.run_id == run_id)
            .limit(1)
        )
        with self._database.transaction() as connection:
            first, newest = (
                connection.execute(query.order_by(order, table.c.at)).first()
                for order in (table.c.round, table.c.round.desc())
            )
        if first is None or newest is None:
            return None
        return (first.at, Validation(*first[1:])), (newest.at, Validation(*newest[1:]))


def _attempts(connection: Connection, rows: Sequence[Any]) -> list[Attempt]:
    """Rows of `attempts` as values."""
    digests: dict[int, set[bytes]] = {}
    table = schema.digests
    for start in range(0, len(rows), 500):
        keys = [row["id"] for row in rows[start : start + 500]]
        for told in connection.execute(select(table).where(table.c.attempt.in_(keys))):
            digests.setdefault(told.attempt, set()).add(told.digest)
    return [
        Attempt(
            **{name: row[name] for name in _PLAIN},
            train_loss=row["loss_sum"] / row["loss_weight"] if row["loss_weight"] else None,
            digests=frozenset(digests.get(row["id"], ())),
        )
        for row in rows
    ]


_PLAIN = (
    "id", "round", "attempt", "at", "committed", "reason", "members", "run_tokens", "seconds",
    "round_seconds", "finished_by", "included", "bytes_sent",
)  # fmt: skip
"""Columns that an `Attempt` has as they are."""
