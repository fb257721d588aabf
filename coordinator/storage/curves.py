"""What is plotted of a run: bounded numbers of points, means over stretches of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, cast, func, select

from coordinator.history import DAY, HOUR, RoundStretch, Sample, ValidationPoint
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.samples import SPANS

FASTEST = 10
"""Peers with a line of their own."""


class Curves:
    """Reads the past of one run at a time, from some moment on (unix seconds)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def validations(self, run_id: str, since: float, points: int) -> list[ValidationPoint]:
        """Losses on held-out text, the oldest first; of each stretch of rounds the first word."""
        table = schema.validations
        asked = (table.c.run_id == run_id, table.c.at >= since, table.c.loss.is_not(None))
        with self._database.transaction() as connection:
            low, high = connection.execute(
                select(func.min(table.c.round), func.max(table.c.round)).where(*asked)
            ).one()
            if low is None:
                return []
            width = (high - low) // points + 1
            stretch = (table.c.round - low) // width
            # the newest is always there: it is the headline's
            chosen = (
                select(func.min(table.c.round)).where(*asked).group_by(stretch).scalar_subquery()
            )
            query = (
                select(table.c.round, func.min(table.c.at), func.min(table.c.run_tokens))
                .add_columns(func.avg(table.c.loss))
                .where(*asked, table.c.round.in_(chosen) | (table.c.round == high))
                .group_by(table.c.round)
                .order_by(table.c.round)
            )
            return [
                ValidationPoint(at=at, round=round_, run_tokens=tokens, loss=loss)
                for round_, at, tokens, loss in connection.execute(query)
            ]

    def rounds(self, run_id: str, since: float, now: float, points: int) -> list[RoundStretch]:
        """Rounds and void attempts, the oldest first, by equal stretches of time."""
        with self._database.transaction() as connection:
            first = self._first(connection, run_id, since)
            if first is None:
                return []
            width = max((now - first) / points, 1e-3)
            rows = [*_kept(connection, run_id, first, width), *_thinned(connection, run_id, first)]
        stretches: dict[int, list[Sequence[Any]]] = {}
        for row in rows:
            stretches.setdefault(max(0, int((row[0] - first) / width)), []).append(row[1:])
        return [
            _stretch(first + (number + 0.5) * width, parts)
            for number, parts in sorted(stretches.items())
        ]

    def samples(self, run_id: str, since: float, now: float, points: int) -> list[Sample]:
        """How the run stood, the oldest first: by minutes, hours or days, as `points` allow."""
        table = schema.samples
        with self._database.transaction() as connection:
            first = connection.scalar(
                select(func.min(table.c.start)).where(
                    table.c.run_id == run_id, table.c.span == DAY, table.c.start >= since - DAY
                )
            )
            if first is None:
                return []
            span = self._span(connection, run_id, max(since, first), now, points)
            asked = (table.c.run_id == run_id, table.c.span == span, table.c.start >= since - span)
            looks = connection.execute(
                select(table).where(*asked).order_by(table.c.start.desc()).limit(points)
            ).all()
            speeds = _speeds(connection, run_id, span, looks[-1].start if looks else 0)
        return [
            Sample(
                at=look.start,
                peers_live=look.peers_live / look.looks,
                tokens_per_second=look.tokens_per_second / look.looks,
                speeds=tuple(
                    (peer_id, speed / look.looks) for peer_id, speed in speeds.get(look.start, ())
                ),
            )
            for look in reversed(looks)
        ]

    def _span(
        self, connection: Connection, run_id: str, begin: float, now: float, points: int
    ) -> int:
        """The shortest whose samples go back to the day of `begin` and fit into `points`."""
        table = schema.samples
        for span in SPANS:
            oldest = connection.scalar(
                select(func.min(table.c.start)).where(
                    table.c.run_id == run_id, table.c.span == span, table.c.start >= begin - span
                )
            )
            if oldest is not None and oldest <= begin + DAY and (now - oldest) / points <= span:
                return span
        return DAY

    def _first(self, connection: Connection, run_id: str, since: float) -> float | None:
        """When the first attempt after `since` ended, as far as that is known."""
        table, sums = schema.attempts, schema.round_sums
        kept = connection.scalar(
            select(func.min(table.c.at)).where(table.c.run_id == run_id, table.c.at >= since)
        )
        thinned = connection.scalar(
            select(func.min(sums.c.start)).where(sums.c.run_id == run_id, sums.c.start >= since)
        )
        return min((it for it in (kept, thinned) if it is not None), default=None)


_SUMS = (
    "committed", "void", "seconds", "round_seconds", "rounds_timed", "bytes_sent", "loss_sum",
    "loss_weight", "round", "run_tokens",
)  # fmt: skip


def attempt_sums() -> list[Any]:
    """The columns of `round_sums` over rows of `attempts`, but for those of place and time."""
    table = schema.attempts
    committed = table.c.committed & (table.c.members > 0)
    return [
        func.count(table.c.round.distinct()).filter(table.c.committed).label("committed"),
        func.count().filter(~table.c.committed).label("void"),
        func.coalesce(func.sum(table.c.seconds).filter(committed), 0.0).label("seconds"),
        func.coalesce(func.sum(table.c.round_seconds).filter(committed), 0.0).label(
            "round_seconds"
        ),
        func.count().filter(committed & (table.c.round_seconds > 0)).label("rounds_timed"),
        cast(func.coalesce(func.sum(table.c.bytes_sent), 0), schema.KEY).label("bytes_sent"),
        func.coalesce(func.sum(table.c.loss_sum), 0.0).label("loss_sum"),
        func.coalesce(func.sum(table.c.loss_weight), 0.0).label("loss_weight"),
        func.max(table.c.round).label("round"),
        func.coalesce(func.max(table.c.run_tokens).filter(table.c.committed), 0).label(
            "run_tokens"
        ),
    ]


def _kept(connection: Connection, run_id: str, first: float, width: float) -> Sequence[Row[Any]]:
    table = schema.attempts
    stretch = cast((table.c.at - first) / width, Integer)
    query = (
        select(func.min(table.c.at), *attempt_sums())
        .where(table.c.run_id == run_id, table.c.at >= first)
        .group_by(stretch)
    )
    return connection.execute(query).all()


def _thinned(connection: Connection, run_id: str, first: float) -> Sequence[Row[Any]]:
    table = schema.round_sums
    columns = [table.c[name] for name in _SUMS]
    query = select(table.c.start, *columns).where(
        table.c.run_id == run_id, table.c.start >= first - HOUR
    )
    return connection.execute(query).all()


def _stretch(at: float, parts: Sequence[Sequence[Any]]) -> RoundStretch:
    sums: dict[str, list[Any]] = {
        name: [part[place] for part in parts] for place, name in enumerate(_SUMS)
    }
    committed = sum(sums["committed"])
    timed, weight = sum(sums["rounds_timed"]), sum(sums["loss_weight"])
    return RoundStretch(
        at=at,
        round=max(sums["round"]),
        run_tokens=max(sums["run_tokens"]),
        committed=committed,
        void=sum(sums["void"]),
        seconds=sum(sums["seconds"]) / committed if committed else 0.0,
        round_seconds=sum(sums["round_seconds"]) / timed if timed else None,
        bytes_sent=sum(sums["bytes_sent"]) / committed if committed else 0.0,
        train_loss=sum(sums["loss_sum"]) / weight if weight else None,
    )


def _speeds(
    connection: Connection, run_id: str, span: int, start: int
) -> dict[int, list[tuple[str, float]]]:
    """By start, the fastest of this whole time, with the sums of their speeds."""
    table, peers = schema.speeds, schema.peers
    asked = (table.c.run_id == run_id, table.c.span == span, table.c.start >= start)
    fastest = (
        select(table.c.peer)
        .where(*asked)
        .group_by(table.c.peer)
        .order_by(func.sum(table.c.tokens_per_second).desc())
        .limit(FASTEST)
    )
    with_names = (
        select(table.c.start, peers.c.peer_id, table.c.tokens_per_second)
        .join(peers, peers.c.id == table.c.peer)
        .where(*asked, table.c.peer.in_(fastest))
        .order_by(table.c.start)
    )
    found: dict[int, list[tuple[str, float]]] = {}
    for at, peer_id, speed in connection.execute(with_names):
        found.setdefault(at, []).append((peer_id, speed))
    return found
