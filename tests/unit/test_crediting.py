"""Receipts in a coordinator's service: on disk with the report, corrected once, told to all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain import Acknowledgement, EventKind, PeerFacts, StorageError
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2
from tests.reporting import DIGEST, identity, round_message, signed_report

ANNA, BERT = identity(0).peer_id, identity(1).peer_id
ATTEMPT = round_message(1).attempt
TRUE = {ANNA: 300, BERT: 200}


class Desk:
    """A coordinator, and what its peers tell it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.service = self.restarted()
        self._sequence = 0

    def restarted(self) -> CoordinatorService:
        self.service = CoordinatorService(self.store, now=lambda: 1000.0)
        return self.service

    def report(self, author: int, **fields: Any) -> Acknowledgement:
        self._sequence += 1
        sealed = signed_report(identity(author), sequence=self._sequence, **fields)
        return self.service.take_report(sealed)

    def merged(self, author: int, tokens: int) -> Acknowledgement:
        """A peer says that round 1 merged so many tokens of it."""
        return self.report(author, rounds=[round_message(1, own_tokens=tokens)])

    def facts(self, peer_id: str) -> PeerFacts:
        (found,) = (it for it in self.service.progress("demo").peers if it.state.peer_id == peer_id)
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        desk = Desk(store)
        desk.service.register(sign(preset("demo"), SigningKey.generate()))
        yield desk


def roster_message(tokens: dict[str, int], **fields: Any) -> coordinator_pb2.RoundRoster:
    members = [
        coordinator_pb2.RosterEntry(peer_id=name, tokens=tokens[name], parts=8, merged=True)
        for name in sorted(tokens)
    ]
    values: dict[str, Any] = {
        "round": 1,
        "attempt": ATTEMPT,
        "digest": DIGEST,
        "parts": 8,
        "members": members,
    }
    return coordinator_pb2.RoundRoster(**(values | fields))


def test_a_boast_counts_until_another_peer_has_told_the_manifest(desk: Desk) -> None:
    desk.merged(0, tokens=3_000)
    assert (desk.facts(ANNA).tokens, desk.facts(ANNA).observed_tokens) == (3_000, 0)
    assert desk.merged(1, tokens=200).wanted_rosters == (ATTEMPT,)
    desk.report(1, rosters=[roster_message(TRUE)])
    assert (desk.facts(ANNA).tokens, desk.facts(ANNA).observed_tokens) == (300, 300)
    assert desk.facts(BERT).observed_tokens == 0, "nobody but itself has told of it"


def test_sums_are_those_of_the_receipts_and_survive_a_restart(desk: Desk) -> None:
    desk.merged(0, tokens=3_000)
    desk.merged(1, tokens=200)
    desk.report(1, rosters=[roster_message(TRUE)])
    left_out = round_message(2, included=False, reason="left out: hung up")
    desk.report(0, rounds=[left_out])
    desk.report(1, rounds=[round_message(2, own_tokens=100)])
    before = {it.state.peer_id: it for it in desk.service.progress("demo").peers}
    after = {it.state.peer_id: it for it in desk.restarted().progress("demo").peers}
    assert after == before
    assert (before[ANNA].rounds_missed, before[ANNA].last_missed_reason) == (1, "left out: hung up")
    for name, facts in after.items():
        receipts = desk.store.history.receipts("demo", name)
        assert [it.round for it in receipts] == [2, 1], "the newest first"
        assert sum(it.merged_tokens for it in receipts) == facts.tokens
        assert sum(it.included for it in receipts) == facts.rounds


def test_what_others_told_before_a_restart_is_not_told_away_after_it(desk: Desk) -> None:
    desk.merged(1, tokens=200)
    desk.report(1, rosters=[roster_message(TRUE)])
    desk.restarted()
    desk.merged(0, tokens=3_000)
    (receipt,) = desk.store.history.receipts("demo", ANNA)
    assert (receipt.merged_tokens, receipt.observed) == (300, True)
    assert desk.facts(ANNA).tokens == 300


def test_a_roster_that_nobody_asked_for_counts_for_nothing(desk: Desk) -> None:
    desk.merged(0, tokens=300)
    desk.report(1, rosters=[roster_message({ANNA: 1, BERT: 10**9})])
    assert (desk.facts(ANNA).tokens, desk.facts(BERT).tokens) == (300, 0)


def test_different_stories_of_a_round_are_told_to_the_runs_owner_once(desk: Desk) -> None:
    desk.merged(0, tokens=300)
    desk.merged(1, tokens=200)
    for _ in range(2):
        desk.report(0, rosters=[roster_message({ANNA: 10**6, BERT: 1})])
        desk.report(1, rosters=[roster_message(TRUE)])
    (dispute,) = (it for it in desk.service.events.newest() if it.kind is EventKind.DISPUTED)
    assert dispute.round == 1
    assert {ANNA[-8:], BERT[-8:]} <= set(dispute.text.replace("…", "").split())


def test_a_roster_counts_once_however_often_it_is_told(desk: Desk) -> None:
    desk.merged(1, tokens=200)
    for _ in range(3):
        desk.report(1, rosters=[roster_message(TRUE)])
    assert [it.merged_tokens for it in desk.store.history.receipts("demo", ANNA)] == [300]


def test_a_report_that_the_disk_did_not_take_has_told_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.merged(1, tokens=200)
    roster = roster_message(TRUE)

    def full(*_: object) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as broken:
        broken.setattr(desk.store.receipts, "keep", full)
        with pytest.raises(StorageError):
            desk.report(1, rosters=[roster])
    assert desk.store.history.receipts("demo", ANNA) == []
    desk.report(1, rosters=[roster])
    assert [it.merged_tokens for it in desk.store.history.receipts("demo", ANNA)] == [300]
