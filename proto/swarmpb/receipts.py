"""Receipts: signed by a run's authority, and checked by whoever is shown one. Pure."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from swarmpb.membership import RunIdentity
from swarmpb.signing import BadSignatureError, SigningKey, verify
from swarmpb.v1 import coordinator_pb2

MAX_RECEIPT_BYTES = 4096


def sign_receipt(
    authority: SigningKey, receipt: coordinator_pb2.RoundReceipt
) -> coordinator_pb2.SignedReceipt:
    """The authority's word on what became of a peer's work in a round."""
    data = receipt.SerializeToString(deterministic=True)
    return coordinator_pb2.SignedReceipt(receipt=data, signature=authority.sign("receipt", data))


def read_receipt(
    signed: coordinator_pb2.SignedReceipt, run: RunIdentity, authority: bytes, peer_id: str
) -> coordinator_pb2.RoundReceipt:
    """A receipt of this run for this peer, by the run's authority; else `BadSignatureError`."""
    if len(signed.receipt) > MAX_RECEIPT_BYTES:
        raise BadSignatureError(f"the receipt has {len(signed.receipt)} bytes")
    verify(authority, "receipt", signed.receipt, signed.signature)
    try:
        receipt = coordinator_pb2.RoundReceipt.FromString(signed.receipt)
    except DecodeError as error:
        raise BadSignatureError("the receipt cannot be decoded") from error
    if receipt.run_id != run.run_id or receipt.spec_hash != run.spec_hash:
        raise BadSignatureError("the receipt of another run")
    if receipt.peer_id != peer_id:
        raise BadSignatureError("the receipt is another peer's")
    return receipt
