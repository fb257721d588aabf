"""Reports that are taken together: one transaction, and an answer for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from coordinator.domain import (
    Acknowledgement,
    ForgedReportError,
    RunFullError,
    StorageError,
    UnknownRunError,
)
from coordinator.registration import sign
from coordinator.reports.batches import one_of_each_peer
from coordinator.reports.progress import Ledger
from coordinator.reports.room import HourlyRows, Limits, Room
from coordinator.service import Answer, CoordinatorService
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from tests.reporting import identity, outcome, peer, report, round_message, signed_report

NOW = 1000.0
SMALL = Limits(peers_per_run=2, rows_per_hour=3, silent_seconds=60.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as opened:
        yield opened


@pytest.fixture
def service(store: Store) -> CoordinatorService:
    made = CoordinatorService(store, now=lambda: NOW, limits=SMALL)
    made.register(sign(preset("demo"), SigningKey.generate()))
    return made


def taken(*answers: Answer) -> list[tuple[int, int]]:
    """What acknowledged reports are answered: sequence and row."""
    assert all(isinstance(answer, Acknowledgement) for answer in answers), answers
    return [(it.sequence, it.taken_row) for it in answers if isinstance(it, Acknowledgement)]


def test_one_batch_keeps_what_holds_and_refuses_the_rest(
    service: CoordinatorService, store: Store
) -> None:
    forged = signed_report(identity(0))
    forged.payload += b" "
    first, second, third, fourth = service.take_reports(
        [
            signed_report(identity(0), sequence=7, rounds=[round_message(1)]),
            forged,
            signed_report(identity(1), sequence=8, rounds=[round_message(1)]),
            signed_report(identity(1), run_id="nope"),
        ]
    )
    assert taken(first, third) == [(7, 0), (8, 0)]
    assert isinstance(second, ForgedReportError)
    assert isinstance(fourth, UnknownRunError)
    assert service.progress("demo").rounds[0].finished_by == 2
    assert store.history.rounds("demo")[0][0].finished_by == 2


def test_two_reports_of_one_peer_in_a_batch_are_judged_one_after_the_other(
    service: CoordinatorService,
) -> None:
    told = signed_report(
        identity(), sequence=1, journal=b"j", last_row=1, rounds=[round_message(1)]
    )
    next_told = signed_report(
        identity(), sequence=2, journal=b"j", after_row=1, last_row=2, rounds=[round_message(2)]
    )
    answers = service.take_reports([told, next_told, told])
    assert taken(*answers) == [(1, 1), (2, 2), (2, 2)]
    assert service.progress("demo").rounds_committed == 2


def test_waves_hold_each_peer_once_and_in_order() -> None:
    names = ["QmAnna", "QmBert", "QmAnna", "QmCleo", "QmAnna", "QmBert"]
    reports = {place: report(peer_id=name) for place, name in enumerate(names)}
    reports[6] = replace(report(peer_id="QmAnna"), run_id="other")
    assert [list(wave) for wave in one_of_each_peer(reports)] == [[0, 1, 3, 6], [2, 5], [4]]


def test_a_disk_that_fails_leaves_disk_and_memory_as_they_were(
    service: CoordinatorService, store: Store
) -> None:
    batch = [signed_report(identity(number), rounds=[round_message(1)]) for number in range(2)]
    with mock.patch.object(store, "keep_all", side_effect=StorageError("the disk is full")):
        answers = service.take_reports(batch)
    assert [type(answer) for answer in answers] == [StorageError, StorageError]
    assert service.progress("demo").peers == ()
    assert (store.peers("demo"), store.history.rounds("demo")) == ([], ([], None))
    assert taken(*service.take_reports(batch)) == [(1, 0), (1, 0)], "they come again"


# ---- room ------------------------------------------------------------------------------


def full_ledger(*received_at: float) -> Ledger:
    ledger = Ledger()
    for number, at in enumerate(received_at):
        ledger.see(peer(f"Qm{number}", received_at=at))
    return ledger


def test_a_peer_tells_so_much_an_hour_and_goes_on_in_the_next() -> None:
    rows, ledger = HourlyRows(), Ledger()
    told = report([outcome(1), outcome(2)], peer_id="QmAnna")
    Room(SMALL, rows, NOW).admit(ledger, told)
    rows.add(told, NOW)
    with pytest.raises(RunFullError, match="3 rounds an hour"):
        Room(SMALL, rows, NOW).admit(ledger, told)
    Room(SMALL, rows, NOW).admit(ledger, report([outcome(3)], peer_id="QmAnna"))
    Room(SMALL, rows, NOW).admit(ledger, replace(told, peer=peer("QmBert")))
    Room(SMALL, rows, NOW + 3600).admit(ledger, told)


def test_strangers_without_number_tell_no_more_than_a_run_takes_in_an_hour() -> None:
    rows, ledger = HourlyRows(), Ledger()
    limits = Limits(run_rows_per_hour=5)
    told = report([outcome(1), outcome(2)], peer_id="QmAnna")
    Room(limits, rows, NOW).admit(ledger, told)
    rows.add(told, NOW)
    room = Room(limits, rows, NOW)
    room.admit(ledger, replace(told, peer=peer("QmBert")))
    with pytest.raises(RunFullError, match="5 words on rounds are taken of run demo"):
        room.admit(ledger, replace(told, peer=peer("QmCleo")))  # in the same batch
    room.admit(ledger, report(peer_id="QmDora"))  # who has no news is heard all the same
    Room(limits, rows, NOW + 3600).admit(ledger, told)


def test_newcomers_of_one_batch_cannot_take_the_same_seat() -> None:
    room, ledger = Room(SMALL, HourlyRows(), NOW), full_ledger(NOW)
    room.admit(ledger, report(peer_id="QmAnna"))
    with pytest.raises(RunFullError, match="2 peers"):
        room.admit(ledger, report(peer_id="QmBert"))


def test_each_newcomer_takes_the_seat_of_another_silent_peer() -> None:
    room, ledger = Room(SMALL, HourlyRows(), NOW), full_ledger(NOW - 100, NOW - 200)
    room.admit(ledger, report(peer_id="QmAnna"))
    room.admit(ledger, report(peer_id="QmBert"))
    assert room.forgotten["demo"] == {"Qm0", "Qm1"}
    with pytest.raises(RunFullError, match="2 peers"):
        room.admit(ledger, report(peer_id="QmCleo"))


def test_a_forgotten_peer_that_reports_in_the_same_batch_needs_a_seat_again() -> None:
    room, ledger = Room(SMALL, HourlyRows(), NOW), full_ledger(NOW - 100, NOW)
    room.admit(ledger, report(peer_id="QmAnna"))
    with pytest.raises(RunFullError, match="2 peers"):
        room.admit(ledger, report(peer_id="Qm0"))
