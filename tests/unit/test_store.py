"""The coordinator's database: what it keeps, and what it does with a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from coordinator.domain import (
    Coverage,
    Event,
    EventKind,
    Invitation,
    Member,
    Outcome,
    Receipt,
    Report,
    Run,
    StorageError,
    Validation,
)
from coordinator.storage import schema
from coordinator.storage.store import Store
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
RECEIPT = Receipt("QmAnna", 1, b"one", 300, 300, True, "", True, 3, 1000.0)
VALIDATION = Validation("QmAnna", 2, 2000, 4.5)
COVERAGE = Coverage(round=4, pass_chunks=1000, passes=0, merged_once=110, merged_again=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.sqlite"


def keep(store: Store, told: Report) -> tuple[list[Outcome], list[Validation]]:
    """Keep a report as the service does; what of it was new."""
    (news,) = store.news_of([told])
    store.keep_all([news])
    return list(news.outcomes), list(news.validations)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    with closing(Store.open(path)) as store:
        yield store


def test_a_restart_loses_nothing(path: Path) -> None:
    told = report([outcome(1), outcome(2)], [VALIDATION], round=2, train_loss=None)
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, told)
    with opened(path) as store:
        assert store.runs() == [RUN]
        assert store.peers("demo") == [told.peer]
        assert store.outcomes("demo") == list(told.outcomes)
        assert store.validations("demo") == [VALIDATION]


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
        assert store.outcomes("demo") == [outcome(1)]


def test_a_report_that_comes_twice_adds_nothing(path: Path) -> None:
    told = report([outcome(1), outcome(2)], [VALIDATION])
    with opened(path) as store:
        store.add_run(RUN)
        assert keep(store, told) == (list(told.outcomes), [VALIDATION])
        assert keep(store, told) == ([], [])
        assert len(store.outcomes("demo")) == 2
        assert len(store.validations("demo")) == 1


def test_a_repeated_report_with_more_rounds_adds_only_those(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(1)]))
        assert keep(store, report([outcome(1), outcome(2)], sequence=2))[0] == [outcome(2)]


def test_the_first_word_of_a_peer_on_a_round_stands(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(1)]))
        again = outcome(1, digest=OTHER_DIGEST)
        other_attempt = outcome(1, digest=OTHER_DIGEST, attempt=b"another")
        assert keep(store, report([again, other_attempt], sequence=2)) == ([], [])
        assert store.outcomes("demo") == [outcome(1)]


def test_one_report_cannot_tell_a_round_twice(path: Path) -> None:
    twice = [outcome(1), outcome(1), outcome(1, attempt=b"another")]
    losses = [VALIDATION, Validation("QmAnna", 2, 2000, 9.0)]
    with opened(path) as store:
        store.add_run(RUN)
        assert keep(store, report(twice, losses)) == ([outcome(1)], [VALIDATION])


def test_void_attempts_at_a_round_are_kept_beside_its_commit(path: Path) -> None:
    told = [
        outcome(1, attempt=b"first", committed=False),
        outcome(1, attempt=b"second", committed=False),
        outcome(1, attempt=b"third"),
    ]
    with opened(path) as store:
        store.add_run(RUN)
        assert keep(store, report(told))[0] == told


def test_a_peer_has_one_state_the_last(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report(sequence=1, phase="joining"))
        keep(store, report(sequence=2, phase="training"))
        assert [(it.sequence, it.phase) for it in store.peers("demo")] == [(2, "training")]


def test_forgetting_a_peer_keeps_its_rounds(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        keep(store, report([outcome(1)]))
        store.forget_peer("demo", "QmAnna")
        assert store.peers("demo") == []
        assert store.outcomes("demo") == [outcome(1)]


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
INSERT INTO runs VALUES ('demo', x'7b7d', x'', x'', x'', 'a run', 1000, 1);
INSERT INTO peers VALUES ('demo', 'QmAnna', 7, 1.0, 'training', '', 3, 9, 1.0, 2.0, 'a', '0');
"""
"""As the first version of the coordinator made them, with a run and a peer."""


def test_a_database_of_an_older_version_goes_on_as_one_of_this(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_TABLES)
    for _ in range(2):
        with opened(path) as store:
            assert [it.run_id for it in store.runs()] == ["demo"]
            (anna,) = store.peers("demo")
            assert (anna.sequence, anna.journal, anna.taken_row) == (7, b"", 0)
    told = report([outcome(4)], sequence=8, journal=b"j", taken_row=5)
    with opened(path) as store:
        keep(store, replace(told, coverage=COVERAGE))
    with opened(path) as store:
        assert store.peers("demo") == [told.peer]
        assert store.outcomes("demo") == [outcome(4)]
        assert store.coverage("demo") == COVERAGE


def test_an_upgrade_that_is_cut_short_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD_TABLES)
    broken = (*schema.UPGRADES[1], "ALTER TABLE nobody ADD COLUMN nothing")
    with monkeypatch.context() as patch:
        patch.setitem(schema.UPGRADES, 1, broken)
        with pytest.raises(UserError, match="nobody"):
            Store.open(path)
    with opened(path) as store:
        assert len(store.peers("demo")) == 1


def test_coverage_is_that_of_the_newest_round(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        assert store.coverage("demo") is None
        for number, merged in ((5, 50), (7, 70), (6, 60), (7, 99)):
            coverage = replace(COVERAGE, round=number, merged_once=merged)
            keep(store, replace(report(), coverage=coverage))
        assert store.coverage("demo") == replace(COVERAGE, round=7, merged_once=70)


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
        keep(store, report([outcome(1)]))
        pages = store._database.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        store._database.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        store._database.connection.commit()
        with pytest.raises(StorageError, match="full"):
            keep(store, report([outcome(number) for number in range(2, 500)], sequence=2))
        assert store.outcomes("demo") == [outcome(1)]
        assert [it.sequence for it in store.peers("demo")] == [1]


def test_many_reports_of_many_peers_are_kept_at_once(path: Path) -> None:
    told = [
        report([outcome(1, name)], [replace(VALIDATION, peer_id=name)], peer_id=name)
        for name in ("QmAnna", "QmBob")
    ]
    again = report([outcome(1), outcome(2)], [VALIDATION], sequence=2)
    with opened(path) as store:
        store.add_run(RUN)
        news = store.news_of([*told, again])
        assert [len(it.outcomes) for it in news] == [1, 1, 1]
        assert [len(it.validations) for it in news] == [1, 1, 0]
        store.keep_all(news)
    with opened(path) as store:
        assert {it.peer_id: it.sequence for it in store.peers("demo")} == {"QmAnna": 2, "QmBob": 1}
        assert [(it.peer_id, it.round) for it in store.outcomes("demo")] == [
            ("QmAnna", 1),
            ("QmBob", 1),
            ("QmAnna", 2),
        ]
        assert store.news_of([*told, again]) == [
            replace(it, outcomes=(), validations=()) for it in (*told, again)
        ]


def test_what_is_done_together_is_kept_together_or_not_at_all(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        with pytest.raises(ZeroDivisionError), store.together():
            failing_half_way(store)
        assert store.outcomes("demo") == []
        assert store.events.newest() == []


def failing_half_way(store: Store) -> None:
    store.keep_all([report([outcome(1)])])
    store.events.add([event("half of it")])
    raise ZeroDivisionError


def event(text: str, run_id: str = "demo") -> Event:
    return Event(0, 5.0, run_id, EventKind.JOINED, text, "QmAnna", 3)


def test_events_are_numbered_over_all_runs_and_read_from_either_end(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        store.add_run(replace(RUN, run_id="other"))
        kept = store.events.add([event("1"), event("2", "other"), event("3")])
        assert [it.text for it in kept] == ["1", "2", "3"]
        assert kept[0].number < kept[1].number < kept[2].number
        assert store.events.after(0) == kept
        assert store.events.after(kept[0].number, limit=1) == [kept[1]]
        assert store.events.after(0, "demo") == [kept[0], kept[2]]
        assert store.events.newest(limit=2) == [kept[2], kept[1]]
        assert store.events.newest(kept[2].number, "demo") == [kept[0]]
        assert store.events.add([]) == []


def test_the_newest_orders_of_a_run_stand(path: Path) -> None:
    with opened(path) as store:
        store.add_run(RUN)
        assert store.membership.orders() == {}
        for signed in (b"first", b"second"):
            store.membership.set_orders("demo", signed)
        assert store.membership.orders() == {"demo": b"second"}


def test_an_invitation_lets_in_as_many_as_it_says_and_not_for_ever(path: Path) -> None:
    twice, forever = Invitation(b"2", 2, 100.0, 1.0), Invitation(b"n", None, 100.0, 2.0)
    with opened(path) as store:
        store.add_run(RUN)
        members = store.membership
        for invitation in (twice, forever):
            members.add_invitation("demo", invitation)
        assert members.invitations("demo") == [twice, forever]
        assert [members.spend("demo", b"2", 50.0) for _ in range(3)] == [True, True, False]
        assert members.invitation("demo", b"2") == replace(twice, uses_left=0)
        assert all(members.spend("demo", b"n", 50.0) for _ in range(3))
        assert members.invitation("demo", b"n") == forever
        assert not members.spend("demo", b"n", 100.0), "it has expired"
        assert not members.spend("demo", b"?", 50.0)
        members.forget_invitations("demo", 101.0)
        assert members.invitations("demo") == []
        assert members.invitation("demo", b"n") is None


def test_members_and_bans_are_kept(path: Path) -> None:
    anna = Member("QmAnna", 1.0, 2.0, b"hash")
    banned = replace(anna, banned_at=3.0, ban_reason="noise")
    with opened(path) as store:
        store.add_run(RUN)
        store.membership.put_member("demo", anna)
        store.membership.put_member("demo", banned)
        store.membership.put_member("demo", Member("QmBob", banned_at=4.0, ban_reason="more"))
    with opened(path) as store:
        assert store.membership.member("demo", "QmAnna") == banned
        assert store.membership.member("demo", "QmCarl") is None
        assert [it.peer_id for it in store.membership.members("demo")] == ["QmAnna", "QmBob"]


def test_a_deleted_run_is_gone_with_all_that_is_known_of_it(path: Path) -> None:
    with opened(path) as store:
        for run_id in ("demo", "other"):
            store.add_run(replace(RUN, run_id=run_id))
            store.keep_all([replace(report([outcome(1)], [VALIDATION], run_id), coverage=COVERAGE)])
            store.events.add([event("came", run_id)])
            store.membership.set_orders(run_id, b"signed")
            store.membership.put_member(run_id, Member("QmAnna"))
            store.membership.add_invitation(run_id, Invitation(b"s", None, 100.0, 2.0))
            store.receipts.keep(run_id, [RECEIPT])
        store.delete_run("demo")
        assert [it.run_id for it in store.runs()] == ["other"]
        with store.together() as connection:
            for table in schema.metadata.tables.values():
                left = connection.execute(select(table.c.run_id)).scalars().all()
                assert set(left) == {"other"}, table.name
