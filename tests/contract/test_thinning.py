"""What is old is thinned, and no sum changes by it."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from coordinator.domain import Event, EventKind, Receipt, Validation
from coordinator.history import DAY, HOUR
from coordinator.storage import schema
from coordinator.storage.store import Store
from coordinator.storage.thinning import Keep, Stored, receipts_horizon, sparser
from tests.contract.stores import RUN, Where
from tests.reporting import outcome, report

NOW = 400.0 * DAY
LITTLE = Keep(
    receipts_seconds=DAY,
    attempts_seconds=2 * DAY,
    hours_seconds=4 * DAY,
    minutes_seconds=HOUR,
    events=5,
    validations=8,
)


def thin(store: Store, now: float = NOW, keep: Keep = LITTLE) -> int:
    """Thin until nothing is left to be thinned; in how many steps."""
    return sum(1 for _ in store.thinner.steps(now, keep))


def tell(store: Store, round_: int, at: float, *peers: str, **fields: object) -> None:
    """Peers tell of a round that ended at `at`, and get their receipts for it."""
    with store.together():  # one wait for the disk
        for peer_id in peers:
            _tell(store, round_, at, peer_id, **fields)


def _tell(store: Store, round_: int, at: float, peer_id: str, **fields: object) -> None:
    told = outcome(round_, peer_id, finished_at_ms=int(at * 1000), **fields)
    news = store.news_of([report([told], peer_id=peer_id, received_at=at, sequence=round_)])
    store.keep_all(news)
    if news[0].outcomes and told.committed and told.attempt:
        store.receipts.keep("demo", [receipt(round_, peer_id, at, told.included)])


def receipt(round_: int, peer_id: str, at: float, included: bool = True) -> Receipt:
    return Receipt(
        peer_id=peer_id,
        round=round_,
        attempt=f"attempt at {round_}".encode(),
        claimed_tokens=300,
        merged_tokens=300 if included else 0,
        included=included,
        reason="" if included else f"late in {round_}",
        observed=round_ % 2 == 0,
        witnesses=1,
        at=at,
    )


def sums(store: Store) -> tuple[object, ...]:
    """All that thinning must leave as it is."""
    counts, credits_ = store.history.counts("demo"), store.receipts.credits("demo")
    curve = store.curves.rounds("demo", 0.0, NOW, 50)
    return (
        counts,
        credits_,
        sum(it.committed for it in curve),
        sum(it.void for it in curve),
        round(sum(it.committed * it.seconds for it in curve), 6),
        store.history.totals_since("demo", 0, DAY),
    )


def rows(store: Store, name: str) -> int:
    with store.together() as connection:
        table = schema.metadata.tables[name]
        return connection.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("seed", range(3))
def test_no_sum_changes_whatever_is_told_and_thinned_in_whatever_order(
    store: Store, where: Where, seed: int
) -> None:
    chance = random.Random(seed)
    expected: Counter[str] = Counter()
    told: set[tuple[str, int]] = set()
    at = NOW - 12 * DAY
    for round_ in range(1, 41):
        at += chance.uniform(0.01, 0.5) * DAY
        for peer_id in chance.sample(["QmAnna", "QmBob", "QmCarl"], chance.randint(1, 3)):
            included = chance.random() < 0.8
            tell(store, round_, at, peer_id, included=included)
            told.add((peer_id, round_))
            expected[peer_id] += 300 * included
        if chance.random() < 0.3:
            void = {"committed": False, "included": False, "attempt": b"v%d" % round_}
            tell(store, round_, at, "QmAnna", **void)
        if chance.random() < 0.2:
            before = sums(store)
            thin(store, now=at)
            assert sums(store) == before
            again = chance.choice(sorted(told))  # a peer tells something again: nothing is new
            tell(store, again[1], at, again[0])
            assert sums(store) == before
    before = sums(store)
    thin(store)
    assert sums(store) == before
    assert {it.peer_id: it.merged_tokens for it in store.history.totals("demo")} == expected
    assert store.history.counts("demo").committed == len({round_ for _, round_ in told})
    with closing(_reopened(store, where)) as again_open:
        assert sums(again_open) == before


def _reopened(store: Store, where: Where) -> Store:
    store.close()
    return Store.open(where)


def test_what_is_kept_is_as_old_as_it_may_be(store: Store) -> None:
    for day in range(10):
        tell(store, day + 1, NOW - (10 - day) * DAY + 60, "QmAnna", "QmBob")
    thin(store)
    assert [it.round for it in store.history.receipts("demo", "QmAnna")] == [10]
    assert store.history.receipts_since("demo") == pytest.approx(NOW - 2 * DAY + 60)
    assert [it.round for it in store.history.rounds("demo")[0]] == [10, 9]
    assert rows(store, "words") == 2
    with store.together() as connection:
        table = schema.credited
        oldest = connection.scalar(select(func.min(table.c.start)).where(table.c.span == HOUR))
    assert oldest is not None
    assert oldest >= NOW - 6 * DAY
    assert thin(store) == 0, "nothing is left to be thinned"


def test_a_word_that_comes_again_after_it_was_thinned_is_late_and_counted_as_such(
    store: Store,
) -> None:
    old = NOW - 3 * DAY
    tell(store, 5, old, "QmAnna", "QmBob")
    thin(store)
    before = sums(store)
    tell(store, 5, old, "QmAnna")
    store.receipts.keep("demo", [receipt(5, "QmBob", old)])
    assert sums(store) == before
    assert {it.peer_id: it.late for it in store.history.totals("demo")} == {"QmAnna": 0, "QmBob": 1}


def test_a_peer_that_was_cut_off_for_long_is_credited_with_its_old_rounds_once(
    store: Store,
) -> None:
    old = NOW - 3 * DAY
    for round_ in (5, 6):
        tell(store, round_, old, "QmAnna")
    thin(store)
    for _ in range(2):  # the second time is late
        news = store.news_of(
            [
                report(
                    [outcome(it, "QmCarl", finished_at_ms=int(old * 1000)) for it in (5, 6)],
                    peer_id="QmCarl",
                    received_at=NOW,
                )
            ]
        )
        store.keep_all(news)
        store.receipts.keep("demo", [receipt(it.round, "QmCarl", NOW) for it in news[0].outcomes])
    carl = next(it for it in store.history.totals("demo") if it.peer_id == "QmCarl")
    assert (carl.rounds, carl.merged_tokens) == (2, 600)
    assert store.history.receipts("demo", "QmCarl") == []
    assert store.history.counts("demo").committed == 2
    assert rows(store, "words") == 0


def test_too_many_receipts_are_thinned_before_their_time(store: Store) -> None:
    for round_ in range(1, 11):
        tell(store, round_, NOW - 100 + round_, "QmAnna", "QmBob")
    before = sums(store)
    thin(store, keep=replace(LITTLE, receipts=6, attempts=5))
    assert [it.round for it in store.history.receipts("demo", "QmAnna")] == [10, 9, 8]
    assert len(store.history.rounds("demo")[0]) == 5
    assert sums(store) == before


def test_reports_are_taken_between_the_steps(store: Store) -> None:
    for round_ in range(1, 6):
        tell(store, round_, NOW - 5 * DAY + round_, "QmAnna")
    for number, _ in enumerate(store.thinner.steps(NOW, LITTLE)):
        tell(store, 100 + number, NOW, "QmAnna", "QmBob")
        tell(store, 3, NOW - 5 * DAY + 3, "QmAnna")
    totals = {it.peer_id: it.rounds for it in store.history.totals("demo")}
    assert totals["QmAnna"] == 5 + totals["QmBob"]


def test_events_and_validations_are_bounded_and_the_newest_stay(store: Store) -> None:
    events = [Event(0, 5.0, "demo", EventKind.JOINED, str(it)) for it in range(12)]
    store.events.add(events)
    losses = tuple(Validation("QmAnna", it, it, 1.0) for it in range(20))
    store.keep_all(store.news_of([report([], losses)]))
    thin(store)
    assert [it.text for it in store.events.after(0)] == [str(it) for it in range(7, 12)]
    thin(store)
    thin(store)
    kept = [it.round for it in store.curves.validations("demo", 0.0, 100)]
    assert kept[0] == 0
    assert kept[-5:] == [15, 16, 17, 18, 19]
    assert len(kept) <= 10


def test_samples_become_sparser(store: Store) -> None:
    store.keep_all([report()])
    with store.together():
        for minute in range(180):
            store.samples.add("demo", NOW - 3 * HOUR + 60 * minute, 2, 40.0, [("QmAnna", 40.0)])
    thin(store)
    with store.together() as connection:
        counts = Counter(connection.scalars(select(schema.samples.c.span)).all())
    assert counts[60] <= 62
    assert counts[HOUR] >= 3
    curve = store.curves.samples("demo", NOW - 3 * HOUR, NOW, 4)
    assert {it.tokens_per_second for it in curve} == {40.0}


def test_peers_that_were_forgotten_become_one_with_all_their_sums(store: Store) -> None:
    store.add_run(replace(RUN, run_id="other"))
    for number in range(8):
        tell(store, number + 1, NOW - 20 * DAY + number, f"Qm{number}")
    for number in range(6):
        store.forget_peer("demo", f"Qm{number}")
    before = store.history.counts("demo")
    thin(store, keep=replace(LITTLE, peers=5))
    totals = store.history.totals("demo")
    assert sorted(it.peer_id for it in totals) == ["", "Qm3", "Qm4", "Qm5", "Qm6", "Qm7"]
    assert sum(it.merged_tokens for it in totals) == 8 * 300
    assert store.history.counts("demo") == before
    assert "" not in {it.peer_id for it in store.history.totals_since("demo", 0, DAY)}
    tell(store, 50, NOW, "Qm0")
    assert {it.peer_id for it in store.history.totals("demo")} >= {"", "Qm0"}


# ---- the plan --------------------------------------------------------------------------


def test_receipts_go_by_age_or_sooner_if_there_are_too_many() -> None:
    keep = Keep(receipts_seconds=100.0, receipts=10)
    stored = [Stored(at=950.0 + it, words=4) for it in range(5)]
    assert receipts_horizon(keep, 1000.0, stored, words=10) == 900.0
    horizon = receipts_horizon(keep, 1000.0, stored, words=17)
    assert 951.0 < horizon < 952.0
    assert receipts_horizon(keep, 1100.0, stored, words=11) == 1000.0


def test_what_becomes_sparser_keeps_its_first_and_its_newer_half() -> None:
    assert sparser(list(range(10)), keep=10) == []
    assert sparser(list(range(10)), keep=8) == [1, 3]
    assert sparser(list(range(10)), keep=9) == [1]
    assert sparser([], keep=0) == []
