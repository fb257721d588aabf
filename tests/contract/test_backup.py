"""A coordinator's backup: one moment of it in one file, and another coordinator made from it."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from coordinator.config import ServeSettings
from coordinator.domain import Event, EventKind, Member, Validation
from coordinator.storage import schema
from coordinator.storage.backup import back_up, key_files, restore
from coordinator.storage.store import Store
from swarmpb.exits import Exit, UserError
from tests.contract.stores import RUN, Where
from tests.contract.test_thinning import receipt
from tests.postgresql import fresh_schema
from tests.reporting import outcome, report


def settings(folder: Path, where: Where | None = None) -> ServeSettings:
    """A coordinator's in a folder, with its database there or at a URL."""
    url = where if isinstance(where, str) else None
    return ServeSettings(folder / "state", folder / "owner.key", database_url=url)


@pytest.fixture
def lived(tmp_path: Path, where: Where) -> ServeSettings:
    """A coordinator with keys, that is not running."""
    made = settings(tmp_path, where)
    made.state_dir.mkdir()
    for number, path in enumerate(key_files(made)[:4]):
        path.write_bytes(b"secret %d" % number)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServeSettings]:
    """Where a backup can be restored."""
    (tmp_path / "new" / "state").mkdir(parents=True)
    if request.param == "sqlite":
        yield settings(tmp_path / "new")
    else:
        with fresh_schema(request.getfixturevalue("postgresql")) as url:
            yield settings(tmp_path / "new", url)


def tell(store: Store, round_: int) -> None:
    """A round of two peers, all in one transaction."""
    with store.together():
        for name in ("QmAnna", "QmBob"):
            losses = [Validation(name, round_, 1000 * round_, 4.5)]
            told = report([outcome(round_, name)], losses, peer_id=name, sequence=round_)
            store.keep_all(store.news_of([told]))
            store.receipts.keep("demo", [receipt(round_, name, 1000.0)])
        store.events.add([Event(0, 5.0, "demo", EventKind.JOINED, f"round {round_}")])
        store.samples.add("demo", 60.0 * round_, 2, 40.0, [("QmAnna", 40.0)])


def contents(where: Where) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with closing(Store.open(where)) as store, store.together() as connection:
        return {
            table.name: sorted(
                (dict(row) for row in connection.execute(select(table)).mappings()), key=repr
            )
            for table in schema.metadata.sorted_tables
        }


def test_what_is_restored_is_what_was_backed_up(
    lived: ServeSettings, empty: ServeSettings, tmp_path: Path
) -> None:
    with closing(Store.open(lived.database)) as store:
        store.add_run(RUN)
        tell(store, 1)
        store.membership.set_orders("demo", b"signed")
        store.membership.put_member("demo", Member("QmAnna", banned_at=1.0, ban_reason="noise"))
        last = store.events.add([Event(0, 5.0, "demo", EventKind.BANNED, "noise")])[0].number
        file = tmp_path / "backup"
        back_up(lived, file)
    before = contents(lived.database)
    restore(empty, file)
    assert contents(empty.database) == before
    for old, new in zip(key_files(lived), key_files(empty), strict=True):
        assert new.exists() == old.exists()
        if old.exists():
            assert new.read_bytes() == old.read_bytes()
            assert stat.S_IMODE(new.stat().st_mode) == 0o600
    with closing(Store.open(empty.database)) as store:
        tell(store, 2)
        assert store.events.newest(limit=1)[0].number > last


def test_a_backup_while_reports_arrive_is_one_moment_of_them(
    lived: ServeSettings, tmp_path: Path
) -> None:
    files = [tmp_path / f"backup-{number}" for number in range(3)]
    told, done = threading.Event(), threading.Event()
    with closing(Store.open(lived.database)) as store:
        store.add_run(RUN)

        def serve() -> None:
            round_ = 0
            while not done.is_set():
                round_ += 1
                tell(store, round_)
                told.set()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            for file in files:
                told.wait()
                back_up(lived, file)
                told.clear()
        finally:
            done.set()
            serving.join()
    rounds = []
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        found = contents(file)
        rounds.append(len(found["attempts"]))
        assert len(found["events"]) == len(found["attempts"])
        assert len(found["receipts"]) == 2 * len(found["attempts"])
        assert sum(row["rounds"] for row in found["totals"]) == len(found["receipts"])
    assert rounds == sorted(rounds)
    assert rounds[0] >= 1


def refused(error: pytest.ExceptionInfo[UserError], said: str) -> None:
    assert error.value.code == Exit.STATE_FOLDER
    assert said in str(error.value)


def test_a_backup_goes_only_into_what_is_empty(
    lived: ServeSettings, empty: ServeSettings, tmp_path: Path
) -> None:
    with closing(Store.open(lived.database)) as store:
        store.add_run(RUN)
    file = tmp_path / "backup"
    back_up(lived, file)
    with closing(Store.open(empty.database)) as store:
        store.add_run(replace(RUN, run_id="mine"))
    with pytest.raises(UserError) as caught:
        restore(empty, file)
    refused(caught, "has runs already")
    assert not any(path.exists() for path in key_files(empty))
    with pytest.raises(UserError) as caught:
        restore(lived, file)
    refused(caught, "has authority.key already")


def test_what_is_no_backup_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    made = settings(tmp_path)
    made.state_dir.mkdir()
    noise, file = tmp_path / "noise", tmp_path / "backup"
    noise.write_bytes(b"once upon a time" * 100)
    for source in (noise, tmp_path / "missing"):
        with pytest.raises(UserError) as caught:
            restore(made, source)
        refused(caught, str(source))
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("CREATE TABLE something (it INTEGER)")
    with pytest.raises(UserError) as caught:
        restore(made, tmp_path / "other.sqlite")
    refused(caught, "is no backup")
    with pytest.raises(UserError) as caught:
        back_up(made, file)
    refused(caught, "there is no")
    Store.open(made.database).close()
    back_up(made, file)
    before = file.read_bytes()
    with pytest.raises(UserError) as caught:
        back_up(made, file)
    refused(caught, "is there already")
    assert file.read_bytes() == before
    assert sorted(it.name for it in tmp_path.iterdir()) == [
        "backup",
        "noise",
        "other.sqlite",
        "state",
    ], "nothing unfinished is left"
