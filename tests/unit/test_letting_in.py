"""Who is let into a run by invitation, who stays in it, and what each refusal says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain import ForgedReportError, UnknownRunError
from coordinator.membership.admission import FRESH_SECONDS, MAX_REQUEST_BYTES
from coordinator.membership.refusals import (
    InvalidRequestError,
    NotAdmittedError,
    NotInChargeError,
    RunStateError,
)
from coordinator.membership.run_life import Plan
from coordinator.storage.store import Store
from swarmpb.membership import RunState, id_digest, read_certificate, read_orders
from swarmpb.signing import BadSignatureError, SigningKey
from swarmpb.v1 import membership_pb2
from tests.owner import Office
from tests.reporting import identity, signed_report

ANNA, BERT = identity(0), identity(1)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        yield Office(store, tmp_path)


def certified(office: Office, admission: membership_pb2.Admission, peer_id: str) -> bool:
    """Whether other peers would take this certificate now."""
    data = admission.certificate.SerializeToString()
    try:
        read_certificate(data, office.run_identity, office.key.public_key, peer_id, office.clock())
    except BadSignatureError:
        return False
    return True


# ---- open runs -------------------------------------------------------------------------


def test_an_open_run_asks_for_no_invitation_and_gives_orders_only(office: Office) -> None:
    admission = office.admit(ANNA)
    assert not admission.HasField("certificate")
    assert read_orders(admission.orders, office.run_identity).state == RunState.OPEN
    assert office.authority.members.of("demo") == {}, "strangers write nothing"


# ---- by invitation ---------------------------------------------------------------------


def test_an_invitation_lets_a_peer_in_for_a_day_and_itself_alone(office: Office) -> None:
    office.close_the_door()
    admission = office.admit(ANNA, invite=office.invite(uses=1))
    assert certified(office, admission, ANNA.peer_id)
    assert not certified(office, admission, BERT.peer_id), "another peer's identity"
    office.clock.seconds += 24 * 3600 + 1
    assert not certified(office, admission, ANNA.peer_id), "it has expired"


def test_a_used_up_invitation_still_serves_those_that_came_with_it(office: Office) -> None:
    office.close_the_door()
    secret = office.invite(uses=1)
    for _ in range(3):  # an answer was lost, or a recording is played again: it costs no use
        assert certified(office, office.admit(ANNA, invite=secret), ANNA.peer_id)
    with pytest.raises(NotAdmittedError, match="used up"):
        office.admit(BERT, invite=secret)


def test_a_member_comes_back_without_its_invitation(office: Office) -> None:
    office.close_the_door()
    office.admit(ANNA, invite=office.invite(uses=1))
    office.clock.seconds += 90 * 86_400
    assert certified(office, office.admit(ANNA), ANNA.peer_id)
    assert certified(office, office.restarted().admit(ANNA), ANNA.peer_id)


def test_an_expired_invitation_an_unknown_one_and_none_are_told_apart(office: Office) -> None:
    office.close_the_door()
    secret = office.invite(seconds=60)
    office.clock.seconds += 60
    with pytest.raises(NotAdmittedError, match="has expired"):
        office.admit(ANNA, invite=secret)
    for unknown in ("x" * 22, "x" * 4000):
        with pytest.raises(NotAdmittedError, match="no such invitation"):
            office.admit(ANNA, invite=unknown)
    with pytest.raises(NotAdmittedError, match="by invitation: join with the link"):
        office.admit(ANNA)


def test_a_coordinator_that_lost_its_disk_knows_members_by_their_certificates(
    office: Office, tmp_path: Path
) -> None:
    office.close_the_door()
    held = office.admit(ANNA, invite=office.invite(uses=1))
    certificate = held.certificate.SerializeToString()
    with closing(Store.open(tmp_path / "new.sqlite")) as store:
        rebuilt = Office(store, tmp_path, owner=office.owner, key=office.key, clock=office.clock)
        rebuilt.close_the_door()
        with pytest.raises(NotAdmittedError):
            rebuilt.admit(BERT, certificate=certificate)
        rebuilt.clock.seconds += 25 * 3600
        assert certified(rebuilt, rebuilt.admit(ANNA, certificate=certificate), ANNA.peer_id)
    with closing(Store.open(tmp_path / "late.sqlite")) as store:
        late = Office(store, tmp_path, owner=office.owner, key=office.key, clock=office.clock)
        late.close_the_door()
        late.clock.seconds += 60 * 86_400
        with pytest.raises(NotAdmittedError):
            late.admit(ANNA, certificate=certificate)


# ---- refusals --------------------------------------------------------------------------


def test_a_banned_peer_is_refused_with_the_owners_words_member_or_not(office: Office) -> None:
    office.close_the_door()
    secret = office.invite()
    office.admit(ANNA, invite=secret)
    office.administration.ban("demo", ANNA.peer_id, "sends noise")
    with pytest.raises(NotAdmittedError, match="banned from run demo: sends noise"):
        office.admit(ANNA, invite=secret)
    office.administration.unban("demo", ANNA.peer_id)
    assert certified(office, office.admit(ANNA), ANNA.peer_id)


@pytest.mark.parametrize("state", [RunState.DRAFT, RunState.FINISHED])
def test_nobody_joins_a_draft_or_a_finished_run(office: Office, state: RunState) -> None:
    office.authority.set_plan(office.run, Plan(state))
    with pytest.raises(RunStateError, match=r"draft|finished"):
        office.admit(ANNA)


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.FINISHING])
def test_a_paused_and_a_finishing_run_can_be_joined(office: Office, state: RunState) -> None:
    office.authority.set_plan(office.run, Plan(state, stop_tokens=10))
    assert office.admit(ANNA).HasField("orders")


@pytest.mark.parametrize(
    ("fields", "refusal", "words"),
    [
        ({"written_at_ms": 0}, NotAdmittedError, "set this machine's clock"),
        ({"run_id": "nope"}, UnknownRunError, "no run named"),
        ({"run_id": "'; DROP TABLE runs; --"}, UnknownRunError, "no run named"),
        ({"spec_hash": b"h" * 32}, NotAdmittedError, "another spec"),
        ({"invite": "x" * MAX_REQUEST_BYTES}, InvalidRequestError, "bytes"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    office: Office, fields: dict[str, Any], refusal: type[Exception], words: str
) -> None:
    with pytest.raises(refusal, match=words):
        office.admit(ANNA, **fields)


def test_a_recorded_request_and_one_of_the_future_are_refused(office: Office) -> None:
    office.close_the_door()
    recorded = office.request(ANNA, invite=office.invite())
    office.clock.seconds += FRESH_SECONDS + 1
    with pytest.raises(NotAdmittedError, match="301 s ago"):
        office.admissions.admit(recorded)
    office.clock.seconds -= 3 * FRESH_SECONDS
    with pytest.raises(NotAdmittedError, match="in the future"):
        office.admissions.admit(recorded)


def test_a_request_that_another_peer_sealed_or_that_means_something_else_is_refused(
    office: Office,
) -> None:
    changed = office.request(ANNA)
    changed.payload += b"\x1a\x01x"
    borrowed = office.request(ANNA)
    borrowed.public_key = BERT.public_key
    report = signed_report(ANNA)
    for envelope in (changed, borrowed, report):
        with pytest.raises(ForgedReportError, match="admission refused"):
            office.admissions.admit(envelope)
    with pytest.raises(InvalidRequestError, match="decoded"):
        office.admissions.admit(ANNA.seal("admission", b"\xff\xff"))


def test_a_coordinator_without_the_right_to_speak_admits_nobody_by_invitation(
    office: Office,
) -> None:
    office.close_the_door()
    office.authority._key = SigningKey.generate()  # as after the loss of the state folder
    with pytest.raises(NotInChargeError, match="coordinator run create"):
        office.admit(ANNA, invite="x" * 22)


# ---- reports ---------------------------------------------------------------------------


def test_a_banned_peer_hears_the_orders_that_say_so_once_and_is_refused_from_then_on(
    office: Office,
) -> None:
    office.service.take_report(signed_report(ANNA, sequence=1))
    office.administration.ban("demo", ANNA.peer_id, "")
    told = office.service.take_report(signed_report(ANNA, sequence=2, round=7))
    assert told.orders is not None
    standing = read_orders(told.orders, office.run_identity)
    assert standing.banned == {id_digest(ANNA.peer_id)}
    serial, sequence = standing.rank
    knows = {"orders_serial": serial, "orders_sequence": sequence}
    with pytest.raises(NotAdmittedError, match="banned"):
        office.service.take_report(signed_report(ANNA, sequence=3, **knows))
    assert office.service.ledger("demo").round == 0, "nothing that it tells is kept"
    assert office.service.take_report(signed_report(BERT, **knows)).orders is None


def test_a_run_by_invitation_takes_reports_of_its_members_only(office: Office) -> None:
    office.close_the_door()
    office.admit(ANNA, invite=office.invite())
    standing = office.authority.orders("demo")
    assert standing is not None
    knows = {"orders_serial": standing.rank[0], "orders_sequence": standing.rank[1]}
    office.service.take_report(signed_report(ANNA, **knows))
    with pytest.raises(NotAdmittedError, match="not admitted"):
        office.service.take_report(signed_report(BERT, **knows))
    assert list(office.service.ledger("demo").peers) == [ANNA.peer_id]
