"""From reports to what the pages show: rounds, plots, leaders, a table of thousands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coordinator.domain import UnknownRunError
from coordinator.registration import sign
from coordinator.reports.progress import Ledger
from coordinator.service import CoordinatorService
from coordinator.spectators.looking_back import LookingBack
from coordinator.spectators.participants import Column, Wanted, page
from coordinator.spectators.reading import Reading
from coordinator.spectators.sampling import SAMPLE_SECONDS, Sampling
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2
from tests.reporting import identity, peer, round_message, signed_report

BEGAN = 1_700_000_000.0
ANNA, BELA = identity(0), identity(1)


@dataclass
class Scene:
    """A coordinator whose clock a test moves."""

    store: Store
    owner: SigningKey
    now: float = BEGAN
    sequence: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service = CoordinatorService(self.store, now=self.clock)
        self.service.register(sign(preset("demo"), self.owner))
        self.sampling = Sampling(self.service, self.store, self.clock)
        self.reading = Reading(
            self.service, self.store, lambda _: None, lambda run_id: run_id, self.clock
        )

    def clock(self) -> float:
        return self.now

    def round(self, number: int, committed: bool = True, speed: float = 100.0) -> None:
        """Anna and Béla tell of a round that ended now."""
        self.sequence += 1
        for author, name, share in ((ANNA, "anna", 300), (BELA, "béla", 100)):
            row = self.rows.get(name, 0)
            self.rows[name] = row + 1
            told = round_message(
                number,
                attempt=f"{number} {committed}".encode(),
                committed=committed,
                included=committed,
                own_tokens=share,
                run_tokens=400 * number,
                bytes_sent=1000,
                seconds=2.0,
                round_seconds=10.0,
                members=2,
                train_loss=3.0,
                finished_at_ms=int(self.now * 1000),
                reason="" if committed else "no majority; 203.0.113.7:4001 is silent",
            )
            losses = [coordinator_pb2.Validation(round=number, run_tokens=400 * number, loss=2.5)]
            self.service.take_report(
                signed_report(
                    author,
                    name=name,
                    sequence=self.sequence,
                    tokens_per_second=speed if name == "anna" else 10.0,
                    rounds=[told],
                    validations=losses if committed else [],
                    journal=name.encode(),
                    after_row=row,
                    last_row=row + 1,
                )
            )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    owner = SigningKey.load_or_create(tmp_path / "owner.key")
    with closing(Store.open(tmp_path / "c.sqlite")) as store:
        yield Scene(store, owner)


@pytest.fixture
def past(scene: Scene) -> Iterator[LookingBack]:
    with closing(scene.reading.looking_back()) as it:
        yield it


def test_rounds_are_rows_with_who_was_in_each(scene: Scene, past: LookingBack) -> None:
    scene.round(1)
    scene.now += 10
    scene.round(2, committed=False)
    scene.now += 10
    scene.round(2)
    newest, void, first = past.rounds("demo", None, 10).rows
    assert (newest.round, newest.committed, newest.at) == (2, True, scene.now)
    assert (void.round, void.committed) == (2, False)
    assert void.reason == "no majority; (address hidden) is silent"
    assert (first.round, first.tokens, first.digests) == (1, 400, 1)
    assert (first.computing_seconds, first.exchange_seconds) == (8.0, 2.0)
    assert first.bytes_sent == 2000
    assert {(it.name, it.included, it.tokens) for it in first.members} == {
        ("anna", True, 300),
        ("béla", True, 100),
    }
    assert past.rounds("demo", None, 1).older == 2
    assert [it.round for it in past.rounds("demo", 2, 10).rows] == [1]


def test_plots_show_how_a_run_went(scene: Scene, past: LookingBack) -> None:
    for number in range(1, 7):
        scene.now += SAMPLE_SECONDS
        scene.round(number, speed=100.0)
        scene.sampling.pass_time()
    scene.now += 1
    series = past.series("demo", 300, 0.0)
    assert [it.round for it in series.validation] == [1, 2, 3, 4, 5, 6]
    assert all(it.loss == pytest.approx(3.0) for it in series.training)
    assert series.rounds.exchange_seconds == (2.0,) * 6
    assert series.rounds.computing_seconds == (8.0,) * 6
    assert series.peers_live == (2.0,) * 6
    fastest, second = series.tokens_per_second
    assert (fastest.name, fastest.values) == ("anna", (100.0,) * 6)
    assert (second.name, second.values) == ("béla", (10.0,) * 6)


def test_no_plot_has_more_points_than_asked(scene: Scene, past: LookingBack) -> None:
    for number in range(1, 31):
        scene.now += SAMPLE_SECONDS
        scene.round(number)
        scene.sampling.pass_time()
    series = past.series("demo", 7, 0.0)
    for points in (series.validation, series.training, series.at, series.rounds.at):
        assert 0 < len(points) <= 8
    assert series.validation[-1].round == 30, "the newest is there"


def test_where_only_void_attempts_were_nothing_was_exchanged(
    scene: Scene, past: LookingBack
) -> None:
    scene.round(1, committed=False)
    scene.now += 1
    rounds = past.series("demo", 300, 0.0).rounds
    assert (rounds.exchange_seconds, rounds.bytes_sent, rounds.void) == ((None,), (None,), (1,))


def test_a_run_that_nobody_joined_has_empty_pages(scene: Scene, past: LookingBack) -> None:
    scene.now += 2 * SAMPLE_SECONDS
    scene.sampling.pass_time()
    assert past.rounds("demo", None, 10).rows == ()
    assert past.series("demo", 300, 0.0).at == ()
    assert past.leaders_of_the_week("demo").rows == ()
    assert scene.reading.leaders("demo").rows == ()
    assert scene.reading.overview("demo").seconds_left is None


def test_leaders_of_all_time_and_of_the_week(scene: Scene, past: LookingBack) -> None:
    scene.round(1)
    scene.now += 30 * 86_400
    assert [it.name for it in scene.reading.leaders("demo").rows] == ["anna", "béla"]
    assert past.leaders_of_the_week("demo").rows == ()
    scene.round(2)
    leader = past.leaders_of_the_week("demo").rows[0]
    assert (leader.place, leader.name, leader.tokens, leader.share) == (1, "anna", 300, 0.75)
    assert scene.reading.leaders("demo").rows[0].tokens == 600


def test_the_headline_knows_the_pace_and_the_age_of_its_figures(scene: Scene) -> None:
    for number in range(1, 5):
        scene.now += 10
        scene.round(number)
    scene.now += 3
    told = scene.reading.overview("demo")
    assert told.condition == "training"
    assert told.last_round_seconds_ago == pytest.approx(3.0)
    assert told.validation_round == 4
    assert told.validation_seconds_ago == pytest.approx(3.0)
    assert told.seconds_left == pytest.approx((told.target_tokens - 1600) / 40.0)
    assert told.report_seconds_ago == pytest.approx(3.0)
    scene.now += 60
    gone = scene.reading.overview("demo")
    assert gone.condition == "waiting"
    assert "no peer is live" in gone.reason
    assert gone.seconds_left is None


def test_a_participant_has_its_receipts_and_the_day_it_came(scene: Scene) -> None:
    scene.round(1)
    scene.now += 5
    scene.round(2)
    row = scene.reading.participant("demo", ANNA.peer_id)
    assert (row.tokens, row.rounds, row.share) == (600, 2, 0.75)
    assert row.joined_at == pytest.approx(BEGAN)
    receipts = scene.reading.receipts("demo", ANNA.peer_id, None, 1)
    assert [it.round for it in receipts.rows] == [2]
    assert receipts.older == 2
    older = scene.reading.receipts("demo", ANNA.peer_id, receipts.older, 1)
    assert ([it.round for it in older.rows], older.older) == ([1], None)


def test_events_of_a_run_that_is_not_there_are_no_empty_list(scene: Scene) -> None:
    with pytest.raises(UnknownRunError):
        scene.reading.events("nobody", None, 10)


def test_a_round_is_news_once_and_again_when_more_is_known(scene: Scene) -> None:
    scene.round(1)
    began = scene.reading.news("demo", None)
    assert began.rounds == (), "what was before is on the page already"
    scene.now += 10
    scene.round(2, committed=False)
    scene.round(2)
    more = scene.reading.news("demo", began.cursor)
    assert [(it.round, it.committed) for it in more.rounds] == [(2, False), (2, True)]
    assert scene.reading.news("demo", more.cursor).rounds == ()


# ---- the table ---------------------------------------------------------------------------


def crowd() -> Ledger:
    ledger = Ledger()
    for number in range(300):
        ledger.see(
            peer(
                f"Qm{number:03}",
                name=f"peer {number % 100}",
                tokens_per_second=float(number),
                train_loss=None if number % 3 else number / 100,
                received_at=1000.0 + number / 10,
            )
        )
    return ledger


def nobody(_: str) -> bool:
    return False


def test_the_table_is_sorted_and_shown_a_page_at_a_time() -> None:
    wanted = Wanted(sort="tokens_per_second", offset=10, limit=5)
    found = page(crowd(), wanted, 1000.0, nobody)
    assert found.total == 300
    assert [row.tokens_per_second for row in found.rows] == [289.0, 288.0, 287.0, 286.0, 285.0]


@pytest.mark.parametrize("descending", [True, False])
def test_who_has_no_figure_comes_last_whichever_way(descending: bool) -> None:
    wanted = Wanted(sort="train_loss", descending=descending, limit=300)
    losses = [row.train_loss for row in page(crowd(), wanted, 1000.0, nobody).rows]
    known = [loss for loss in losses if loss is not None]
    assert losses[: len(known)] == sorted(known, reverse=descending)
    assert len(known) == 100


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", ["name", "tokens", "tokens_per_second", "train_loss", "processor"])
def test_small_pages_one_after_another_are_the_whole_table(sort: Column, descending: bool) -> None:
    ledger = crowd()
    whole = page(ledger, Wanted(sort=sort, descending=descending, limit=300), 1000.0, nobody).rows
    assert len({row.peer_id for row in whole}) == 300
    for size in (7, 29, 110):
        pages = [
            page(ledger, Wanted("", sort, descending, None, start, size), 1000.0, nobody).rows
            for start in range(0, 300 + size, size)
        ]
        assert tuple(row for rows in pages for row in rows) == whole


def test_a_volunteer_finds_their_own_machine() -> None:
    found = page(crowd(), Wanted(search="PEER 42"), 1000.0, nobody)
    assert (found.total, {row.name for row in found.rows}) == (3, {"peer 42"})
    assert page(crowd(), Wanted(search="qm007"), 1000.0, nobody).rows[0].peer_id == "Qm007"


def test_those_who_are_away_are_told_from_those_who_are_here() -> None:
    now = 1000.0 + 15 + 10.05
    assert page(crowd(), Wanted(live=True), now, nobody).total == 199
    away = page(crowd(), Wanted(live=False), now, nobody)
    assert away.total == 101
    assert not any(row.tokens_per_second for row in away.rows), "who is away trains nothing"


def test_a_banned_peer_is_marked() -> None:
    rows = page(crowd(), Wanted(limit=300), 1000.0, lambda it: it == "Qm007").rows
    assert [row.peer_id for row in rows if row.banned] == ["Qm007"]


def test_who_gave_no_name_is_known_by_the_end_of_its_id() -> None:
    ledger = Ledger()
    ledger.see(peer("QmAnnaBela", name=" "))
    assert page(ledger, Wanted(), 1000.0, nobody).rows[0].name == "peer …naBela"
    assert math.isfinite(page(ledger, Wanted(), 1000.0, nobody).rows[0].share)
