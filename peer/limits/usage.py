"""What data the peers here have moved, and the energy they took, by day and run.

Kept in `usage.sqlite` of the state folder.

All daemons of one state folder write to it, each with additions of its own, so that the sums are
those of all; a daemon that is killed loses the seconds since its last addition.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path

from peer.limits.month import month_of

log = logging.getLogger(__name__)

NAME = "usage.sqlite"
KEPT_DAYS = 400
"""A year to look back on; a day and run take some fifty bytes."""
_BUSY_SECONDS = 5.0
_TABLE = """
create table if not exists data (
    day text not null, run text not null,
    sent integer not null default 0, received integer not null default 0,
    primary key (day, run)
) without rowid
"""
_ENERGY_TABLE = """
create table if not exists energy (
    day text not null, run text not null, joules real not null,
    primary key (day, run)
) without rowid
"""


def add_usage(state_dir: Path, run_id: str, day: date, sent: int, received: int) -> None:
    """Add bytes to a day of a run. `OSError` or `sqlite3.Error` if the disk does not take it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with _opened(state_dir / NAME) as database, database:
        database.execute("begin immediate")
        database.execute(_TABLE)
        database.execute(
            "insert into data values (:day, :run, :sent, :received) on conflict (day, run)"
            " do update set sent = sent + :sent, received = received + :received",
            {"day": day.isoformat(), "run": run_id, "sent": sent, "received": received},
        )
        oldest = (day - timedelta(days=KEPT_DAYS)).isoformat()
        database.execute("delete from data where day < ?", (oldest,))


def used_this_month(state_dir: Path, today: date) -> int:
    """Bytes sent and received since the month began, of all runs; 0 if nothing was noted.

    `OSError` or `sqlite3.Error` if the file cannot be read.
    """
    first, after = month_of(today)
    days = (first.isoformat(), after.isoformat())
    path = state_dir / NAME
    if not path.exists():
        return 0
    with _opened(path) as database:
        if not database.execute("select 1 from sqlite_master where name = 'data'").fetchall():
            return 0  # another table's writer has made the file
        total = "select sum(sent + received) from data where day >= ? and day < ?"
        return int(database.execute(total, days).fetchone()[0] or 0)


def add_energy(state_dir: Path, run_id: str, day: date, joules: float) -> None:
    """Add to a day of a run. `OSError` or `sqlite3.Error` if the disk does not take it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with _opened(state_dir / NAME) as database, database:
        database.execute("begin immediate")
        database.execute(_ENERGY_TABLE)
        database.execute(
            "insert into energy values (:day, :run, :joules) on conflict (day, run)"
            " do update set joules = joules + :joules",
            {"day": day.isoformat(), "run": run_id, "joules": joules},
        )
        oldest = (day - timedelta(days=KEPT_DAYS)).isoformat()
        database.execute("delete from energy where day < ?", (oldest,))


def energy_used(state_dir: Path, run_id: str) -> float:
    """Joules in a run, as far back as is kept; 0 if nothing was noted.

    `OSError` or `sqlite3.Error` if the file cannot be read.
    """
    path = state_dir / NAME
    if not path.exists():
        return 0.0
    with _opened(path) as database:
        if not database.execute("select 1 from sqlite_master where name = 'energy'").fetchall():
            return 0.0
        total = "select sum(joules) from energy where run = ?"
        return float(database.execute(total, (run_id,)).fetchone()[0] or 0.0)


def runs_of_day(state_dir: Path, day: date) -> int:
    """How many runs have moved data on a day. Raises as `used_this_month` does."""
    path = state_dir / NAME
    if not path.exists():
        return 0
    with _opened(path) as database:
        if not database.execute("select 1 from sqlite_master where name = 'data'").fetchall():
            return 0
        count = "select count(*) from data where day = ?"
        return int(database.execute(count, (day.isoformat(),)).fetchone()[0])


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, _BUSY_SECONDS, isolation_level=None)) as database:
        # whatever is killed, the file stays whole; a power cut may cost the last additions
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        yield database
