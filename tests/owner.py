"""A coordinator's inside for tests: a registered run, its owner, and the clock in their hands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator.membership.administration import Administration
from coordinator.membership.admission import Admissions
from coordinator.membership.authority import Authority
from coordinator.membership.restoring import Restoring, Tombstones
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.membership import RunIdentity, sign_charter
from swarmpb.signing import PeerIdentity, SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import admin_pb2, membership_pb2, swarm_pb2


@dataclass
class Clock:
    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Office:
    """What `coordinator serve` puts together, without processes and sockets; has the run `demo`."""

    store: Store
    folder: Path
    """Like the coordinator's state folder."""
    owner: SigningKey = field(default_factory=SigningKey.generate)
    key: SigningKey = field(default_factory=SigningKey.generate)
    clock: Clock = field(default_factory=Clock)
    register: bool = True

    def __post_init__(self) -> None:
        self.authority = Authority(self.key, self.store.membership, self.clock)
        self.service = CoordinatorService(
            self.store,
            now=self.clock,
            owners=[self.owner.public_key],
            authority=self.authority,
        )
        self.admissions = Admissions(self.service, self.authority, self.store, self.clock)
        tombstones = Tombstones(self.folder / "deleted-runs")
        self.administration = Administration(
            self.service, self.authority, self.store.membership, tombstones, self.clock
        )
        owner_key = self.folder / "owner.key"
        self.restoring = Restoring(self.service, self.authority, tombstones, owner_key)
        if self.register:
            self.administration.register(self.registration())

    def restarted(self) -> Office:
        """Another one, from what this one kept."""
        return Office(self.store, self.folder, self.owner, self.key, self.clock, register=False)

    @property
    def run_identity(self) -> RunIdentity:
        return RunIdentity("demo", preset("demo").hash(), self.owner.public_key)

    @property
    def run(self) -> Any:
        return self.service.run("demo")

    def registration(self, serial: int = 1, **fields: Any) -> admin_pb2.RegisterRunRequest:
        """What `coordinator run create` sends."""
        charter = sign_charter(self.owner, self.run_identity, self.key.public_key, serial)
        spec = sign(preset("demo"), self.owner)
        return admin_pb2.RegisterRunRequest(**({"spec": spec, "charter": charter} | fields))

    def close_the_door(self) -> None:
        """From now on the run is by invitation."""
        self.administration.register(self.registration(invite_only=True))

    def invite(self, uses: int = 0, seconds: int = 3600) -> str:
        """The secret of a new invitation."""
        request = admin_pb2.CreateInviteRequest(run_id="demo", uses=uses, seconds=seconds)
        return self.administration.invite(request).secret

    def request(self, peer: PeerIdentity, **fields: Any) -> swarm_pb2.Envelope:
        """What a peer sends to be admitted."""
        values: dict[str, Any] = {
            "run_id": "demo",
            "spec_hash": preset("demo").hash(),
            "written_at_ms": int(self.clock() * 1000),
        }
        message = membership_pb2.AdmissionRequest(**(values | fields))
        return peer.seal("admission", message.SerializeToString())

    def admit(self, peer: PeerIdentity, **fields: Any) -> membership_pb2.Admission:
        return self.admissions.admit(self.request(peer, **fields))
