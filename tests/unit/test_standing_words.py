"""Charters, orders and certificates: who may say what, and what hostile bytes get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmpb.membership import (
    DIGEST_BYTES,
    MAX_BANNED,
    MAX_CERTIFICATE_BYTES,
    MAX_REASON,
    RunIdentity,
    RunState,
    id_digest,
    peer_id_of_digest,
    read_certificate,
    read_charter,
    read_orders,
    sign_certificate,
    sign_charter,
    sign_orders,
)
from swarmpb.signing import BadSignatureError, PeerIdentity, SigningKey
from swarmpb.v1 import membership_pb2

OWNER, AUTHORITY, STRANGER = (SigningKey.generate() for _ in range(3))
RUN = RunIdentity("tiny", b"h" * 32, OWNER.public_key)
OTHER_RUN = RunIdentity("other", b"h" * 32, OWNER.public_key)
OTHER_SPEC = RunIdentity("tiny", b"i" * 32, OWNER.public_key)
ANNA, BERT = (PeerIdentity.generate().peer_id for _ in range(2))
NOON = 1_800_000_000.0


def charter(serial: int = 1, run: RunIdentity = RUN) -> membership_pb2.SignedCharter:
    return sign_charter(OWNER, run, AUTHORITY.public_key, serial)


def orders(run: RunIdentity = RUN, **fields: Any) -> membership_pb2.Orders:
    fields = {"sequence": 1, "state": RunState.OPEN} | fields
    return membership_pb2.Orders(run_id=run.run_id, spec_hash=run.spec_hash, **fields)


def signed(serial: int = 1, **fields: Any) -> membership_pb2.SignedOrders:
    return sign_orders(AUTHORITY, charter(serial), orders(**fields))


def certificate(peer_id: str = ANNA, run: RunIdentity = RUN, hours: float = 24) -> bytes:
    return sign_certificate(
        AUTHORITY,
        membership_pb2.Certificate(
            run_id=run.run_id,
            spec_hash=run.spec_hash,
            peer_id=peer_id,
            not_before_ms=int(NOON * 1000),
            not_after_ms=int((NOON + hours * 3600) * 1000),
        ),
    ).SerializeToString()


def read(data: bytes, now: float = NOON, authority: bytes = AUTHORITY.public_key) -> None:
    read_certificate(data, RUN, authority, ANNA, now)


# ---- whose word it is --------------------------------------------------------------------


def test_orders_are_the_words_of_whom_the_owner_has_named() -> None:
    read = read_orders(signed(3, sequence=7, reason="a holiday", state=RunState.PAUSED), RUN)
    assert (read.rank, read.state, read.reason) == ((3, 7), RunState.PAUSED, "a holiday")
    assert read.authority == AUTHORITY.public_key


def test_a_newer_charter_counts_before_a_higher_sequence() -> None:
    earlier = read_orders(signed(1, sequence=2**63), RUN)
    later = read_orders(signed(2, sequence=1), RUN)
    assert later.rank > earlier.rank


def test_nobody_else_gives_orders() -> None:
    by_stranger = sign_orders(STRANGER, charter(), orders())
    with pytest.raises(BadSignatureError, match="does not match the orders"):
        read_orders(by_stranger, RUN)
    usurped = sign_charter(STRANGER, RUN, STRANGER.public_key, 99)
    with pytest.raises(BadSignatureError, match="does not match the charter"):
        read_orders(sign_orders(STRANGER, usurped, orders()), RUN)


def test_the_owners_own_key_gives_no_orders_unless_the_charter_names_it() -> None:
    with pytest.raises(BadSignatureError, match="does not match the orders"):
        read_orders(sign_orders(OWNER, charter(), orders()), RUN)


@pytest.mark.parametrize("run", [OTHER_RUN, OTHER_SPEC])
def test_words_about_another_run_or_spec_say_nothing_about_this_one(run: RunIdentity) -> None:
    with pytest.raises(BadSignatureError, match="the charter of another run"):
        read_charter(charter(run=run), RUN)
    with pytest.raises(BadSignatureError, match="the orders of another run"):
        read_orders(sign_orders(AUTHORITY, charter(), orders(run)), RUN)
    with pytest.raises(BadSignatureError, match="the certificate of another run"):
        read(certificate(run=run))


def test_orders_are_no_certificate_and_a_charter_is_no_order() -> None:
    """What is signed says what it is: bytes that parse as something else prove nothing."""
    told = signed()
    as_certificate = membership_pb2.SignedCertificate(
        certificate=told.orders, signature=told.signature
    )
    with pytest.raises(BadSignatureError):
        read(as_certificate.SerializeToString())
    of_charter = membership_pb2.SignedOrders(
        orders=told.charter.charter, signature=told.charter.signature, charter=told.charter
    )
    with pytest.raises(BadSignatureError):
        read_orders(of_charter, RUN)


# ---- bounds ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RunState.RUN_STATE_UNKNOWN, 6, 2**31 - 1])
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(BadSignatureError, match="which is none"):
        read_orders(signed(state=state), RUN)


@pytest.mark.parametrize("banned", [[b"short"], [b""], [b"x" * 32, b"x" * 33]])
def test_what_names_no_peer_cannot_be_banned(banned: list[bytes]) -> None:
    with pytest.raises(BadSignatureError, match="no list of peers"):
        read_orders(signed(banned=banned), RUN)


def test_the_longest_list_of_banned_peers_is_taken_and_no_longer_one() -> None:
    digests = [number.to_bytes(DIGEST_BYTES, "big") for number in range(MAX_BANNED + 1)]
    most = read_orders(signed(banned=digests[1:], reason="x" * MAX_REASON), RUN)
    assert most.bans(peer_id_of_digest(digests[5]))
    with pytest.raises(BadSignatureError, match="no list of peers"):
        read_orders(signed(banned=digests), RUN)
    with pytest.raises(BadSignatureError, match="bytes"):
        read_orders(signed(banned=[*digests, *digests]), RUN)


def test_a_long_reason_is_cut() -> None:
    assert len(read_orders(signed(reason="x" * 10_000), RUN).reason) == MAX_REASON


@pytest.mark.parametrize("peer_id", [ANNA, BERT], ids=["anna", "bert"])
def test_a_ban_names_a_peer_by_its_id_and_nobody_else(peer_id: str) -> None:
    banning = read_orders(signed(banned=[id_digest(peer_id)]), RUN)
    assert [it for it in (ANNA, BERT) if banning.bans(it)] == [peer_id]
    assert peer_id_of_digest(id_digest(peer_id)) == peer_id


@given(st.text())
def test_a_name_that_is_no_peer_id_has_no_digest(name: str) -> None:
    digest = id_digest(name)
    assert digest == b"" or peer_id_of_digest(digest) == name


# ---- certificates ------------------------------------------------------------------------


def test_a_certificate_lets_its_peer_in_until_it_ends() -> None:
    read(certificate())
    read(certificate(), NOON + 24 * 3600)


@pytest.mark.parametrize(
    ("data", "now", "authority", "reason"),
    [
        (b"", NOON, AUTHORITY, "by invitation"),
        (certificate(BERT), NOON, AUTHORITY, "another peer's"),
        (certificate(), NOON - 1, AUTHORITY, "not valid yet"),
        (certificate(), NOON + 24 * 3600 + 1, AUTHORITY, "has expired"),
        (certificate(run=OTHER_RUN), NOON, AUTHORITY, "of another run"),
        (certificate(), NOON, STRANGER, "not signed by who speaks for the run now"),
        (bytes(MAX_CERTIFICATE_BYTES + 1), NOON, AUTHORITY, "1025 bytes"),
        (b"\xff\xff", NOON, AUTHORITY, "cannot be decoded"),
    ],
    ids=["none", "another's", "early", "late", "other run", "old authority", "long", "garbage"],
)
def test_each_certificate_that_is_none_is_refused_for_its_own_reason(
    data: bytes, now: float, authority: SigningKey, reason: str
) -> None:
    with pytest.raises(BadSignatureError, match=reason):
        read(data, now, authority.public_key)


# ---- hostile bytes -----------------------------------------------------------------------


@given(st.binary(max_size=300), st.binary(max_size=80), st.binary(max_size=200), st.binary())
def test_bytes_of_a_stranger_are_no_orders(
    words: bytes, signature: bytes, inner: bytes, key: bytes
) -> None:
    false = membership_pb2.SignedCharter(charter=inner, signature=signature)
    forged = membership_pb2.SignedOrders(orders=words, signature=signature, charter=false)
    with pytest.raises(BadSignatureError):
        read_orders(forged, RUN)
    with pytest.raises(BadSignatureError):
        read_orders(forged, RunIdentity("tiny", b"h" * 32, key))
    genuine_charter = membership_pb2.SignedOrders(
        orders=words, signature=signature, charter=charter()
    )
    with pytest.raises(BadSignatureError):
        read_orders(genuine_charter, RUN)


@given(st.binary(max_size=1200))
def test_bytes_of_a_stranger_are_no_certificate(data: bytes) -> None:
    with pytest.raises(BadSignatureError):
        read(data)


@given(st.binary(max_size=400))
def test_whatever_the_authority_itself_signs_is_checked_before_it_holds(words: bytes) -> None:
    """A coordinator that went mad, or speaks another version, takes no peer down."""
    told = membership_pb2.SignedOrders(
        orders=words, signature=AUTHORITY.sign("orders", words), charter=charter()
    )
    with pytest.raises(BadSignatureError):
        read_orders(told, RUN)
    odd = membership_pb2.SignedCertificate(
        certificate=words, signature=AUTHORITY.sign("certificate", words)
    )
    with pytest.raises(BadSignatureError):
        read(odd.SerializeToString())


@given(st.integers(0, 400), st.integers(1, 255))
def test_one_changed_byte_ends_a_certificate(where: int, change: int) -> None:
    data = bytearray(certificate())
    data[where % len(data)] ^= change
    with pytest.raises(BadSignatureError):
        read(bytes(data))
