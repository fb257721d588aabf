"""The coordinator's SQLite file: damage, full disks, and files of other versions.

What every store does is in `tests/contract/test_store.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from runpy import run_path
from unittest import mock

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from coordinator.domain import Outcome, Report, Run, StorageError, Validation
from coordinator.storage import schema, versions
from coordinator.storage.store import Store
from swarmpb.exits import Exit, UserError
from tests.reporting import DIGEST, OTHER_DIGEST, outcome, report

RUN = Run(
    run_id="demo",
    spec=b"{}",
    spec_hash=b"h" * 32,
    owner_key=b"k" * 32,
    signature=b"s" * 64,
    description="a run",
    target_tokens=1000,
    created_at_ms=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.sqlite"


def keep(store: Store, told: Report) -> tuple[list[Outcome], list[Validation]]:
    """Keep a report as the service does; what of it was new."""
    (news,) = store.news_of([told])
    store.keep_all([news])
    return list(news.outcomes), list(news.validations)


def numbers(store: Store) -> list[int]:
    """The rounds that are kept, the newest first."""
    return [it.round for it in store.history.rounds("demo", limit=1000)[0]]


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    with closing(Store.open(path)) as store:
        yield store


def test_what_was_kept_survives_without_a_clean_end(path: Path, tmp_path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(1)]))
        # what a killed process leaves: the file and its journal as they are now
        copy = tmp_path / "copy.sqlite"
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    with opened(copy) as store:
        assert numbers(store) == [1]


@pytest.mark.parametrize("damage", ["no database", "overwritten", "truncated"])
def test_a_damaged_database_is_set_aside_and_said(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(number) for number in range(1, 400)]))
    sound = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"once upon a time" * 100,
            "overwritten": sound[:4096] + b"\xff" * 8192 + sound[12288:],
            "truncated": sound[: len(sound) // 2],
        }[damage]
    )
    damaged = path.read_bytes()
    with opened(path) as store:
        assert store.runs() == []
        store.add_run(RUN)
    aside = path.with_name("coordinator.sqlite.damaged-1")
    assert aside.read_bytes() == damaged
    assert str(aside) in caplog.text


def test_a_second_damaged_database_does_not_replace_the_first(path: Path) -> None:
    for content in (b"first" * 1000, b"second" * 1000):
        path.write_bytes(content)
        Store.open(path).close()
    assert path.with_name(f"{path.name}.damaged-1").read_bytes().startswith(b"first")
    assert path.with_name(f"{path.name}.damaged-2").read_bytes().startswith(b"second")


def test_an_empty_file_is_a_new_database(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch()
    with opened(path) as store:
        assert store.runs() == []
    assert caplog.text == ""


def test_a_folder_that_takes_no_file_is_said_with_its_own_exit_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--state-dir") as caught:
        Store.open(tmp_path / "missing" / "coordinator.sqlite")
    assert caught.value.code == Exit.STATE_FOLDER


def test_a_full_disk_refuses_the_report_and_keeps_what_was_there(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(1)]))
        pages = store._database.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        store._database.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        store._database.connection.commit()
        with pytest.raises(StorageError, match="full"):
            keep(store, report([outcome(number) for number in range(2, 500)], sequence=2))
        assert numbers(store) == [1]
        assert [it.sequence for it in store.peers("demo")] == [1]


# ---- files of other versions --------------------------------------------------------------

OLD_TABLES = """
CREATE TABLE runs (run_id VARCHAR NOT NULL, spec BLOB NOT NULL, spec_hash BLOB NOT NULL,
    owner_key BLOB NOT NULL, signature BLOB NOT NULL, description VARCHAR NOT NULL,
    target_tokens INTEGER NOT NULL, created_at_ms INTEGER NOT NULL, PRIMARY KEY (run_id));
CREATE TABLE peers (run_id VARCHAR NOT NULL, peer_id VARCHAR NOT NULL, sequence INTEGER NOT NULL,
    received_at FLOAT NOT NULL, phase VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    round INTEGER NOT NULL, tokens INTEGER NOT NULL, tokens_per_second FLOAT NOT NULL,
    train_loss FLOAT, name VARCHAR NOT NULL, version VARCHAR NOT NULL,
    UNIQUE (run_id, peer_id), FOREIGN KEY(run_id) REFERENCES runs (run_id) ON DELETE CASCADE);
CREATE TABLE outcomes (id INTEGER NOT NULL, run_id VARCHAR NOT NULL, peer_id VARCHAR NOT NULL,
    round INTEGER NOT NULL, attempt BLOB NOT NULL, committed BOOLEAN NOT NULL,
    included BOOLEAN NOT NULL, reason VARCHAR NOT NULL, digest BLOB NOT NULL,
    run_tokens INTEGER NOT NULL, own_tokens INTEGER NOT NULL, bytes_sent INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL, seconds FLOAT NOT NULL, members INTEGER NOT NULL,
    finished_at_ms INTEGER NOT NULL, train_loss FLOAT, PRIMARY KEY (id),
    UNIQUE (run_id, peer_id, round, attempt),
    FOREIGN KEY(run_id) REFERENCES runs (run_id) ON DELETE CASCADE);
CREATE UNIQUE INDEX one_commit_a_round ON outcomes (run_id, peer_id, round) WHERE committed;
CREATE TABLE validations (id INTEGER NOT NULL, run_id VARCHAR NOT NULL, peer_id VARCHAR NOT NULL,
    round INTEGER NOT NULL, run_tokens INTEGER NOT NULL, loss FLOAT, PRIMARY KEY (id),
    UNIQUE (run_id, peer_id, round),
    FOREIGN KEY(run_id) REFERENCES runs (run_id) ON DELETE CASCADE);
PRAGMA user_version = 1;
"""
"""As the first version of the coordinator made them."""

SECOND_TABLES = """
ALTER TABLE peers ADD COLUMN journal BLOB NOT NULL DEFAULT x'';
ALTER TABLE peers ADD COLUMN taken_row INTEGER NOT NULL DEFAULT 0;
CREATE TABLE coverage (run_id VARCHAR NOT NULL, round INTEGER NOT NULL,
    pass_chunks INTEGER NOT NULL, passes INTEGER NOT NULL, merged_once INTEGER NOT NULL,
    merged_again INTEGER NOT NULL, PRIMARY KEY (run_id),
    FOREIGN KEY(run_id) REFERENCES runs (run_id) ON DELETE CASCADE);
INSERT INTO coverage VALUES ('demo', 4, 1000, 0, 110, 2);
UPDATE peers SET journal = x'6a', taken_row = 5;
PRAGMA user_version = 2;
"""

ROWS = """
INSERT INTO runs VALUES ('demo', x'7b7d', x'', x'', x'', 'a run', 1000, 1);
INSERT INTO peers VALUES ('demo', 'QmAnna', 7, 1.0, 'training', '', 3, 9, 1.0, 2.0, 'a', '0');
INSERT INTO validations VALUES (1, 'demo', 'QmAnna', 2, 2000, 4.5);
"""


def old_outcomes() -> list[Outcome]:
    """In the order in which they were told."""
    return [
        outcome(1, train_loss=2.0),
        outcome(1, "QmBob", train_loss=4.0),
        outcome(2, "QmBob", committed=False, included=False, reason="missed it"),
        outcome(2, included=False, reason="arrived late", own_tokens=0),
        outcome(2, "QmCarl", digest=OTHER_DIGEST),
        outcome(3, attempt=b"v", committed=False, included=False, reason="nobody came"),
        outcome(3, "QmDora", attempt=b"", included=False, members=0, own_tokens=0),
    ]


def old_file(path: Path, version: int) -> None:
    """A file of version 1 or 2 with a row in each table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_TABLES + ROWS)
        if version == 2:
            connection.executescript(SECOND_TABLES)
        for told in old_outcomes():
            values = {"run_id": "demo", **vars(told)}
            del values["round_seconds"]
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(
                f"INSERT INTO outcomes ({', '.join(values)}) VALUES ({marks})",  # noqa: S608  ours
                values,
            )
        connection.commit()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_goes_on_as_one_of_this(path: Path, version: int) -> None:
    old_file(path, version)
    for _ in range(2):
        with opened(path) as store:
            assert [it.run_id for it in store.runs()] == ["demo"]
            (anna,) = store.peers("demo")
            assert (anna.sequence, anna.journal, anna.taken_row) == (
                (7, b"", 0) if version == 1 else (7, b"j", 5)
            )
            coverage = store.coverage("demo")
            assert (coverage.merged_once if coverage else None) == (None if version == 1 else 110)
            assert [it.loss for it in store.curves.validations("demo", 0, 9)] == [4.5]
    with opened(path) as store:
        assert keep(store, report([outcome(1), outcome(4)], sequence=8))[0] == [outcome(4)]


def test_an_old_files_outcomes_become_the_rounds_and_receipts_that_they_tell_of(path: Path) -> None:
    old_file(path, 2)
    with opened(path) as store:
        found, _ = store.history.rounds("demo")
        (held, void), second, first = (
            [it for it in found if it.round == number] for number in (3, 2, 1)
        )
        assert (held.attempt, held.finished_by, void.reason) == (b"", 1, "nobody came")
        assert (first[0].finished_by, first[0].train_loss) == (2, 3.0)
        assert first[0].digests == {DIGEST}
        assert (second[0].committed, second[0].finished_by) == (True, 2)
        assert second[0].digests == {DIGEST, OTHER_DIGEST}
        counts = store.history.counts("demo")
        assert (counts.committed, counts.void, counts.disagreed) == (3, 1, 1)
        totals = {it.peer_id: it for it in store.history.totals("demo")}
        assert {name: (it.rounds, it.missed, it.merged_tokens) for name, it in totals.items()} == {
            "QmAnna": (1, 1, 300),
            "QmBob": (1, 0, 300),
            "QmCarl": (1, 0, 300),
            "QmDora": (0, 0, 0),
        }
        assert totals["QmAnna"].missed_reason == "arrived late"
        days = store.history.totals_since("demo", 0, 86_400)
        assert sum(it.merged_tokens for it in days) == 900


def test_an_upgrade_does_not_look_through_all_outcomes_for_each_of_them(path: Path) -> None:
    """Twenty thousand took a minute and a half; a run of some weeks has a million."""
    old_file(path, 2)
    moves = run_path(str(versions.MIGRATIONS / "versions" / "0004_old_outcomes.py"))["MOVES"]
    (index,) = (it for it in moves if it.startswith("CREATE INDEX"))
    (attempts,) = (it for it in moves if "INTO attempts" in it)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("outcomes", "runs"):
            connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        connection.execute(index)
        question = attempts[attempts.index("SELECT") :]
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}")]
    assert [it for it in plan if it.startswith("SEARCH i ") and "attempt=?" in it], plan


def test_an_upgrade_that_is_cut_short_changes_nothing(path: Path) -> None:
    old_file(path, 2)
    with (
        mock.patch.object(versions, "_finish", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        Store.open(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "outcomes" in tables
    assert "receipts" not in tables
    with opened(path) as store:
        assert len(store.peers("demo")) == 1


@pytest.mark.parametrize("newer", ["PRAGMA user_version = 99", "9999"])
def test_a_file_of_a_newer_version_is_left_alone(path: Path, newer: str) -> None:
    if newer.startswith("PRAGMA"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(newer)
    else:
        Store.open(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", [newer])
            connection.commit()
    before = path.read_bytes()
    with pytest.raises(UserError, match="--state-dir") as caught:
        Store.open(path)
    assert caught.value.code == Exit.STATE_FOLDER
    assert path.read_bytes() == before


def test_the_migrations_end_where_the_schema_says() -> None:
    config = Config()
    config.set_main_option("script_location", str(versions.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


@pytest.mark.parametrize("version", [None, 1, 2])
def test_whatever_a_file_was_its_tables_are_those_of_the_schema(
    path: Path, version: int | None
) -> None:
    if version is not None:
        old_file(path, version)
    with opened(path) as store, store.together() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
