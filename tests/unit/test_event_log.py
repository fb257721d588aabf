"""Events are kept first and told then; a coordinator that comes back goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.domain import Event, EventKind, StorageError
from coordinator.happenings.event_log import MOST_UNKEPT, EventLog
from coordinator.happenings.happening import Happening
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from tests.reporting import identity, signed_report

BANNED = Happening(EventKind.BANNED, "anna is banned", "QmAnna")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as opened:
        yield opened


class FullDisk:
    """A store that takes nothing while `full`."""

    def __init__(self) -> None:
        self.full = True
        self.kept: list[Event] = []

    def add(self, events: Sequence[Event]) -> list[Event]:
        if self.full:
            raise StorageError("the disk is full")
        self.kept += events
        return list(events)

    def newest(
        self, before: int | None = None, run_id: str | None = None, limit: int = 100
    ) -> list[Event]:
        return self.kept[::-1]

    def after(self, number: int, run_id: str | None = None, limit: int = 1000) -> list[Event]:
        return self.kept


def test_a_report_that_makes_news_is_heard_of_with_its_number(store: Store, tmp_path: Path) -> None:
    service = CoordinatorService(store, now=lambda: 1000.0)
    service.register(sign(preset("demo"), SigningKey.load_or_create(tmp_path / "owner.key")))
    heard: list[Event] = []
    stop = service.events.listen(heard.extend)
    service.take_report(signed_report(identity(), name="anna"))
    service.events.record("demo", BANNED)
    assert [(event.number, event.text) for event in heard] == [
        (1, "anna joined"),
        (2, "anna is banned"),
    ]
    assert store.events.after(0) == heard
    stop()
    service.events.record("demo", BANNED)
    assert len(heard) == 2


def test_a_coordinator_that_was_killed_does_not_announce_its_peers_again(
    store: Store, tmp_path: Path
) -> None:
    first = CoordinatorService(store, now=lambda: 1000.0)
    first.register(sign(preset("demo"), SigningKey.load_or_create(tmp_path / "owner.key")))
    first.take_report(signed_report(identity(), name="anna"))
    # nothing is closed: as after kill -9
    second = CoordinatorService(store, now=lambda: 5000.0)
    second.take_report(signed_report(identity(), name="anna", sequence=2))
    second.pass_time()
    assert [event.text for event in store.events.after(0)] == ["anna joined"]


def test_events_wait_for_a_full_disk_and_are_told_in_their_order() -> None:
    disk = FullDisk()
    log = EventLog(disk, now=lambda: 1000.0)
    heard: list[Event] = []
    log.listen(heard.extend)
    log.record("demo", Happening(EventKind.JOINED, "first"))
    log.record("demo", Happening(EventKind.LEFT, "second"))
    assert not heard, "what is not kept is not announced: it could be told twice, or never again"
    disk.full = False
    log.record("demo", Happening(EventKind.BACK, "third"))
    assert [event.text for event in heard] == ["first", "second", "third"]


def test_what_waits_for_a_full_disk_is_bounded_and_the_loss_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = FullDisk()
    log = EventLog(disk, now=lambda: 1000.0)
    for number in range(MOST_UNKEPT + 3):
        log.record("demo", Happening(EventKind.JOINED, str(number)))
    disk.full = False
    log.record("demo", BANNED)
    assert len(disk.kept) == MOST_UNKEPT + 1
    assert disk.kept[0].text == "3"
    assert "1 events are lost" in caplog.text
