"""The history is thinned while a coordinator serves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from coordinator.domain import StorageError
from coordinator.history import DAY
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from coordinator.storage.thinning import Keep
from coordinator.storage.upkeep import STEPS, THIN_SECONDS, Upkeep
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from tests.reporting import identity, round_message, signed_report


@dataclass
class Clock:
    seconds: float = 100 * DAY

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Kept:
    store: Store
    service: CoordinatorService
    upkeep: Upkeep
    clock: Clock


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    clock = Clock()
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        service = CoordinatorService(store, now=clock)
        service.register(sign(preset("demo"), SigningKey.generate()))
        upkeep = Upkeep(store, clock, Keep(receipts_seconds=DAY))
        yield Kept(store, service, upkeep, clock)


def test_what_is_old_is_thinned_a_few_steps_at_a_time(kept: Kept) -> None:
    rounds = [round_message(number) for number in range(1, 3 * STEPS + 1)]
    kept.service.take_report(signed_report(identity(), rounds=rounds))
    kept.upkeep.pass_time()
    kept.clock.seconds += 2 * DAY
    kept.upkeep.pass_time()
    left = len(kept.store.history.receipts("demo", identity().peer_id))
    assert 0 < left < len(rounds)
    for _ in rounds:
        kept.upkeep.pass_time()
    assert kept.store.history.receipts("demo", identity().peer_id) == []
    before = kept.service.progress("demo")
    assert before.rounds_committed == len(rounds)
    again = CoordinatorService(kept.store, now=kept.clock)
    assert again.progress("demo") == before


def test_a_disk_that_takes_nothing_is_said_and_tried_again(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    failing = mock.patch.object(kept.store.thinner, "steps", side_effect=StorageError("full"))
    with failing as steps, caplog.at_level(logging.WARNING):
        for _ in range(3):
            kept.upkeep.pass_time()
        kept.clock.seconds += THIN_SECONDS
        kept.upkeep.pass_time()
        assert steps.call_count == 2
    assert "not thinned: full" in caplog.text
    kept.clock.seconds += THIN_SECONDS
    kept.upkeep.pass_time()
