"""Who is let into a run: invitations are checked and spent here, and certificates given.

Like `CoordinatorService`: blocking, one caller at a time. What a stranger can make this write: one
row of a member for each use of an invitation; a member, at most its own row every ten minutes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

from google.protobuf.message import DecodeError

from coordinator.domain import BusyError, ForgedReportError, Run
from coordinator.limits import ADMISSIONS_OF_PEER, Buckets
from coordinator.membership.authority import CERTIFICATE_SECONDS, Authority
from coordinator.membership.refusals import (
    InvalidRequestError,
    NotAdmittedError,
    NotInChargeError,
    RunStateError,
)
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.membership import RunState, StandingOrders
from swarmpb.signing import BadSignatureError, open_envelope
from swarmpb.v1 import membership_pb2, swarm_pb2

log = logging.getLogger(__name__)

ADMISSION_KIND = "admission"
FRESH_SECONDS = 300.0
"""A request that was written longer ago is somebody's recording, or of a wrong clock."""
MAX_REQUEST_BYTES = 4096
MAX_SECRET = 128
_CLOSED = {
    RunState.DRAFT: "run {} is a draft: its owner has not opened it yet; ask them, or try later",
    RunState.FINISHED: "run {} is finished: nobody can join it any more",
}


class Admissions:
    """Lets peers into runs, and gives members their next certificate."""

    def __init__(
        self,
        service: CoordinatorService,
        authority: Authority,
        store: Store,
        now: Callable[[], float],
    ) -> None:
        """`now` tells unix seconds."""
        self._service = service
        self._authority = authority
        self._store = store
        self._now = now
        self._pace = Buckets(ADMISSIONS_OF_PEER)

    def admit(self, envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        """Let the peer that sealed this request in, or keep it in.

        An open run needs no certificate, and gives none. Raises `NotAdmittedError`,
        `RunStateError`, `UnknownRunError`, `InvalidRequestError`, `ForgedReportError`,
        `NotInChargeError`, `RunFullError`.
        """
        peer_id, request = self._open(envelope)
        run = self._run(request)
        standing = self._authority.orders(run.run_id)
        if standing is None:
            return membership_pb2.Admission()
        self._require_not_banned(run, standing, peer_id)
        if standing.state in _CLOSED:
            raise RunStateError(_CLOSED[standing.state].format(run.run_id))
        if not standing.invite_only:
            return membership_pb2.Admission(orders=standing.signed)
        self._require_charge(run)
        self._let_in(run, peer_id, request)
        certificate = self._authority.certify(run, peer_id)
        return membership_pb2.Admission(certificate=certificate, orders=standing.signed)

    def admit_guest(self, envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        """Let the owner's own guest in, in whatever state the run is; raises as `admit`."""
        peer_id, request = self._open(envelope)
        run = self._run(request)
        standing = self._authority.orders(run.run_id)
        if standing is None:
            return membership_pb2.Admission()
        self._require_not_banned(run, standing, peer_id)
        if not self._authority.speaks_for(run.run_id):
            return membership_pb2.Admission(orders=standing.signed)
        certificate = self._authority.certify(run, peer_id)
        return membership_pb2.Admission(certificate=certificate, orders=standing.signed)

    def _open(self, envelope: swarm_pb2.Envelope) -> tuple[str, membership_pb2.AdmissionRequest]:
        try:
            peer_id, payload = open_envelope(envelope, ADMISSION_KIND)
        except BadSignatureError as error:
            raise ForgedReportError(f"admission refused: {error}") from error
        if len(payload) > MAX_REQUEST_BYTES:
            raise InvalidRequestError(f"admission refused: the request has {len(payload)} bytes")
        try:
            request = membership_pb2.AdmissionRequest.FromString(payload)
        except DecodeError as error:
            raise InvalidRequestError("admission refused: it cannot be decoded") from error
        age = self._now() - request.written_at_ms / 1000
        if abs(age) > FRESH_SECONDS:
            when = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s in the future"
            raise NotAdmittedError(
                f"admission refused: the request was written {when}; set this machine's clock and"
                " ask again"
            )
        wait = self._pace.take(peer_id, self._now())
        if wait:
            raise BusyError(wait)
        return peer_id, request

    def _run(self, request: membership_pb2.AdmissionRequest) -> Run:
        run = self._service.run(request.run_id)
        if request.spec_hash != run.spec_hash:
            raise NotAdmittedError(
                f"run {run.run_id} has another spec here than the one that was joined"
            )
        return run

    def _require_not_banned(self, run: Run, standing: StandingOrders, peer_id: str) -> None:
        if standing.bans(peer_id):
            member = self._authority.members.of(run.run_id).get(peer_id)
            why = f": {member.ban_reason}" if member is not None and member.ban_reason else ""
            raise NotAdmittedError(f"this peer is banned from run {run.run_id}{why}")

    def _require_charge(self, run: Run) -> None:
        if not self._authority.speaks_for(run.run_id):
            raise NotInChargeError(run.run_id)

    def _let_in(self, run: Run, peer_id: str, request: membership_pb2.AdmissionRequest) -> None:
        members, now = self._authority.members, self._now()
        until = now + CERTIFICATE_SECONDS
        known = members.is_admitted(run.run_id, peer_id) or self._authority.has_certified(
            run, request.certificate, peer_id
        )
        if known:
            members.admit(run.run_id, peer_id, now, until)
            return
        if not request.invite:
            raise NotAdmittedError(
                f"run {run.run_id} is by invitation: join with the link that its owner gave you"
            )
        secret_hash = hash_of(request.invite)
        with self._store.together():
            if not self._store.membership.spend(run.run_id, secret_hash, now):
                raise NotAdmittedError(self._why_not(run, secret_hash))
            members.admit(run.run_id, peer_id, now, until, secret_hash)
        log.info("run %s: peer %s is admitted", run.run_id, peer_id)

    def _why_not(self, run: Run, secret_hash: bytes) -> str:
        found = self._store.membership.invitation(run.run_id, secret_hash)
        if found is None:
            return f"there is no such invitation to run {run.run_id}; ask its owner for a link"
        if found.expires_at <= self._now():
            return f"this invitation to run {run.run_id} has expired; ask its owner for a new link"
        return (
            f"this invitation to run {run.run_id} is used up; ask its owner for a link of your own"
        )


def hash_of(secret: str) -> bytes:
    """What is kept of an invitation; its secret is long and random, so a plain hash will do."""
    return hashlib.sha256(secret[: MAX_SECRET + 1].encode()).digest()
