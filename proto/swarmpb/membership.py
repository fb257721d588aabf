"""Charters, orders and certificates: made by who may, and checked by everybody. Pure.

The chain of trust of a run: its owner's key signs the spec and the charter; the charter names the
authority, its coordinator's key; the authority signs orders and certificates. All of it travels
from peer to peer, so it holds while the coordinator is away.
"""

from __future__ import annotations

from dataclasses import dataclass

import base58
from google.protobuf.message import DecodeError

from swarmpb.signing import BadSignatureError, SigningKey, verify
from swarmpb.v1 import membership_pb2

MAX_BANNED = 4096
MAX_ORDERS_BYTES = 160 * 1024
MAX_CERTIFICATE_BYTES = 1024
MAX_REASON = 300
DIGEST_BYTES = 32
_ID_PREFIX = b"\x12\x20"
"""Of a peer id: a sha256 multihash."""

RunState = membership_pb2.RunState
_STATES = frozenset(RunState.values()) - {RunState.RUN_STATE_UNKNOWN}


@dataclass(frozen=True)
class RunIdentity:
    """What all signed words about a run are bound to."""

    run_id: str
    spec_hash: bytes
    owner_key: bytes


@dataclass(frozen=True)
class StandingOrders:
    """Checked orders, and the signed bytes to hand on."""

    signed: membership_pb2.SignedOrders
    authority: bytes
    rank: tuple[int, int]
    """(the charter's serial, sequence): of two orders the higher one holds."""
    state: membership_pb2.RunState
    reason: str
    stop_tokens: int
    cooldown_tokens: int
    invite_only: bool
    banned: frozenset[bytes]

    @property
    def sequence(self) -> int:
        return self.rank[1]

    def bans(self, peer_id: str) -> bool:
        """Whether a peer, by its base58 id, may not take part."""
        return id_digest(peer_id) in self.banned


def id_digest(peer_id: str) -> bytes:
    """The 32 bytes that tell a base58 peer id from others; empty for what is no RSA peer id."""
    try:
        multihash = base58.b58decode(peer_id)
    except ValueError:
        return b""
    return bytes(multihash[2:]) if len(multihash) == 34 and multihash[:2] == _ID_PREFIX else b""


def peer_id_of_digest(digest: bytes) -> str:
    """The base58 peer id that `id_digest` told."""
    return str(base58.b58encode(_ID_PREFIX + digest).decode())


def sign_charter(
    owner: SigningKey, run: RunIdentity, authority: bytes, serial: int
) -> membership_pb2.SignedCharter:
    """The owner's word that `authority` (an Ed25519 public key) speaks for the run."""
    charter = membership_pb2.Charter(
        run_id=run.run_id, spec_hash=run.spec_hash, authority=authority, serial=serial
    ).SerializeToString(deterministic=True)
    return membership_pb2.SignedCharter(charter=charter, signature=owner.sign("charter", charter))


def read_charter(signed: membership_pb2.SignedCharter, run: RunIdentity) -> membership_pb2.Charter:
    """A charter of this run by its owner; else `BadSignatureError`."""
    verify(run.owner_key, "charter", signed.charter, signed.signature)
    try:
        charter = membership_pb2.Charter.FromString(signed.charter)
    except DecodeError as error:
        raise BadSignatureError("the charter cannot be decoded") from error
    _require_run(charter.run_id, charter.spec_hash, run, "charter")
    return charter


def sign_orders(
    authority: SigningKey, charter: membership_pb2.SignedCharter, orders: membership_pb2.Orders
) -> membership_pb2.SignedOrders:
    """Orders in the authority's name, with the charter that says so."""
    data = orders.SerializeToString(deterministic=True)
    return membership_pb2.SignedOrders(
        orders=data, signature=authority.sign("orders", data), charter=charter
    )


def read_orders(signed: membership_pb2.SignedOrders, run: RunIdentity) -> StandingOrders:
    """Orders of this run by its authority, within bounds; else `BadSignatureError`."""
    if len(signed.orders) > MAX_ORDERS_BYTES:
        raise BadSignatureError(f"the orders have {len(signed.orders)} bytes")
    charter = read_charter(signed.charter, run)
    verify(charter.authority, "orders", signed.orders, signed.signature)
    try:
        orders = membership_pb2.Orders.FromString(signed.orders)
    except DecodeError as error:
        raise BadSignatureError("the orders cannot be decoded") from error
    _require_run(orders.run_id, orders.spec_hash, run, "orders")
    if orders.state not in _STATES:
        raise BadSignatureError(f"the orders ask for a state {orders.state}, which is none")
    if len(orders.banned) > MAX_BANNED or any(len(it) != DIGEST_BYTES for it in orders.banned):
        raise BadSignatureError("the orders ban what is no list of peers")
    return StandingOrders(
        signed=signed,
        authority=charter.authority,
        rank=(charter.serial, orders.sequence),
        state=orders.state,
        reason=orders.reason[:MAX_REASON],
        stop_tokens=orders.stop_tokens,
        cooldown_tokens=orders.cooldown_tokens,
        invite_only=orders.invite_only,
        banned=frozenset(orders.banned),
    )


def sign_certificate(
    authority: SigningKey, certificate: membership_pb2.Certificate
) -> membership_pb2.SignedCertificate:
    """The authority's word that a peer may take part."""
    data = certificate.SerializeToString(deterministic=True)
    return membership_pb2.SignedCertificate(
        certificate=data, signature=authority.sign("certificate", data)
    )


def read_certificate(
    data: bytes, run: RunIdentity, authority: bytes, peer_id: str, now: float
) -> membership_pb2.Certificate:
    """The certificate in a serialised SignedCertificate, if it lets this peer in at `now`.

    now: unix seconds. Raises `BadSignatureError`, which says what is wrong with it.
    """
    if not data:
        raise BadSignatureError("no membership certificate; this run is by invitation")
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise BadSignatureError(f"the certificate has {len(data)} bytes")
    try:
        signed = membership_pb2.SignedCertificate.FromString(data)
        certificate = membership_pb2.Certificate.FromString(signed.certificate)
    except DecodeError as error:
        raise BadSignatureError("the certificate cannot be decoded") from error
    _require_run(certificate.run_id, certificate.spec_hash, run, "certificate")
    try:
        verify(authority, "certificate", signed.certificate, signed.signature)
    except BadSignatureError as error:
        raise BadSignatureError(
            "the certificate is not signed by who speaks for the run now"
        ) from error
    if certificate.peer_id != peer_id:
        raise BadSignatureError("the certificate is another peer's")
    if now * 1000 < certificate.not_before_ms:
        raise BadSignatureError("the certificate is not valid yet; are the clocks right?")
    if now * 1000 > certificate.not_after_ms:
        raise BadSignatureError("the certificate has expired")
    return certificate


def _require_run(run_id: str, spec_hash: bytes, run: RunIdentity, what: str) -> None:
    if run_id != run.run_id or spec_hash != run.spec_hash:
        raise BadSignatureError(f"the {what} of another run")
