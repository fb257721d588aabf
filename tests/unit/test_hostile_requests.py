"""Whatever anybody sends, the coordinator has a reason to refuse it: never a bug of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rpc.desk import _STATUS
from coordinator.storage.store import Store
from swarmpb.v1 import admin_pb2, membership_pb2
from tests.owner import Office
from tests.reporting import identity

TEXT = st.one_of(
    st.sampled_from(["demo", "", "nope", "<script>alert(1)</script>", "'; DROP TABLE runs; --"]),
    st.text(max_size=40),
)
BYTES = st.binary(max_size=80)
NUMBER = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63 - 1, 2**63]))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder: Path = tmp_path_factory.mktemp("office")
    with closing(Store.open(folder / "coordinator.sqlite")) as store:
        office = Office(store, folder)
        office.close_the_door()
        yield office


def refused_or_done(work: Callable[[], Any]) -> None:
    """Done, or refused with a status of its own and one line."""
    told = ""
    try:
        work()
    except tuple(_STATUS) as refusal:
        told = str(refusal)
    assert len(told.splitlines()) <= 1, told
    assert len(told) < 2000


ADMISSIONS = st.builds(
    membership_pb2.AdmissionRequest,
    run_id=TEXT,
    spec_hash=BYTES,
    invite=st.text(max_size=200),
    written_at_ms=st.one_of(NUMBER, st.just(1_000_000_000)),
    certificate=BYTES,
)


@settings(max_examples=60, deadline=None)
@given(
    request=st.one_of(ADMISSIONS.map(lambda it: it.SerializeToString()), BYTES), guest=st.booleans()
)
def test_admission(office: Office, request: bytes, guest: bool) -> None:
    office.clock.seconds += 20  # so that this peer does not ask too often
    envelope = identity(0).seal("admission", request)
    envelope.payload = request
    admit = office.admissions.admit_guest if guest else office.admissions.admit
    refused_or_done(lambda: admit(envelope))
    assert office.authority.members.of("demo") == {}


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(["spec", "hash", "owner_key", "signature", ""]),
    noise=BYTES,
    orders=BYTES,
    charter=BYTES,
)
def test_registration_and_restoring(
    office: Office, change: str, noise: bytes, orders: bytes, charter: bytes
) -> None:
    request = office.registration(serial=3)
    if change:
        setattr(request.spec, change, noise)
    request.charter.charter = charter
    signed = membership_pb2.SignedOrders(orders=orders, charter=request.charter)
    before = office.authority.orders("demo")
    refused_or_done(lambda: office.administration.register(request))
    refused_or_done(lambda: office.restoring.restore(request.spec, signed))
    assert office.authority.orders("demo") == before
    assert [it.run_id for it in office.service.runs()] == ["demo"]


@settings(max_examples=80, deadline=None)
@given(run_id=TEXT, peer=TEXT, number=NUMBER, state=st.integers(-(2**31), 2**31 - 1))
def test_the_owners_own_mistakes(
    office: Office, run_id: str, peer: str, number: int, state: int
) -> None:
    owner = office.administration
    invite = admin_pb2.CreateInviteRequest(run_id=run_id, uses=number % 2**32, seconds=number)
    fields: dict[str, Any] = {"run_id": run_id, "state": state, "reason": peer}
    wish = admin_pb2.SetRunStateRequest(cooldown_tokens=number, **fields)
    for work in (
        lambda: owner.set_state(wish),
        lambda: owner.invite(invite),
        lambda: owner.ban(run_id, peer, peer),
        lambda: owner.unban(run_id, peer),
        lambda: owner.peer(run_id, peer),
        lambda: owner.peers(run_id),
    ):
        refused_or_done(work)
