"""A run's owner and authority, for tests: what they sign, whoever hands it on."""

from __future__ import annotations

from typing import Any

from swarmpb.membership import (
    RunIdentity,
    RunState,
    id_digest,
    sign_certificate,
    sign_charter,
    sign_orders,
)
from swarmpb.signing import SigningKey
from swarmpb.v1 import membership_pb2

NOON = 1_800_000_000.0
HOUR = 3600.0


class Throne:
    """The owner of a run and who speaks for it; each order is newer than the one before."""

    def __init__(self, run_id: str = "tiny", spec_hash: bytes = b"h" * 32) -> None:
        self.owner = SigningKey.generate()
        self.authority = SigningKey.generate()
        self.run = RunIdentity(run_id, spec_hash, self.owner.public_key)
        self.serial = 1
        self.sequence = 0

    def orders(
        self, state: RunState = RunState.OPEN, banned: tuple[str, ...] = (), **fields: Any
    ) -> membership_pb2.SignedOrders:
        """banned: peer ids; the next sequence unless `fields` name one."""
        self.sequence += 1
        charter = sign_charter(self.owner, self.run, self.authority.public_key, self.serial)
        orders = membership_pb2.Orders(
            run_id=self.run.run_id,
            spec_hash=self.run.spec_hash,
            state=state,
            banned=sorted(id_digest(it) for it in banned),
            **({"sequence": self.sequence} | fields),
        )
        return sign_orders(self.authority, charter, orders)

    def certificate(self, peer_id: str, begin: float = NOON, hours: float = 24) -> bytes:
        """Serialised; valid from `begin`, unix seconds."""
        return sign_certificate(
            self.authority,
            membership_pb2.Certificate(
                run_id=self.run.run_id,
                spec_hash=self.run.spec_hash,
                peer_id=peer_id,
                not_before_ms=int(begin * 1000),
                not_after_ms=int((begin + hours * HOUR) * 1000),
            ),
        ).SerializeToString()

    def is_succeeded(self) -> None:
        """The owner names another key, as for a coordinator on another machine."""
        self.authority = SigningKey.generate()
        self.serial += 1
