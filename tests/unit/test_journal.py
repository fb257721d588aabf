"""What a peer has to tell survives its death, a full disk and a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from peer import journal as journals
from peer.journal import Journal, Told
from swarmpb.v1 import coordinator_pb2

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@asynccontextmanager
async def opened(path: Path, kept: int = 1000) -> AsyncIterator[Journal]:
    journal = Journal(path, kept)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def round_(number: int) -> Told:
    return coordinator_pb2.RoundOutcome(round=number, attempt=b"a" * 16, digest=bytes(32))


def add(journal: Journal, *numbers: int) -> None:
    for number in numbers:
        journal.add(round_(number))


async def rounds_in(journal: Journal, after: int = 0, most: int = 10_000) -> list[int]:
    return [row.told.round for row in await journal.rows(after, most)]


async def test_rows_come_back_in_order_and_as_they_were(path: Path) -> None:
    loss = coordinator_pb2.Validation(round=2, loss=1.5)
    async with opened(path) as journal:
        add(journal, 1, 2)
        journal.add(loss)
        before, name = await journal.rows(0, 10), journal.name
        assert [row.told for row in before] == [round_(1), round_(2), loss]
    async with opened(path) as journal:
        assert (await journal.rows(0, 10), journal.name) == (before, name)
        assert await journal.rows(before[0].number, 1) == [before[1]]
        add(journal, 3)
        assert await rounds_in(journal) == [1, 2, 2, 3], "on disk or not yet"
        assert (await journal.rows(0, 10))[-1].number == journal.highest > before[-1].number


async def test_what_was_written_survives_without_a_clean_end(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    async with opened(path) as journal:
        add(journal, 1, 2)
        await journal.write()
        # what a killed process leaves
        for suffix in ("", "-wal"):
            data = path.with_name(path.name + suffix).read_bytes()
            copy.with_name(copy.name + suffix).write_bytes(data)
    async with opened(copy) as journal:
        assert await rounds_in(journal) == [1, 2]


async def test_what_happens_is_written_without_being_asked_for(path: Path) -> None:
    async with opened(path) as journal, anyio.create_task_group() as tasks:
        tasks.start_soon(journal.keep_writing, 0.0)
        add(journal, 1)
        with anyio.fail_after(30):
            while not _rows_on_disk(path):  # noqa: ASYNC110  nothing tells
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


def _rows_on_disk(path: Path) -> int:
    with closing(sqlite3.connect(path)) as reader:
        return int(reader.execute("SELECT count(*) FROM told").fetchone()[0])


async def test_the_oldest_rows_give_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_SPARE_ROWS", 5)
    async with opened(path, kept=10) as journal:
        for number in range(1, 101):
            add(journal, number)
            await journal.write()
            kept = await rounds_in(journal)
            assert kept == list(range(number - len(kept) + 1, number + 1))
            assert min(number, 10) <= len(kept) <= 15
    async with opened(path, kept=10) as journal:
        add(journal, *range(101, 111))
        await journal.write()
        assert await rounds_in(journal) == list(range(101, 111))


async def test_a_dropped_row_is_gone_wherever_it_was(path: Path) -> None:
    async with opened(path) as journal:
        add(journal, 1, 2)
        await journal.write()
        add(journal, 3, 4)
        numbers = [row.number for row in await journal.rows(0, 10)]
        for number in (numbers[0], numbers[2]):
            await journal.drop(number)
        assert await rounds_in(journal) == [2, 4]
        await journal.write()
        assert await rounds_in(journal) == [2, 4]


async def test_a_full_disk_costs_nothing_while_it_lasts_and_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as journal:
        add(journal, 1)
        await journal.write()
        assert journal._file is not None
        pragma = journal._file._connection.execute
        (pages,) = pragma("PRAGMA page_count").fetchone()
        pragma(f"PRAGMA max_page_count = {pages}")
        name = journal.name
        for number in range(2, 300):
            add(journal, number)
            await journal.write()
        assert await rounds_in(journal) == list(range(1, 300)), "told from memory meanwhile"
        assert caplog.text.count("is full") == 1
        pragma("PRAGMA max_page_count = 100000")
        await journal.write()
        assert caplog.text.count("is written again") == 1
        assert journal.name == name
    async with opened(path) as journal:
        assert await rounds_in(journal) == list(range(1, 300))


async def test_without_a_place_on_disk_rows_are_kept_in_memory_until_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "journal.sqlite"
    async with opened(path) as journal:
        add(journal, 1, 2)
        await journal.write()
        await journal.write()
        assert await rounds_in(journal) == [1, 2]
        assert caplog.text.count("kept in memory") == 1
        path.parent.mkdir()
        await journal.write()
    async with opened(path) as journal:
        assert await rounds_in(journal) == [1, 2]


async def test_rows_in_memory_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "WAITING_ROWS", 10)
    async with opened(path.parent / "nowhere" / "journal.sqlite") as journal:
        add(journal, *range(100))
        assert await rounds_in(journal) == list(range(90, 100))


def _damage(path: Path, damage: str) -> bytes:
    """Damage a file; what is in it then."""
    if damage == "another version":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 9")
    else:
        sound = path.read_bytes()
        cut = 0 if damage == "no database" else 4096
        path.write_bytes(sound[:cut] + b"\xff" * 8192 + sound[cut + 8192 :])
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["no database", "overwritten", "another version"])
async def test_a_damaged_file_is_set_aside_by_name_and_another_begun(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as journal:
        add(journal, *range(500))
        name = journal.name
    damaged = _damage(path, damage)
    async with opened(path) as journal:
        assert journal.name != name
        add(journal, 1)
        await journal.write()
        assert await rounds_in(journal) == [1]
    (aside,) = path.parent.glob("journal.sqlite.damaged-*")
    assert aside.read_bytes() == damaged
    assert aside.name in caplog.text


async def test_damage_that_shows_later_costs_what_is_on_disk_and_not_what_is_in_memory(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as journal:
        add(journal, 1)
        await journal.write()
        name = journal.name
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE told SET content = x'ff'")
            connection.commit()
        add(journal, 2)
        assert await rounds_in(journal) == [], "not as if the first had never been"
        assert journal.name != name
        await journal.write()
        assert await rounds_in(journal) == [2]
        assert "makes no sense" in caplog.text
    assert len(list(path.parent.glob("journal.sqlite.damaged-*"))) >= 1


async def test_a_clock_that_was_set_back_brings_no_row_before_the_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as journal:
        add(journal, 1)
    monkeypatch.setattr("peer.journal.CLOCK", SimpleNamespace(now=lambda: 1000.0))
    journal = Journal(path)
    add(journal, 2)  # before it could be opened
    await journal.open()
    add(journal, 3)
    assert await rounds_in(journal) == [1, 2, 3]
    await journal.close()
