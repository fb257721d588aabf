"""Data used by day and run, on a real file: what all daemons have moved in a calendar month."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import pytest

from peer.limits.month import goodbye, is_used_up, month_ends, month_of, sustained_rate
from peer.limits.usage import KEPT_DAYS, NAME, add_usage, used_this_month

GB = 1e9


def test_nothing_was_used_before_anything_was_noted(tmp_path: Path) -> None:
    assert used_this_month(tmp_path, date(2026, 11, 21)) == 0


def test_a_month_sums_its_days_and_all_runs(tmp_path: Path) -> None:
    add_usage(tmp_path, "a", date(2026, 11, 1), 10, 1)
    add_usage(tmp_path, "a", date(2026, 11, 1), 20, 2)
    add_usage(tmp_path, "b", date(2026, 11, 30), 300, 400)
    assert used_this_month(tmp_path, date(2026, 11, 15)) == 733


def test_the_next_month_begins_with_nothing(tmp_path: Path) -> None:
    add_usage(tmp_path, "a", date(2026, 12, 31), 5, 5)
    assert used_this_month(tmp_path, date(2026, 12, 31)) == 10
    assert used_this_month(tmp_path, date(2027, 1, 1)) == 0


def test_days_of_long_ago_are_forgotten(tmp_path: Path) -> None:
    for day in range(1, 29):
        add_usage(tmp_path, "a", date(2025, 1, day), 1, 1)
    add_usage(tmp_path, "a", date(2026, 11, 21), 1, 1)
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        (days,) = database.execute("select count(*) from data").fetchone()
    assert days == 1
    assert KEPT_DAYS > 366


def _add_often(state_dir: Path, run_id: str, times: int) -> None:
    for _ in range(times):
        add_usage(state_dir, run_id, date(2026, 11, 21), 1, 2)


def test_daemons_that_write_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_add_often, args=(tmp_path, "same", 15)) for _ in range(2)]
    for writer in writers:
        writer.start()
    _add_often(tmp_path, "other", 15)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert used_this_month(tmp_path, date(2026, 11, 21)) == 3 * 15 * 3


def test_what_was_added_survives_a_killed_daemon(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=_add_often, args=(tmp_path, "run", 1_000_000))
    writer.start()
    before = 0
    while before < 30:  # it writes
        before = used_this_month(tmp_path, date(2026, 11, 21))
    writer.kill()
    writer.join()
    after = used_this_month(tmp_path, date(2026, 11, 21))
    assert after >= before
    assert after % 3 == 0, "an addition is there whole or not at all"
    add_usage(tmp_path, "run", date(2026, 11, 21), 1, 2)
    assert used_this_month(tmp_path, date(2026, 11, 21)) == after + 3


@pytest.mark.parametrize(
    ("day", "first", "after"),
    [
        (date(2026, 11, 21), date(2026, 11, 1), date(2026, 12, 1)),
        (date(2026, 12, 31), date(2026, 12, 1), date(2027, 1, 1)),
        (date(2028, 2, 29), date(2028, 2, 1), date(2028, 3, 1)),
    ],
)
def test_a_month_is_the_calendars(day: date, first: date, after: date) -> None:
    assert month_of(day) == (first, after)


def test_a_month_ends_at_local_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        now = datetime(2026, 10, 31, 23, 0).timestamp()  # summer time ends the night after
        assert month_ends(now) - now == 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_budget_is_used_up_while_there_is_some_left_for_the_goodbye() -> None:
    assert not is_used_up(19.7 * GB, 20 * GB)
    assert is_used_up(19.85 * GB, 20 * GB)
    assert is_used_up(20.1 * GB, 20 * GB)
    assert not is_used_up(20.1 * GB, None)
    assert goodbye(20 * GB) == 0.2 * GB
    assert goodbye(100e6) == 5e6
    assert goodbye(10e6) == 1e6


def test_the_sustained_rate_ends_with_the_month() -> None:
    now = datetime(2026, 11, 21, 12).timestamp()
    rate = sustained_rate(5 * GB, 20 * GB, now)
    assert 5 * GB + rate * (month_ends(now) - now) == pytest.approx(19.8 * GB)
    assert sustained_rate(20 * GB, 20 * GB, now) == 0
