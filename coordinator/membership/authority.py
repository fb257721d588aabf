"""The coordinator's word on its runs: orders and certificates, signed with its own key.

Of each run with a charter the newest orders are kept, ready to be handed out. Their sequence is
the time in milliseconds, or one more than before: it grows even if this coordinator loses its disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from coordinator.domain import Receipt, Report, Run
from coordinator.membership.members import Members
from coordinator.membership.refusals import InvalidCharterError, NotInChargeError, OldOrdersError
from coordinator.membership.run_life import Plan
from coordinator.rpc import wire
from coordinator.storage.membership import MembershipStore
from swarmpb.membership import (
    MAX_BANNED,
    MAX_REASON,
    RunIdentity,
    RunState,
    StandingOrders,
    read_certificate,
    read_charter,
    read_orders,
    sign_certificate,
    sign_charter,
    sign_orders,
)
from swarmpb.receipts import sign_receipt
from swarmpb.signing import BadSignatureError, SigningKey
from swarmpb.v1 import coordinator_pb2, membership_pb2

log = logging.getLogger(__name__)

CERTIFICATE_SECONDS = 24 * 3600.0
CLOCK_SECONDS = 300.0
"""A certificate is valid this much before it is made: other clocks may be behind."""
RENEWABLE_SECONDS = 30 * 86_400.0
MAX_SERIAL = (1 << 63) - 1


@dataclass(frozen=True)
class _Wanted:
    """All that orders say."""

    plan: Plan
    invite_only: bool = False
    banned: frozenset[bytes] = frozenset()


class Authority:
    """Speaks for the runs whose charter names its key; of others it hands on what was said."""

    def __init__(self, key: SigningKey, kept: MembershipStore, now: Callable[[], float]) -> None:
        """`now` tells unix seconds."""
        self._key = key
        self._kept = kept
        self._now = now
        self._orders: dict[str, StandingOrders] = {}
        self._former: dict[str, set[bytes]] = {}
        """By run, whom this coordinator has succeeded since it started, its own lost keys."""
        self.members = Members(kept)

    @property
    def public_key(self) -> bytes:
        return self._key.public_key

    def load(self, runs: Iterable[Run]) -> None:
        """Take up what was kept of all runs; once, before anything else is asked about them."""
        runs, kept = list(runs), self._kept.orders()
        self.members.load(run.run_id for run in runs)
        for run in runs:
            if run.run_id in kept:
                self._load(run, kept[run.run_id])

    def _load(self, run: Run, data: bytes) -> None:
        try:
            signed = membership_pb2.SignedOrders.FromString(data)
            self._orders[run.run_id] = read_orders(signed, identity(run))
        except (DecodeError, BadSignatureError) as error:
            log.warning("the kept orders of run %s are damaged (%s)", run.run_id, error)

    def orders(self, run_id: str) -> StandingOrders | None:
        """What holds in a run now; None: nobody speaks for it, and it is open to all."""
        return self._orders.get(run_id)

    def bars(self, report: Report) -> str:
        """Why nothing is taken from a report's peer; empty: it takes part, or may.

        `OldOrdersError` if it names higher orders than are known here.
        """
        run_id, peer_id = report.run_id, report.peer.peer_id
        standing = self._orders.get(run_id)
        if report.orders_rank > (standing.rank if standing is not None else (0, 0)):
            raise OldOrdersError(run_id)
        if standing is None:
            return ""
        if standing.banned and standing.bans(peer_id):
            return f"this peer is banned from run {run_id}"
        if standing.invite_only and not self.members.is_admitted(run_id, peer_id):
            return f"run {run_id} is by invitation, and this peer is not admitted to it"
        return ""

    def speaks_for(self, run_id: str) -> bool:
        """Whether this coordinator can change the run's orders."""
        standing = self._orders.get(run_id)
        return standing is not None and standing.authority == self.public_key

    def check_charter(self, charter: membership_pb2.SignedCharter, run: RunIdentity) -> int:
        """The serial of a charter that names this coordinator; else `InvalidCharterError`."""
        try:
            read = read_charter(charter, run)
        except BadSignatureError as error:
            raise InvalidCharterError(f"charter refused: {error}") from error
        if read.authority != self.public_key:
            raise InvalidCharterError(
                "charter refused: it names another coordinator's key; ask this one for its own"
            )
        if read.serial > MAX_SERIAL:
            raise InvalidCharterError(f"charter refused: its serial is {read.serial}")
        standing = self._orders.get(run.run_id)
        if standing is not None and read.serial < standing.rank[0]:
            raise InvalidCharterError(
                f"charter refused: a newer one is known, with serial {standing.rank[0]}"
            )
        return read.serial

    def accept_charter(
        self,
        run: Run,
        charter: membership_pb2.SignedCharter,
        draft: bool = False,
        invite_only: bool | None = None,
    ) -> StandingOrders:
        """Speak for a run from now on. What held there goes on to hold.

        draft: of a run without orders, nobody may join yet; invite_only: None for no change.
        """
        serial = self.check_charter(charter, identity(run))
        standing = self._orders.get(run.run_id)
        before = _wanted(standing) or _Wanted(Plan(RunState.DRAFT if draft else RunState.OPEN))
        wanted = before if invite_only is None else replace(before, invite_only=invite_only)
        if standing is not None and standing.rank[0] == serial and wanted == before:
            return standing
        return self._give(run, charter, wanted)

    def grant_itself(self, run: Run, owner: SigningKey) -> StandingOrders:
        """Have a run's owner, whose key is at hand, name this coordinator."""
        standing = self._orders.get(run.run_id)
        newest = standing.rank[0] if standing is not None else 0
        if standing is not None and standing.authority != self.public_key:
            self._former.setdefault(run.run_id, set()).add(standing.authority)
        serial = min(max(self._now_ms(), newest + 1), MAX_SERIAL)
        return self.accept_charter(run, sign_charter(owner, identity(run), self.public_key, serial))

    def take(self, run: Run, signed: membership_pb2.SignedOrders) -> bool:
        """Keep orders that a peer knows, if they are higher than those known here.

        Whether they were kept. `InvalidCharterError` if they are not genuine.
        """
        try:
            told = read_orders(signed, identity(run))
        except BadSignatureError as error:
            raise InvalidCharterError(f"orders refused: {error}") from error
        standing = self._orders.get(run.run_id)
        if max(told.rank) > MAX_SERIAL or (standing is not None and told.rank <= standing.rank):
            return False
        self._keep(run.run_id, told)
        return True

    def set_plan(self, run: Run, plan: Plan) -> StandingOrders:
        """Order another state; `NotInChargeError` if another coordinator speaks for the run."""
        return self._change(run, plan=replace(plan, reason=plan.reason[:MAX_REASON]))

    def set_banned(self, run: Run, banned: frozenset[bytes]) -> StandingOrders:
        """Order whom peers refuse, as `swarmpb.membership.id_digest` names them."""
        if len(banned) > MAX_BANNED:
            raise InvalidCharterError(f"at most {MAX_BANNED} peers of a run can be banned")
        return self._change(run, banned=banned)

    def certify(self, run: Run, peer_id: str) -> membership_pb2.SignedCertificate:
        """A certificate for the next 24 hours."""
        now = self._now()
        return sign_certificate(
            self._key,
            membership_pb2.Certificate(
                run_id=run.run_id,
                spec_hash=run.spec_hash,
                peer_id=peer_id,
                not_before_ms=int((now - CLOCK_SECONDS) * 1000),
                not_after_ms=int((now + CERTIFICATE_SECONDS) * 1000),
            ),
        )

    def has_certified(self, run: Run, certificate: bytes, peer_id: str) -> bool:
        """Whether a peer shows a certificate of this run that ended no longer than a month ago."""
        standing = self._orders.get(run.run_id)
        if standing is None:
            return False
        trusted = {standing.authority, *self._former.get(run.run_id, ())}
        return any(self._certified_by(it, run, certificate, peer_id) for it in trusted)

    def _certified_by(self, authority: bytes, run: Run, certificate: bytes, peer_id: str) -> bool:
        try:
            signed = membership_pb2.SignedCertificate.FromString(certificate)
            end = membership_pb2.Certificate.FromString(signed.certificate).not_after_ms / 1000
            if self._now() > end + RENEWABLE_SECONDS:
                return False
            moment = min(self._now(), end - 1)
            read_certificate(certificate, identity(run), authority, peer_id, moment)
        except (DecodeError, BadSignatureError):
            return False  # the same as none: whoever shows it needs an invitation
        return True

    def receipt(self, run: Run, receipt: Receipt) -> coordinator_pb2.SignedReceipt:
        """This coordinator's word on what a peer is credited with."""
        if not self.speaks_for(run.run_id):
            raise NotInChargeError(run.run_id)
        return sign_receipt(self._key, wire.round_receipt(run, receipt))

    def forget(self, run_id: str) -> None:
        """The run has been deleted."""
        self._orders.pop(run_id, None)
        self.members.forget(run_id)

    def _change(self, run: Run, **changes: object) -> StandingOrders:
        standing = self._orders.get(run.run_id)
        before = _wanted(standing)
        if standing is None or before is None or standing.authority != self.public_key:
            raise NotInChargeError(run.run_id)
        after = replace(before, **changes)  # type: ignore[arg-type]  # named by the two callers
        return standing if after == before else self._give(run, standing.signed.charter, after)

    def _give(
        self, run: Run, charter: membership_pb2.SignedCharter, wanted: _Wanted
    ) -> StandingOrders:
        standing = self._orders.get(run.run_id)
        signed = sign_orders(
            self._key,
            charter,
            membership_pb2.Orders(
                run_id=run.run_id,
                spec_hash=run.spec_hash,
                sequence=max(self._now_ms(), standing.sequence + 1 if standing else 1),
                state=wanted.plan.state,
                reason=wanted.plan.reason,
                stop_tokens=wanted.plan.stop_tokens,
                cooldown_tokens=wanted.plan.cooldown_tokens,
                invite_only=wanted.invite_only,
                banned=sorted(wanted.banned),
                issued_at_ms=self._now_ms(),
            ),
        )
        return self._keep(run.run_id, read_orders(signed, identity(run)))

    def _keep(self, run_id: str, orders: StandingOrders) -> StandingOrders:
        self._kept.set_orders(run_id, orders.signed.SerializeToString(deterministic=True))
        self._orders[run_id] = orders
        return orders

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def identity(run: Run) -> RunIdentity:
    """What all signed words about a run are bound to."""
    return RunIdentity(run.run_id, run.spec_hash, run.owner_key)


def plan_of(standing: StandingOrders) -> Plan:
    """What orders want of a run."""
    return Plan(standing.state, standing.reason, standing.stop_tokens, standing.cooldown_tokens)


def _wanted(standing: StandingOrders | None) -> _Wanted | None:
    if standing is None:
        return None
    return _Wanted(plan_of(standing), standing.invite_only, standing.banned)
