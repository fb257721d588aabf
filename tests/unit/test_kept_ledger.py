"""A coordinator that starts again stands where it stood, and reads little for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from coordinator.history import DAY
from coordinator.registration import sign
from coordinator.reports import kept_ledger
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from coordinator.storage.thinning import Keep
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2
from tests.reporting import OTHER_DIGEST, identity, round_message, signed_report

NOW = 100.0 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as opened:
        service = CoordinatorService(opened, now=lambda: NOW)
        service.register(sign(preset("demo"), SigningKey.generate()))
        rounds = [
            *(round_message(number) for number in range(1, 31)),
            round_message(31, committed=False, included=False, attempt=b"void", reason="alone"),
        ]
        losses = [coordinator_pb2.Validation(round=it, loss=5.0 - it / 10) for it in (3, 9, 30)]
        service.take_report(signed_report(identity(), rounds=rounds, validations=losses))
        other = [round_message(2, digest=OTHER_DIGEST), round_message(30, included=False)]
        service.take_report(signed_report(identity(1), rounds=other))
        yield opened


def started(store: Store) -> CoordinatorService:
    return CoordinatorService(store, now=lambda: NOW)


def test_all_that_is_shown_is_the_same(store: Store) -> None:
    facts = started(store).progress("demo")
    assert (facts.rounds_committed, facts.rounds_void, facts.tokens) == (30, 1, 30_000)
    assert not facts.digests_agree
    assert facts.first_validation_loss == pytest.approx(4.7)
    assert facts.validation_loss == pytest.approx(2.0)
    assert facts.rounds[-1].reason == "alone"
    assert started(store).progress("demo") == facts


def test_only_the_newest_rounds_are_read(store: Store) -> None:
    whole = started(store).progress("demo")
    with mock.patch.object(kept_ledger, "KEPT_TALLIES", 5):
        facts = started(store).progress("demo")
    assert len(facts.rounds) == 5
    assert facts.rounds == whole.rounds[-5:]
    assert (facts.rounds_committed, facts.rounds_void) == (30, 1)
    assert not facts.digests_agree
    assert facts.peers == whole.peers


def test_thinning_changes_nothing_of_what_is_counted(store: Store) -> None:
    whole = started(store).progress("demo")
    for _ in store.thinner.steps(NOW + 50 * DAY, Keep()):
        pass
    facts = started(store).progress("demo")
    assert facts.rounds == ()
    assert (facts.rounds_committed, facts.rounds_void, facts.tokens) == (30, 1, 30_000)
    assert facts.peers == whole.peers
    assert facts.digests_agree == whole.digests_agree
    assert facts.validation_loss == whole.validation_loss
