"""Carries out what `thinning` says, in steps so small that reports do not wait for long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, literal, select

from coordinator.history import DAY, HOUR
from coordinator.storage import schema
from coordinator.storage.curves import attempt_sums
from coordinator.storage.database import Database
from coordinator.storage.fewer_peers import FewerPeers
from coordinator.storage.rows import AttemptRows, PeerRows
from coordinator.storage.samples import MINUTE
from coordinator.storage.thinned import Thinned
from coordinator.storage.thinning import Keep, Stored, next_moment, receipts_horizon, sparser
from coordinator.storage.upsert import adding, raising

STEP_ROWS = 200
"""Removed in one transaction: a few milliseconds."""
LOOKED_AT = 2000
"""Of the oldest attempts, in one pass."""


class Thinner:
    """Thins all runs. Used by the one thread that writes."""

    def __init__(
        self, database: Database, peers: PeerRows, attempts: AttemptRows, thinned: Thinned
    ) -> None:
        self._database = database
        self._peers = peers
        self._attempts = attempts
        self._thinned = thinned

    def steps(self, now: float, keep: Keep) -> Iterator[None]:
        """Each step is one transaction; at the end nothing is older than `keep` says."""
        with self._database.transaction() as connection:
            run_ids = connection.scalars(select(schema.runs.c.run_id)).all()
        for run_id in run_ids:
            yield from self._thin_receipts(run_id, now, keep)
            yield from self._thin_attempts(run_id, now, keep)
            yield from self._thin_events(run_id, keep.events)
            yield from self._thin_validations(run_id, keep.validations)
            yield from FewerPeers(self._database, self._peers).steps(run_id, keep.peers)
            for span, seconds in ((MINUTE, keep.minutes_seconds), (HOUR, keep.hours_seconds)):
                for table in (schema.samples, schema.speeds):
                    yield from self._drop_before(table, run_id, span, now - seconds)
            yield from self._days_of_rounds(run_id, now - keep.hours_seconds)
        yield from self._thin_credited(now - keep.hours_seconds)

    # ---- receipts --------------------------------------------------------------------------

    def _thin_receipts(self, run_id: str, now: float, keep: Keep) -> Iterator[None]:
        table = schema.attempts
        while True:
            with self._database.transaction() as connection:
                mark = self._thinned.of(connection, run_id).receipts_before
                asked = (table.c.run_id == run_id, table.c.at >= mark)
                oldest = connection.execute(
                    select(table.c.id, table.c.at, table.c.finished_by)
                    .where(*asked)
                    .order_by(table.c.at, table.c.id)
                    .limit(LOOKED_AT)
                ).all()
                words = self._words(connection)
            stored = [Stored(row.at, row.finished_by) for row in oldest]
            horizon = receipts_horizon(keep, now, stored, words)
            due = [row for row in oldest if row.at < horizon]
            if not due:
                return
            for row in due:
                while self._drop_words(row.id):
                    yield
            with self._database.transaction() as connection:
                self._thinned.raise_to(connection, run_id, receipts_before=next_moment(due[-1].at))
            yield

    def _words(self, connection: Connection) -> int:
        """How many there are in all runs, about: attempts count who told of them."""
        table, marks = schema.attempts, schema.thinned
        query = (
            select(func.coalesce(func.sum(table.c.finished_by), 0))
            .outerjoin(marks, marks.c.run_id == table.c.run_id)
            .where(table.c.at >= func.coalesce(marks.c.receipts_before, 0.0))
        )
        return int(connection.scalar(query) or 0)

    def _drop_words(self, attempt: int) -> bool:
        """Some words and receipts of an attempt; False if there are none.

        What these peers tell of such old rounds from now on is late.
        """
        with self._database.transaction() as connection:
            for table in (schema.receipts, schema.words):
                of_attempt = table.c.attempt == attempt
                by_peer = select(table.c.peer).where(of_attempt).order_by(table.c.peer)
                if connection.scalar(by_peer.limit(1)) is None:
                    continue
                beyond = connection.scalar(by_peer.offset(STEP_ROWS).limit(1))
                some = of_attempt if beyond is None else of_attempt & (table.c.peer < beyond)
                self._raise_marks(connection, table, some)
                connection.execute(delete(table).where(some))
                return True
        return False

    def _raise_marks(self, connection: Connection, table: Table, some: ColumnElement[bool]) -> None:
        totals = schema.totals
        values = {
            "peer": table.c.peer,
            "thinned_round": table.c.round,
            "missed_reason": literal(""),
        }
        rows = select(*(values.get(it.name, literal(0)) for it in totals.c)).where(some)
        connection.execute(raising(connection, totals, rows, "thinned_round"))
        self._peers.forget()

    # ---- attempts --------------------------------------------------------------------------

    def _thin_attempts(self, run_id: str, now: float, keep: Keep) -> Iterator[None]:
        table = schema.attempts
        with self._database.transaction() as connection:
            kept = connection.scalar(
                select(func.count()).select_from(table).where(table.c.run_id == run_id)
            )
        surplus = (kept or 0) - keep.attempts
        while True:
            with self._database.transaction() as connection:
                receipts_before = self._thinned.of(connection, run_id).receipts_before
                due = connection.execute(
                    select(table.c.id, table.c.at)
                    .where(table.c.run_id == run_id, table.c.at < receipts_before)
                    .order_by(table.c.at, table.c.id)
                    .limit(STEP_ROWS)
                ).all()
                due = [
                    row
                    for place, row in enumerate(due)
                    if row.at < now - keep.attempts_seconds or place < surplus
                ]
                if not due:
                    return
                surplus -= len(due)
                self._sum_up(connection, run_id, [row.id for row in due])
                self._thinned.raise_to(connection, run_id, attempts_before=next_moment(due[-1].at))
                self._attempts.forget()
            yield

    def _sum_up(self, connection: Connection, run_id: str, attempts: list[int]) -> None:
        """Put attempts into the sums of their hours."""
        table = schema.attempts
        chosen = table.c.id.in_(attempts)
        rows = connection.execute(
            select(table.c.round, table.c.at, table.c.committed, table.c.digests, table.c.attempt)
            .where(chosen)
            .order_by(table.c.at, table.c.id)
        ).all()
        sums: dict[int, dict[str, Any]] = {}
        for row in rows:
            start = int(row.at) // HOUR * HOUR
            sums.setdefault(start, {"committed": 0, "disagreed": 0})
        # a round counts once, with the last of its attempts
        rest = self._rounds(connection, run_id, attempts)
        committed, disagreed = set(rest), {it for it, split in rest.items() if split}
        for row in reversed(rows):
            start = int(row.at) // HOUR * HOUR
            if row.committed and row.round not in committed:
                committed.add(row.round)
                sums[start]["committed"] += 1
            if row.digests > 1 and row.attempt and row.round not in disagreed:
                disagreed.add(row.round)
                sums[start]["disagreed"] += 1
        for start, counted in sums.items():
            of_hour = (
                connection.execute(
                    select(*attempt_sums()).where(
                        chosen, table.c.at >= start, table.c.at < start + HOUR
                    )
                )
                .mappings()
                .one()
            )
            row_of_hour = {**of_hour, **counted, "run_id": run_id, "span": HOUR, "start": start}
            _add_round_sums(connection, row_of_hour)
        connection.execute(delete(schema.digests).where(schema.digests.c.attempt.in_(attempts)))
        connection.execute(delete(table).where(chosen))

    def _rounds(self, connection: Connection, run_id: str, attempts: list[int]) -> dict[int, bool]:
        """The committed rounds of other attempts, and whether digests of these differ."""
        table = schema.attempts
        chosen = select(table.c.round).where(table.c.id.in_(attempts))
        query = (
            select(table.c.round, func.max(table.c.digests))
            .where(
                table.c.run_id == run_id,
                table.c.committed,
                table.c.round.in_(chosen),
                table.c.id.not_in(attempts),
            )
            .group_by(table.c.round)
        )
        return {round_: digests > 1 for round_, digests in connection.execute(query)}

    def _days_of_rounds(self, run_id: str, before: float) -> Iterator[None]:
        """Hours of rounds that are old become days."""
        table = schema.round_sums
        while True:
            with self._database.transaction() as connection:
                rows = (
                    connection.execute(
                        select(table)
                        .where(
                            table.c.run_id == run_id,
                            table.c.span == HOUR,
                            table.c.start < before - DAY,
                        )
                        .order_by(table.c.start)
                        .limit(STEP_ROWS)
                    )
                    .mappings()
                    .all()
                )
                if not rows:
                    return
                for row in rows:
                    _add_round_sums(
                        connection, {**row, "span": DAY, "start": row["start"] // DAY * DAY}
                    )
                _drop(connection, table, run_id, HOUR, rows[-1]["start"])
            yield

    # ---- the rest --------------------------------------------------------------------------

    def _thin_credited(self, before: float) -> Iterator[None]:
        """Hours of peers that are old: the days have them too."""
        table = schema.credited
        while True:
            with self._database.transaction() as connection:
                of_hours = (table.c.span == HOUR, table.c.start < before - DAY)
                start = connection.scalar(select(func.min(table.c.start)).where(*of_hours))
                if start is None:
                    return
                hour = (table.c.span == HOUR, table.c.start == start)
                last = connection.scalar(
                    select(table.c.peer)
                    .where(*hour)
                    .order_by(table.c.peer)
                    .offset(STEP_ROWS)
                    .limit(1)
                )
                some = hour if last is None else (*hour, table.c.peer <= last)
                connection.execute(delete(table).where(*some))
            yield

    def _drop_before(self, table: Table, run_id: str, span: int, before: float) -> Iterator[None]:
        """Samples that longer ones have too."""
        while True:
            with self._database.transaction() as connection:
                starts = connection.scalars(
                    select(table.c.start)
                    .where(
                        table.c.run_id == run_id,
                        table.c.span == span,
                        table.c.start < before - span,
                    )
                    .order_by(table.c.start)
                    .limit(STEP_ROWS)
                ).all()
                if not starts:
                    return
                _drop(connection, table, run_id, span, starts[-1])
            yield

    def _thin_events(self, run_id: str, keep: int) -> Iterator[None]:
        table = schema.events
        of_run = table.c.run_id == run_id
        while True:
            with self._database.transaction() as connection:
                last = connection.scalar(
                    select(table.c.number)
                    .where(of_run)
                    .order_by(table.c.number.desc())
                    .offset(keep)
                    .limit(1)
                )
                if last is None:
                    return
                some = connection.scalars(
                    select(table.c.number)
                    .where(of_run, table.c.number <= last)
                    .order_by(table.c.number)
                    .limit(STEP_ROWS)
                ).all()
                connection.execute(delete(table).where(of_run, table.c.number <= some[-1]))
            yield

    def _thin_validations(self, run_id: str, keep: int) -> Iterator[None]:
        table = schema.validations
        of_run = table.c.run_id == run_id
        with self._database.transaction() as connection:
            rounds = connection.scalars(
                select(table.c.round).where(of_run).distinct().order_by(table.c.round)
            ).all()
        gone = sparser(rounds, keep)
        for start in range(0, len(gone), STEP_ROWS):
            some = gone[start : start + STEP_ROWS]
            with self._database.transaction() as connection:
                connection.execute(delete(table).where(of_run, table.c.round.in_(some)))
            yield


def _drop(connection: Connection, table: Table, run_id: str, span: int, last: int) -> None:
    connection.execute(
        delete(table).where(table.c.run_id == run_id, table.c.span == span, table.c.start <= last)
    )


def _add_round_sums(connection: Connection, row: dict[str, Any]) -> None:
    """Add to the sums of an hour or a day; its last round and tokens are the greatest."""
    table = schema.round_sums
    place = (
        table.c.run_id == row["run_id"], table.c.span == row["span"], table.c.start == row["start"]
    )  # fmt: skip
    before = connection.execute(select(table.c.round, table.c.run_tokens).where(*place)).first()
    if before is not None:
        row = {
            **row,
            "round": max(0, row["round"] - before.round),
            "run_tokens": max(0, row["run_tokens"] - before.run_tokens),
        }
    summed = [it.name for it in table.c if it.name not in ("run_id", "span", "start")]
    connection.execute(adding(connection, table, *summed), row)
