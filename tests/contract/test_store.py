"""What a coordinator's store keeps and tells: the same in SQLite and in PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select

from coordinator.domain import (
    Coverage,
    Event,
    EventKind,
    Invitation,
    Member,
    Outcome,
    Receipt,
    Report,
    Validation,
)
from coordinator.history import DAY, HOUR
from coordinator.reports.receipts import Change
from coordinator.storage import schema
from coordinator.storage.store import Store
from tests.contract.stores import RUN, Where
from tests.reporting import DIGEST, OTHER_DIGEST, outcome, report

VALIDATION = Validation("QmAnna", 2, 2000, 4.5)
COVERAGE = Coverage(round=4, pass_chunks=1000, passes=0, merged_once=110, merged_again=2)


def keep(store: Store, *told: Report) -> list[tuple[list[Outcome], list[Validation]]]:
    """Keep reports as the service does; what of each was new."""
    news = store.news_of(told)
    store.keep_all(news)
    return [(list(new.outcomes), list(new.validations)) for new in news]


def rounds(store: Store) -> list[tuple[int, bytes, bool, int]]:
    """Number, name, end and tellers of the attempts that are kept, the oldest first."""
    found, _ = store.history.rounds("demo")
    return [(it.round, it.attempt, it.committed, it.finished_by) for it in reversed(found)]


def losses(store: Store) -> list[tuple[int, float]]:
    return [(it.round, it.loss) for it in store.curves.validations("demo", 0.0, 100)]


def receipt(round_: int, peer_id: str = "QmAnna", **fields: object) -> Receipt:
    values: dict[str, object] = {
        "attempt": f"attempt at {round_}".encode(),
        "claimed_tokens": 300,
        "merged_tokens": 300,
        "included": True,
        "reason": "",
        "observed": False,
        "witnesses": 1,
        "at": 1000.0,
    }
    return Receipt(peer_id=peer_id, round=round_, **(values | fields))  # type: ignore[arg-type]  # by name


def credit(store: Store, *receipts: Receipt) -> list[Change]:
    """Peers tell of rounds, and get these receipts for them."""
    for it in receipts:
        told = outcome(it.round, it.peer_id, attempt=it.attempt)
        keep(store, report([told], peer_id=it.peer_id, sequence=it.round))
    return store.receipts.keep("demo", receipts)


def reopened(store: Store, where: Where) -> Store:
    store.close()
    return Store.open(where)


def test_a_restart_loses_nothing(store: Store, where: Where) -> None:
    told = report(
        [outcome(1), outcome(2)], [VALIDATION], round=2, train_loss=None, cores=8, energy_joules=7.5
    )
    keep(store, told)
    with closing(reopened(store, where)) as again:
        assert again.runs() == [RUN]
        assert again.peers("demo") == [told.peer]
        assert [it[0] for it in rounds(again)] == [1, 2]
        assert losses(again) == [(2, 4.5)]


def test_a_report_that_comes_twice_adds_nothing(store: Store, where: Where) -> None:
    told = report([outcome(1), outcome(2)], [VALIDATION])
    assert keep(store, told) == [(list(told.outcomes), [VALIDATION])]
    assert keep(store, told) == [([], [])]
    with closing(reopened(store, where)) as again:
        assert keep(again, told) == [([], [])]
        assert [it[3] for it in rounds(again)] == [1, 1]


def test_a_repeated_report_with_more_rounds_adds_only_those(store: Store) -> None:
    keep(store, report([outcome(1)]))
    assert keep(store, report([outcome(1), outcome(2)], sequence=2)) == [([outcome(2)], [])]


def test_the_first_word_of_a_peer_on_a_round_stands(store: Store) -> None:
    keep(store, report([outcome(1)]))
    again = outcome(1, digest=OTHER_DIGEST)
    other_attempt = outcome(1, digest=OTHER_DIGEST, attempt=b"another")
    assert keep(store, report([again, other_attempt], sequence=2)) == [([], [])]
    (only,), _ = store.history.rounds("demo")
    assert only.digests == {DIGEST}


def test_one_report_cannot_tell_a_round_twice(store: Store) -> None:
    twice = [outcome(1), outcome(1), outcome(1, attempt=b"another")]
    told = report(twice, [VALIDATION, Validation("QmAnna", 2, 2000, 9.0)])
    assert keep(store, told) == [([outcome(1)], [VALIDATION])]


def test_void_attempts_at_a_round_are_kept_beside_its_commit(store: Store) -> None:
    told = [
        outcome(1, attempt=b"first", committed=False, included=False, reason="nobody came"),
        outcome(1, attempt=b"second", committed=False, included=False),
        outcome(1, attempt=b"third"),
    ]
    assert keep(store, report(told)) == [(told, [])]
    assert rounds(store) == [
        (1, b"first", False, 1),
        (1, b"second", False, 1),
        (1, b"third", True, 1),
    ]
    counts = store.history.counts("demo")
    assert (counts.committed, counts.void, counts.tokens) == (1, 2, 1000)


def test_who_calls_a_committed_attempt_void_has_only_missed_it(store: Store) -> None:
    missed = outcome(1, "QmAnna", committed=False, included=False, reason="too late")
    keep(store, report([missed]), report([outcome(1, "QmBob")], peer_id="QmBob"))
    keep(store, report([replace(missed, peer_id="QmCarl")], peer_id="QmCarl"))
    (only,), _ = store.history.rounds("demo")
    assert (only.committed, only.finished_by, only.reason) == (True, 1, "")
    assert store.history.counts("demo").void == 0


def test_a_round_has_what_its_members_told_together(store: Store) -> None:
    keep(
        store,
        report([outcome(1, train_loss=2.0, own_tokens=100, bytes_sent=10)]),
        report(
            [outcome(1, "QmBob", train_loss=4.0, own_tokens=300, bytes_sent=30)], peer_id="QmBob"
        ),
        report([outcome(1, "QmCarl", included=False, digest=OTHER_DIGEST)], peer_id="QmCarl"),
    )
    (only,), older = store.history.rounds("demo")
    assert (only.finished_by, only.included, only.bytes_sent) == (3, 2, 40)
    assert only.train_loss == pytest.approx(3.5)
    assert only.digests == {DIGEST, OTHER_DIGEST}
    assert store.history.counts("demo").disagreed == 1
    assert older is None


def test_many_reports_of_many_peers_are_kept_at_once(store: Store) -> None:
    told = [
        report([outcome(1, name)], [replace(VALIDATION, peer_id=name)], peer_id=name)
        for name in ("QmAnna", "QmBob")
    ]
    again = report([outcome(1), outcome(2)], [VALIDATION], sequence=2)
    kept = keep(store, *told, again)
    assert [(len(new), len(validations)) for new, validations in kept] == [(1, 1), (1, 1), (1, 0)]
    assert {it.peer_id: it.sequence for it in store.peers("demo")} == {"QmAnna": 2, "QmBob": 1}
    assert [it[3] for it in rounds(store)] == [2, 1]
    assert keep(store, *told, again) == [([], [])] * 3


def test_what_is_done_together_is_kept_together_or_not_at_all(store: Store, where: Where) -> None:
    with pytest.raises(ZeroDivisionError), store.together():
        failing_half_way(store)
    assert (store.peers("demo"), rounds(store), store.events.newest()) == ([], [], [])
    # what memory remembers of it must be gone too
    told = report([outcome(1)], [VALIDATION])
    assert keep(store, told) == [(list(told.outcomes), [VALIDATION])]
    assert len(store.receipts.keep("demo", [receipt(1)])) == 1
    with closing(reopened(store, where)) as again:
        assert [it.rounds for it in again.history.totals("demo")] == [1]


def failing_half_way(store: Store) -> None:
    keep(store, report([outcome(1)], [VALIDATION]))
    store.receipts.keep("demo", [receipt(1)])
    store.events.add([event("half of it")])
    raise ZeroDivisionError


def test_a_peer_has_one_state_the_last(store: Store) -> None:
    for sequence, phase in ((1, "joining"), (2, "training")):
        keep(store, report(sequence=sequence, phase=phase))
    assert [(it.sequence, it.phase) for it in store.peers("demo")] == [(2, "training")]


def test_forgetting_a_peer_keeps_its_rounds_and_receipts(store: Store) -> None:
    keep(store, report([outcome(1)]))
    store.receipts.keep("demo", [receipt(1)])
    store.forget_peer("demo", "QmAnna")
    store.forget_peer("demo", "QmNobody")
    assert store.peers("demo") == []
    assert len(rounds(store)) == 1
    assert store.receipts.credits("demo")["QmAnna"].tokens == 300


def test_coverage_is_that_of_the_newest_round(store: Store) -> None:
    assert store.coverage("demo") is None
    for number, merged in ((5, 50), (7, 70), (6, 60), (7, 99)):
        keep(store, replace(report(), coverage=replace(COVERAGE, round=number, merged_once=merged)))
    assert store.coverage("demo") == replace(COVERAGE, round=7, merged_once=70)


def test_the_greatest_numbers_that_intake_lets_through_are_kept(store: Store) -> None:
    told = report([outcome(10**9, run_tokens=10**16, bytes_sent=1 << 50)], sequence=(1 << 63) - 1)
    keep(store, told)
    assert store.peers("demo") == [told.peer]
    assert store.history.counts("demo").tokens == 10**16


# ---- receipts --------------------------------------------------------------------------


def test_totals_are_sums_of_receipts(store: Store, where: Where) -> None:
    credit(
        store,
        receipt(1),
        receipt(2, merged_tokens=0, included=False, reason="arrived late"),
        receipt(3, observed=True, merged_tokens=200),
        receipt(1, "QmBob"),
    )
    with closing(reopened(store, where)) as again:
        anna, bob = again.history.totals("demo")
        assert (anna.rounds, anna.missed, anna.claimed_tokens) == (2, 1, 900)
        assert (anna.merged_tokens, anna.observed_tokens) == (500, 200)
        assert (anna.missed_round, anna.missed_reason) == (2, "arrived late")
        assert (bob.peer_id, bob.merged_tokens, bob.joined_at) == ("QmBob", 300, 1000.0)
        assert again.history.totals("demo", "QmBob") == [bob]
        assert again.receipts.credits("demo")["QmAnna"].tokens == 500


def test_a_changed_receipt_takes_the_place_of_the_one_before(store: Store) -> None:
    own_word = receipt(1)
    told_by_others = receipt(1, merged_tokens=0, included=False, reason="not finite", observed=True)
    assert [it.before for it in credit(store, own_word)] == [None]
    (change,) = store.receipts.keep("demo", [told_by_others])
    assert (change.before, change.after) == (own_word, told_by_others)
    assert store.receipts.of_round("demo", 1) == [told_by_others]
    (totals,) = store.history.totals("demo")
    assert (totals.rounds, totals.missed, totals.merged_tokens) == (0, 1, 0)
    store.receipts.keep("demo", [replace(told_by_others, included=True, reason="")])
    (totals,) = store.history.totals("demo")
    assert (totals.rounds, totals.missed, totals.missed_reason) == (1, 0, "")


def test_receipts_of_a_peer_come_by_pages_the_newest_first(store: Store) -> None:
    kept = [receipt(number) for number in range(1, 6)]
    credit(store, *kept)
    credit(store, receipt(9, "QmBob"))
    assert store.history.receipts("demo", "QmAnna", limit=2) == [kept[4], kept[3]]
    assert store.history.receipts("demo", "QmAnna", before=4, limit=2) == [kept[2], kept[1]]
    assert store.history.receipts("demo", "QmNobody") == []


def test_a_round_names_its_members(store: Store) -> None:
    keep(store, report([outcome(1)]), report([outcome(1, "QmBob")], peer_id="QmBob"))
    store.receipts.keep("demo", [receipt(1), receipt(1, "QmBob")])
    (only,), _ = store.history.rounds("demo")
    members = store.history.receipts_of("demo", [only.id])[only.id]
    assert {it.peer_id for it in members} == {"QmAnna", "QmBob"}
    assert len(store.history.receipts_of("demo", [only.id], each=1)[only.id]) == 1


def test_the_leaders_of_some_days_are_those_of_their_receipts(store: Store) -> None:
    old, new = 10 * DAY + 5.0, 17 * DAY + 5.0
    credit(store, receipt(1, at=old), receipt(2, at=new, merged_tokens=50))
    credit(store, receipt(2, "QmBob", at=new, merged_tokens=70))
    leaders = store.history.totals_since("demo", 11 * DAY, DAY)
    assert [(it.peer_id, it.merged_tokens, it.rounds) for it in leaders] == [
        ("QmBob", 70, 1),
        ("QmAnna", 50, 1),
    ]
    assert len(store.history.totals_since("demo", 0, HOUR, limit=1)) == 1


# ---- rounds ----------------------------------------------------------------------------


def test_rounds_come_by_pages_with_all_attempts_at_a_round_together(store: Store) -> None:
    told = [
        outcome(1),
        outcome(2, attempt=b"void", committed=False, included=False),
        outcome(2),
        outcome(3),
    ]
    keep(store, report(told))
    first, older = store.history.rounds("demo", limit=2)
    assert ([it.round for it in first], older) == ([3], 3)
    second, older = store.history.rounds("demo", before=3, limit=2)
    assert ([it.attempt for it in second], older) == ([b"attempt at 2", b"void"], 2)
    third, older = store.history.rounds("demo", before=2, limit=2)
    assert ([it.round for it in third], older) == ([1], None)
    crowded, older = store.history.rounds("demo", before=3, limit=1)
    assert ([it.round for it in crowded], older) == ([2, 2], 2)


def test_rounds_over_time_are_means_over_stretches(store: Store) -> None:
    for number in range(1, 11):
        at = 1000.0 * number
        told = outcome(
            number, finished_at_ms=int(at * 1000), seconds=float(number), round_seconds=60.0
        )
        keep(store, report([told], received_at=at, sequence=number))
    void = outcome(10, attempt=b"v", committed=False, included=False, finished_at_ms=9_900_000)
    keep(store, report([void], received_at=10_000.0, sequence=11))
    curve = store.curves.rounds("demo", 0.0, 10_001.0, 100)
    assert [it.round for it in curve if it.committed] == [*range(1, 11)]
    coarse = store.curves.rounds("demo", 0.0, 10_001.0, 2)
    assert len(coarse) <= 3
    assert sum(it.committed for it in coarse) == 10
    assert sum(it.void for it in coarse) == 1
    assert sum(it.committed * it.seconds for it in coarse) == pytest.approx(55.0)
    assert coarse[-1].run_tokens == 10_000
    assert {it.round_seconds for it in coarse} == {60.0}
    assert store.curves.rounds("demo", 20_000.0, 30_000.0, 10) == []


def test_the_validation_curve_keeps_its_ends(store: Store) -> None:
    told = [Validation("QmAnna", number, 1000 * number, 10.0 - number / 10) for number in range(50)]
    keep(store, report([], told))
    curve = store.curves.validations("demo", 0.0, 10)
    assert len(curve) <= 11
    assert (curve[0].round, curve[-1].round) == (0, 49)
    ends = store.history.first_and_newest_validation("demo")
    assert ends is not None
    assert [validation.round for _, validation in ends] == [0, 49]
    assert store.history.first_and_newest_validation("nope") is None


def test_samples_are_means_over_minutes_or_longer(store: Store) -> None:
    keep(store, report(), report(peer_id="QmBob"))
    start = 100 * DAY
    fastest = [("QmAnna", 30.0), ("QmBob", 10.0), ("QmNobody", 1.0)]
    with store.together():
        for minute in range(120):
            store.samples.add("demo", start + 60 * minute, 2 + minute // 60, 40.0, fastest)
    fine = store.curves.samples("demo", start, start + 7200, 500)
    assert len(fine) == 120
    assert (fine[0].peers_live, fine[-1].peers_live) == (2.0, 3.0)
    assert dict(fine[0].speeds) == {"QmAnna": 30.0, "QmBob": 10.0}
    coarse = store.curves.samples("demo", start, start + 7200, 4)
    assert [(it.at, it.peers_live) for it in coarse] == [(start, 2.0), (start + HOUR, 3.0)]
    assert dict(coarse[0].speeds) == {"QmAnna": 30.0, "QmBob": 10.0}
    assert store.curves.samples("demo", start + 10 * DAY, start + 11 * DAY, 10) == []


def test_a_reader_sees_what_is_kept_through_a_connection_of_its_own(store: Store) -> None:
    with closing(store.reader()) as reader:
        keep(store, report([outcome(1)]))
        assert [it.round for it in reader.history.rounds("demo")[0]] == [1]
        with store.together():
            keep(store, report([outcome(2)], sequence=2))
            assert [it.round for it in reader.history.rounds("demo")[0]] == [1]
        assert reader.curves.rounds("demo", 0.0, 2000.0, 10)


# ---- events ----------------------------------------------------------------------------


def event(text: str, run_id: str = "demo") -> Event:
    return Event(0, 5.0, run_id, EventKind.JOINED, text, "QmAnna", 3)


def test_events_are_numbered_over_all_runs_and_read_from_either_end(store: Store) -> None:
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


# ---- membership ------------------------------------------------------------------------


def test_the_newest_orders_of_a_run_stand(store: Store) -> None:
    assert store.membership.orders() == {}
    for signed in (b"first", b"second"):
        store.membership.set_orders("demo", signed)
    assert store.membership.orders() == {"demo": b"second"}


def test_an_invitation_lets_in_as_many_as_it_says_and_not_for_ever(store: Store) -> None:
    twice, forever = Invitation(b"2", 2, 100.0, 1.0), Invitation(b"n", None, 100.0, 2.0)
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


def test_members_and_bans_are_kept(store: Store, where: Where) -> None:
    anna = Member("QmAnna", 1.0, 2.0, b"hash")
    banned = replace(anna, banned_at=3.0, ban_reason="noise")
    store.membership.put_member("demo", anna)
    store.membership.put_member("demo", banned)
    store.membership.put_member("demo", Member("QmBob", banned_at=4.0, ban_reason="more"))
    with closing(reopened(store, where)) as again:
        assert again.membership.member("demo", "QmAnna") == banned
        assert again.membership.member("demo", "QmCarl") is None
        assert [it.peer_id for it in again.membership.members("demo")] == ["QmAnna", "QmBob"]


# ---- the end of a run ------------------------------------------------------------------


def fill(store: Store, run_id: str) -> None:
    """A row in every table."""
    told = report([outcome(1)], [VALIDATION], run_id)
    keep(store, replace(told, coverage=COVERAGE))
    store.receipts.keep(run_id, [receipt(1)])
    store.samples.add(run_id, 5.0, 1, 10.0, [("QmAnna", 10.0)])
    store.events.add([event("came", run_id)])
    store.membership.set_orders(run_id, b"signed")
    store.membership.put_member(run_id, Member("QmAnna"))
    store.membership.add_invitation(run_id, Invitation(b"s", None, 100.0, 2.0))


def test_a_deleted_run_is_gone_with_all_that_is_known_of_it(store: Store) -> None:
    fill(store, "demo")
    before = row_counts(store)
    store.add_run(replace(RUN, run_id="other"))
    fill(store, "other")
    store.delete_run("demo")
    assert [it.run_id for it in store.runs()] == ["other"]
    assert row_counts(store) == before
    store.add_run(RUN)
    fill(store, "demo")
    assert len(rounds(store)) == 1


def test_the_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    with store.together() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def row_counts(store: Store) -> dict[str, int]:
    with store.together() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in schema.metadata.sorted_tables
        }
