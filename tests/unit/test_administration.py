"""What an owner may do with a run, and how a run comes back to a coordinator that lost it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.domain import ForeignRunError
from coordinator.membership.refusals import (
    InvalidCharterError,
    InvalidRequestError,
    NoOnePeerError,
    NotInChargeError,
    OldOrdersError,
    RunStateError,
)
from coordinator.registration import sign
from coordinator.storage.store import Store
from swarmpb.membership import RunState, sign_charter
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import membership_pb2
from tests.owner import Office
from tests.reporting import identity, round_message, signed_report

ANNA, BERT = identity(0), identity(1)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        yield Office(store, tmp_path)


# ---- a coordinator that lost everything ------------------------------------------------


def rebuilt_from(office: Office, store: Store, folder: Path, owner_too: bool) -> Office:
    """Another coordinator, with another key, that got the run back from a peer."""
    folder.mkdir()
    if owner_too:
        (folder / "owner.key").write_bytes(office.owner.to_bytes())
    rebuilt = Office(store, folder, owner=office.owner, clock=office.clock, register=False)
    standing = office.authority.orders("demo")
    assert standing is not None
    rebuilt.restoring.restore(sign(preset("demo"), office.owner), standing.signed)
    return rebuilt


def test_with_the_owners_key_it_speaks_again_and_members_stay_members(
    office: Office, tmp_path: Path
) -> None:
    office.close_the_door()
    office.administration.ban("demo", BERT.peer_id, "noise")
    held = office.admit(ANNA, invite=office.invite()).certificate.SerializeToString()
    before = office.authority.orders("demo")
    with closing(Store.open(tmp_path / "new.sqlite")) as store:
        rebuilt = rebuilt_from(office, store, tmp_path / "new", owner_too=True)
        after = rebuilt.authority.orders("demo")
        assert before is not None
        assert after is not None
        assert after.rank > before.rank
        assert (after.invite_only, after.banned) == (True, before.banned)
        assert rebuilt.admit(ANNA, certificate=held).HasField("certificate")


def test_without_it_what_was_said_last_is_served_until_the_owner_registers_again(
    office: Office, tmp_path: Path
) -> None:
    office.close_the_door()
    before = office.authority.orders("demo")
    with closing(Store.open(tmp_path / "new.sqlite")) as store:
        rebuilt = rebuilt_from(office, store, tmp_path / "new", owner_too=False)
        assert rebuilt.authority.orders("demo") == before
        with pytest.raises(NotInChargeError, match="coordinator run create"):
            rebuilt.administration.ban("demo", ANNA.peer_id, "")
        rebuilt.administration.register(rebuilt.registration(serial=2))
        rebuilt.administration.ban("demo", ANNA.peer_id, "")
        standing = rebuilt.authority.orders("demo")
        assert standing is not None
        assert standing.invite_only, "what held goes on to hold"


def test_older_and_forged_orders_change_nothing(office: Office) -> None:
    older = office.authority.orders("demo")
    office.close_the_door()
    newer = office.authority.orders("demo")
    assert older is not None
    spec = sign(preset("demo"), office.owner)
    office.restoring.restore(spec, older.signed)
    assert office.authority.orders("demo") == newer
    forged = membership_pb2.SignedOrders()
    forged.CopyFrom(older.signed)
    forged.orders += b"\x18\xff\xff\xff\xff\x0f"
    with pytest.raises(InvalidCharterError, match="orders refused"):
        office.restoring.restore(spec, forged)


def test_a_coordinator_with_an_old_copy_hears_of_newer_orders_from_whoever_knows_them(
    office: Office, tmp_path: Path
) -> None:
    """So nobody who hands on old orders first undoes a ban by it."""
    older = office.authority.orders("demo")
    office.administration.ban("demo", BERT.peer_id, "noise")
    newer = office.authority.orders("demo")
    assert older is not None
    assert newer is not None
    spec = sign(preset("demo"), office.owner)
    with closing(Store.open(tmp_path / "new.sqlite")) as store:
        rebuilt = Office(store, tmp_path, office.owner, office.key, office.clock, register=False)
        rebuilt.restoring.restore(spec, older.signed)  # by Bert, whom they do not ban yet
        rebuilt.service.take_report(signed_report(BERT, sequence=1))
        knows = {"orders_serial": newer.rank[0], "orders_sequence": newer.rank[1]}
        with pytest.raises(OldOrdersError, match="newer orders"):
            rebuilt.service.take_report(signed_report(ANNA, sequence=1, **knows))
        rebuilt.restoring.restore(spec, newer.signed)  # what peers do when they hear that
        rebuilt.service.take_report(signed_report(ANNA, sequence=2, **knows))
        assert rebuilt.service.take_report(signed_report(BERT, sequence=2)).orders == newer.signed
        assert list(rebuilt.service.ledger("demo").peers) == [BERT.peer_id, ANNA.peer_id]


def test_a_deleted_run_is_not_brought_back_by_peers_but_by_its_owner(office: Office) -> None:
    office.service.take_report(signed_report(ANNA))
    with pytest.raises(RunStateError, match="1 peers of run demo are live"):
        office.administration.delete("demo")
    office.clock.seconds += 3600
    office.administration.delete("demo")
    spec = sign(preset("demo"), office.owner)
    for one in (office, office.restarted()):
        with pytest.raises(ForeignRunError, match="deleted here"):
            one.restoring.restore(spec, None)
    office.administration.register(office.registration())
    assert office.restarted().restoring.restore(spec, None).run_id == "demo"


# ---- the owner's doings ----------------------------------------------------------------


def test_a_charter_that_names_another_coordinator_or_is_older_is_refused(office: Office) -> None:
    office.administration.register(office.registration(serial=7))
    with pytest.raises(InvalidCharterError, match="a newer one is known, with serial 7"):
        office.administration.register(office.registration(serial=6))
    elsewhere = sign_charter(office.owner, office.run_identity, bytes(32), 8)
    with pytest.raises(InvalidCharterError, match="another coordinator's key"):
        office.administration.register(office.registration(charter=elsewhere))
    thief = sign_charter(SigningKey.generate(), office.run_identity, office.key.public_key, 9)
    with pytest.raises(InvalidCharterError, match="signature"):
        office.administration.register(office.registration(charter=thief))


def test_the_same_registration_again_gives_no_new_orders(office: Office) -> None:
    before = office.authority.orders("demo")
    office.clock.seconds += 10
    office.administration.register(office.registration())
    assert office.authority.orders("demo") == before


def test_a_run_ends_when_most_live_peers_say_that_its_target_is_reached(office: Office) -> None:
    target = preset("demo").stop.tokens
    reached = [round_message(1, run_tokens=target)]
    office.service.take_report(signed_report(ANNA, rounds=[round_message(1)]))
    office.service.take_report(signed_report(BERT, rounds=reached))
    office.administration.pass_time()
    standing = office.authority.orders("demo")
    assert standing is not None
    assert standing.state == RunState.OPEN, "one of two says so"
    office.service.take_report(
        signed_report(ANNA, sequence=2, rounds=[round_message(2, run_tokens=target)])
    )
    office.administration.pass_time()
    standing = office.authority.orders("demo")
    assert standing is not None
    assert (standing.state, standing.reason) == (RunState.FINISHED, "its target is reached")


def test_a_name_means_a_peer_if_it_is_the_only_one(office: Office) -> None:
    for peer, name in ((ANNA, "zoe"), (BERT, "zoe"), (identity(2), "<b>'; DROP TABLE peers; --")):
        office.service.take_report(signed_report(peer, name=name))
    find = office.administration.find
    with pytest.raises(NoOnePeerError, match="2 peers of run demo fit 'zoe'"):
        find("demo", "zoe")
    assert find("demo", ANNA.peer_id[-8:]) == ANNA.peer_id
    assert find("demo", "<b>'; DROP TABLE peers; --") == identity(2).peer_id
    with pytest.raises(NoOnePeerError, match="knows no peer"):
        find("demo", "")
    told = {it.peer_id: it for it in office.administration.peers("demo")}
    assert told[identity(2).peer_id].name == "<b>'; DROP TABLE peers; --"


def test_a_peer_that_was_never_here_is_banned_by_its_whole_id(office: Office) -> None:
    stranger = identity(2).peer_id
    assert office.administration.ban("demo", stranger, "\x1b[31mknown\nelsewhere") == stranger
    told = office.administration.peer("demo", stranger)
    assert (told.banned, told.ban_reason) == (True, " [31mknown elsewhere")
    again = office.restarted().authority.orders("demo")
    assert again is not None
    assert again.bans(stranger)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"seconds": 0}, "between"), ({"seconds": 10**12}, "between"), ({"uses": 10**7}, "at most")],
)
def test_invitations_are_bounded(office: Office, fields: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        office.invite(**fields)
