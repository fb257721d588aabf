"""What a peer keeps of its membership in the run's folder: standing orders and its certificate.

So that who joins with the coordinator away knows what is wanted of the run, and who is banned.
"""

from __future__ import annotations

import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from peer.files import set_aside
from peer.members import Members
from swarmpb.files import write_private, write_whole
from swarmpb.membership import MAX_CERTIFICATE_BYTES, MAX_ORDERS_BYTES
from swarmpb.signing import BadSignatureError
from swarmpb.v1 import membership_pb2

log = logging.getLogger(__name__)

_ORDERS = "orders.bin"
_CERTIFICATE = "certificate.bin"


def load_membership(folder: Path, members: Members) -> None:
    """Take up what was kept; what is damaged is set aside, and said. `OSError` if unreadable."""
    kept = load_orders(folder)
    if kept is not None:
        try:
            members.take(kept)
        except BadSignatureError as error:
            set_aside(folder / _ORDERS, str(error))
    # whether it holds is seen when it is shown: by then newer orders may
    members.certificate = _read(folder / _CERTIFICATE, MAX_CERTIFICATE_BYTES)


def load_orders(folder: Path) -> membership_pb2.SignedOrders | None:
    """The orders that were kept, not checked; what cannot be decoded is set aside, and said."""
    data = _read(folder / _ORDERS, 2 * MAX_ORDERS_BYTES)
    if not data:
        return None
    try:
        return membership_pb2.SignedOrders.FromString(data)
    except DecodeError as error:
        set_aside(folder / _ORDERS, str(error))
        return None


def save_orders(folder: Path, signed: membership_pb2.SignedOrders) -> None:
    """Keep the standing orders; `OSError` if the folder does not take them."""
    data = signed.SerializeToString()
    write_whole(folder / _ORDERS, lambda file: file.write(data))


def save_certificate(folder: Path, certificate: bytes) -> None:
    """Keep this peer's certificate, for its owner only; `OSError` as above."""
    write_private(folder / _CERTIFICATE, certificate)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return b""
    if len(data) > most:
        set_aside(path, f"it has more than {most} bytes")
        return b""
    return data
