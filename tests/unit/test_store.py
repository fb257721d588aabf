"""The coordinator's database: what it keeps, and what it does with a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from coordinator.domain import Run, StorageError, Validation
from coordinator.store import Store
from swarmpb.exits import Exit, UserError
from tests.reporting import OTHER_DIGEST, outcome, report

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
VALIDATION = Validation("QmAnna", 2, 2000, 4.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.sqlite"


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    with closing(Store.open(path)) as store:
        yield store


def test_a_restart_loses_nothing(path: Path) -> None:
    told = report([outcome(1), outcome(2)], [VALIDATION], round=2, train_loss=None)
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(told)
    with opened(path) as store:
        assert store.runs() == [RUN]
        assert store.peers("demo") == [told.peer]
        assert store.outcomes("demo") == list(told.outcomes)
        assert store.validations("demo") == [VALIDATION]


def test_what_was_kept_survives_without_a_clean_end(path: Path, tmp_path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(1)]))
        # what a killed process leaves: the file and its journal as they are now
        copy = tmp_path / "copy.sqlite"
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    with opened(copy) as store:
        assert store.outcomes("demo") == [outcome(1)]


def test_a_report_that_comes_twice_adds_nothing(path: Path) -> None:
    told = report([outcome(1), outcome(2)], [VALIDATION])
    with opened(path) as store:
        store.add_run(RUN)
        assert store.keep(told) == (list(told.outcomes), [VALIDATION])
        assert store.keep(told) == ([], [])
        assert len(store.outcomes("demo")) == 2
        assert len(store.validations("demo")) == 1


def test_a_repeated_report_with_more_rounds_adds_only_those(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(1)]))
        assert store.keep(report([outcome(1), outcome(2)], sequence=2))[0] == [outcome(2)]


def test_the_first_word_of_a_peer_on_a_round_stands(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(1)]))
        again = outcome(1, digest=OTHER_DIGEST)
        other_attempt = outcome(1, digest=OTHER_DIGEST, attempt=b"another")
        assert store.keep(report([again, other_attempt], sequence=2)) == ([], [])
        assert store.outcomes("demo") == [outcome(1)]


def test_one_report_cannot_tell_a_round_twice(path: Path) -> None:
    twice = [outcome(1), outcome(1), outcome(1, attempt=b"another")]
    losses = [VALIDATION, Validation("QmAnna", 2, 2000, 9.0)]
    with opened(path) as store:
        store.add_run(RUN)
        assert store.keep(report(twice, losses)) == ([outcome(1)], [VALIDATION])


def test_void_attempts_at_a_round_are_kept_beside_its_commit(path: Path) -> None:
    told = [
        outcome(1, attempt=b"first", committed=False),
        outcome(1, attempt=b"second", committed=False),
        outcome(1, attempt=b"third"),
    ]
    with opened(path) as store:
        store.add_run(RUN)
        assert store.keep(report(told))[0] == told


def test_a_peer_has_one_state_the_last(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report(sequence=1, phase="joining"))
        store.keep(report(sequence=2, phase="training"))
        assert [(it.sequence, it.phase) for it in store.peers("demo")] == [(2, "training")]


def test_forgetting_a_peer_keeps_its_rounds(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(1)]))
        store.forget_peer("demo", "QmAnna")
        assert store.peers("demo") == []
        assert store.outcomes("demo") == [outcome(1)]


@pytest.mark.parametrize("damage", ["no database", "overwritten", "truncated"])
def test_a_damaged_database_is_set_aside_and_said(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(number) for number in range(1, 400)]))
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


def test_a_database_of_another_version_is_left_alone(path: Path) -> None:
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(UserError, match="--state-dir") as caught:
        Store.open(path)
    assert caught.value.code == Exit.STATE_FOLDER
    assert path.read_bytes() == before


def test_a_folder_that_takes_no_file_is_said_with_its_own_exit_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--state-dir") as caught:
        Store.open(tmp_path / "missing" / "coordinator.sqlite")
    assert caught.value.code == Exit.STATE_FOLDER


def test_a_full_disk_refuses_the_report_and_keeps_what_was_there(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.keep(report([outcome(1)]))
        pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        store._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        store._connection.commit()
        with pytest.raises(StorageError, match="full"):
            store.keep(report([outcome(number) for number in range(2, 500)], sequence=2))
        assert store.outcomes("demo") == [outcome(1)]
        assert [it.sequence for it in store.peers("demo")] == [1]
