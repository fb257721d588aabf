"""This peer's own membership of a run by invitation: asked for at the join, kept, and renewed.

A certificate lasts for a day and is renewed after a quarter of that, so a coordinator may be away
for most of a day before a member is missed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread

from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.members import Members
from peer.membership_files import save_certificate, save_orders
from peer.notices import Notices
from peer.orders import BANNED
from peer.swarm.clock import CLOCK
from swarmpb.exits import Exit, UserError
from swarmpb.membership import MAX_CERTIFICATE_BYTES
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import membership_pb2

log = logging.getLogger(__name__)

RENEWED_AFTER = 0.25
"""Of a certificate's life."""
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 600.0
_LOOK_SECONDS = 60.0
"""A machine that was suspended looks at the time again this soon."""
_LATEST = 4e9
"""Unix seconds that a date can be made of anywhere."""
_ABOUT = "membership"


def renewal_due(certificate: membership_pb2.Certificate) -> float:
    """When to ask for the next one, unix seconds."""
    begin, end = certificate.not_before_ms / 1000, certificate.not_after_ms / 1000
    return begin + RENEWED_AFTER * (end - begin)


def pause(failures: int, chance: float) -> float:
    """Seconds until the next try; chance: uniform in [0, 1), so that not all come at once."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + chance / 2)


class Admission:
    """Keeps this peer a member, and what it knows of the membership on disk."""

    def __init__(
        self,
        client: CoordinatorClient,
        identity: PeerIdentity,
        members: Members,
        folder: Path,
        notices: Notices,
    ) -> None:
        """folder: of the run on this machine."""
        self._client = client
        self._identity = identity
        self._members = members
        self._folder = folder
        self._notices = notices
        self._kept: tuple[int, int] | None = None
        """Rank of the orders on disk."""
        self._changed = anyio.Event()
        members.on_change.append(lambda: self._changed.set())

    async def enter(self, invite: str) -> None:
        """Before this peer joins the swarm: be a member, if one has to be.

        invite: secret of an invitation; empty: none. `UserError` if it may not take part.
        """
        members, run_id = self._members, self._members.run.run_id
        self._require_open()
        if not invite and not members.by_invitation:
            return
        due, trouble = self._own()
        if due is not None and CLOCK.now() < due:
            return
        try:
            await self._ask(invite)
        except CoordinatorUnreachable as error:
            if due is None and members.by_invitation:
                had = "the membership of this machine has ended" if members.certificate else trouble
                raise UserError(  # no refusal: a service that tries again gets in when it is back
                    Exit.COORDINATOR_UNREACHABLE,
                    f"run {run_id}: {had}, and {error}; join again when the coordinator is back",
                ) from error
            log.warning("%s: going on with the membership that this machine has", error)
        except UserError as error:
            if due is None:
                raise
            log.warning("%s; going on with the membership that this machine has", error)
        self._require_open()

    def _require_open(self) -> None:
        orders, run_id = self._members.orders, self._members.run.run_id
        if self._members.course.banned:
            raise UserError(Exit.BANNED, BANNED.format(run=run_id))
        if orders is not None and orders.state == membership_pb2.DRAFT:
            # who waited would hold nothing and know nobody; the owner tells people when it opens
            raise UserError(
                Exit.RUN_CLOSED, f"run {run_id} is a draft: its owner has not opened it yet; ask "
                "them, or try later",
            )  # fmt: skip

    async def keep(self) -> None:
        """Renew the certificate and write down what changes, until cancelled."""
        failures = 0
        while True:
            self._changed = anyio.Event()
            await self._keep_orders()
            due, _ = self._own()
            if not self._members.by_invitation:
                wait = _LOOK_SECONDS
            elif due is not None and CLOCK.now() < due:
                failures, wait = 0, min(_LOOK_SECONDS, due - CLOCK.now())
            else:
                failures = 0 if await self._renew() else failures + 1
                wait = pause(failures, random.random()) if failures else 0.0
            with anyio.move_on_after(wait):
                await self._changed.wait()

    def describe(self) -> str:
        """For `peer status`; empty in a run that is open to all."""
        if not self._members.by_invitation:
            return ""
        try:
            until = self._members.own_certificate().not_after_ms / 1000
        except BadSignatureError as error:
            return f"none that holds: {error}"
        until = min(until, _LATEST)  # whoever speaks for the run may have signed any number
        return f"member until {datetime.fromtimestamp(until):%Y-%m-%d %H:%M}"

    # ---- one step ----------------------------------------------------------------------

    def _own(self) -> tuple[float | None, str]:
        """When this peer's certificate is due for renewal; None, and why, if it does not hold."""
        try:
            return renewal_due(self._members.own_certificate()), ""
        except BadSignatureError as error:
            return None, str(error)

    async def _renew(self) -> bool:
        try:
            await self._ask("")
        except (CoordinatorUnreachable, UserError) as error:
            self._tell(str(error))
            return False
        held = self._own()[0] is not None
        if held:
            self._notices.over(_ABOUT, "this peer's membership is renewed")
        return held

    def _tell(self, why: str) -> None:
        trouble = self._own()[1]
        if trouble:
            self._notices.trouble(
                _ABOUT, f"the others refuse this peer ({trouble}), and it cannot become a member "
                f"now: {why}",
            )  # fmt: skip
        else:
            log.info("the membership is not renewed yet: %s", why)

    async def _ask(self, invite: str) -> None:
        members = self._members
        request = membership_pb2.AdmissionRequest(
            run_id=members.run.run_id,
            spec_hash=members.run.spec_hash,
            invite=invite,
            certificate=members.certificate,
        )
        admission = await self._client.admit(self._identity, request)
        if admission.HasField("orders"):
            try:
                members.take(admission.orders)
            except BadSignatureError as error:
                raise UserError(
                    Exit.BAD_SPEC, f"the coordinator's orders are not genuine: {error}"
                ) from error
        certificate = admission.certificate.SerializeToString()
        if admission.HasField("certificate") and len(certificate) <= MAX_CERTIFICATE_BYTES:
            members.certificate = certificate
            await self._write(lambda: save_certificate(self._folder, certificate))

    async def _keep_orders(self) -> None:
        orders = self._members.orders
        if orders is None or orders.rank == self._kept:
            return
        if await self._write(lambda: save_orders(self._folder, orders.signed)):
            self._kept = orders.rank

    async def _write(self, write: Callable[[], None]) -> bool:
        try:
            await anyio.to_thread.run_sync(write)
        except OSError as error:
            self._notices.trouble("keep membership", f"cannot keep the membership: {error}")
            return False
        self._notices.over("keep membership", "the membership is kept again")
        return True
