"""What a run's owner may do with a coordinator's runs, told apart from how it is asked.

Like `CoordinatorService`, whose runs these are: blocking, one caller at a time.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from coordinator.domain import EventKind, Invitation, Run, RunFullError
from coordinator.happenings.happening import Happening
from coordinator.membership import run_life
from coordinator.membership.admission import hash_of
from coordinator.membership.authority import Authority, plan_of
from coordinator.membership.peer_names import Named, find_peer
from coordinator.membership.people import MOST_TOLD, describe, in_order
from coordinator.membership.refusals import (
    InvalidRequestError,
    NotInChargeError,
    RunStateError,
)
from coordinator.membership.restoring import Tombstones
from coordinator.membership.signed_specs import verified
from coordinator.reports.intake import line
from coordinator.service import CoordinatorService
from coordinator.storage.membership import MembershipStore
from swarmpb.membership import RunIdentity, StandingOrders, id_digest
from swarmpb.spec import parse_canonical
from swarmpb.v1 import admin_pb2

log = logging.getLogger(__name__)

MAX_REASON = 300
LONGEST_INVITATION = 366 * 86_400
MAX_USES = 1_000_000
INVITATIONS_KEPT = 10_000
"""Of one run; those that ended a month ago make room."""
_FORGET_SECONDS = 30 * 86_400.0


class Administration:
    """Registers runs and changes what is wanted of them. Who asks is the owner: see `TokenGate`."""

    def __init__(
        self,
        service: CoordinatorService,
        authority: Authority,
        kept: MembershipStore,
        tombstones: Tombstones,
        now: Callable[[], float],
    ) -> None:
        """`now` tells unix seconds."""
        self._tombstones = tombstones
        self._service = service
        self._authority = authority
        self._kept = kept
        self._now = now
        self.forget_model: Callable[[Run], None] = lambda run: None
        """Removes what is kept of the model of a run that is deleted."""

    # ---- runs --------------------------------------------------------------------------

    def register(self, request: admin_pb2.RegisterRunRequest) -> Run:
        """Take a run and the right to speak for it; the same again changes nothing.

        Raises `InvalidSpecError`, `SpecChangedError`, `InvalidCharterError`, `StorageError`.
        """
        spec = verified(request.spec)
        told = RunIdentity(spec.run_id, request.spec.hash, request.spec.owner_key)
        self._authority.check_charter(request.charter, told)
        run = self._service.register(request.spec)
        self._tombstones.remove(run.spec_hash)
        asked = request.invite_only if request.HasField("invite_only") else None
        self._authority.accept_charter(run, request.charter, request.draft, asked)
        return run

    def set_state(self, request: admin_pb2.SetRunStateRequest) -> Run:
        """Order another state. Raises `RunStateError`, `NotInChargeError`, `UnknownRunError`."""
        run = self._service.run(request.run_id)
        standing = self._require_charge(run)
        course = self._course(run)
        if request.cooldown_tokens > course.target_tokens:
            raise InvalidRequestError(
                f"a cooldown of {request.cooldown_tokens} tokens is longer than the run"
            )
        reason = line(request.reason, MAX_REASON)
        before = plan_of(standing)
        plan = run_life.change(before, request.state, reason, request.cooldown_tokens, course)
        self._set_plan(run, before, plan)
        return run

    def delete(self, run_id: str) -> None:
        """Forget a run with its history. `RunStateError` while peers train it."""
        run = self._service.run(run_id)
        live = self._service.peers_live(run_id)
        if live:
            raise RunStateError(
                f"{live} peers of run {run_id} are live, and would bring it back; finish it first,"
                " or ban them"
            )
        self._tombstones.add(run.spec_hash)
        self._service.delete(run.run_id)
        self.forget_model(run)
        log.warning("run %s is deleted", run_id)

    def pass_time(self) -> None:
        """Finish the runs that have reached their end; called every second or two."""
        for run in self._service.runs():
            standing = self._authority.orders(run.run_id)
            if standing is None or not self._authority.speaks_for(run.run_id):
                continue
            before = plan_of(standing)
            plan = run_life.ended(before, self._course(run))
            if plan is not None:
                self._set_plan(run, before, plan)

    def _set_plan(self, run: Run, before: run_life.Plan, plan: run_life.Plan) -> None:
        self._authority.set_plan(run, plan)
        if plan.state != before.state:
            why = f": {plan.reason}" if plan.reason else ""
            text = f"the run is {run_life.NAMES[plan.state]}{why}"
            self._service.events.record(run.run_id, Happening(EventKind.RUN_STATE, text))

    def _course(self, run: Run) -> run_life.Course:
        """By what most live peers say; one liar does not finish a run."""
        told = self._service.ledger(run.run_id).run_tokens_told(self._now())
        cooldown = parse_canonical(run.spec).inner.cooldown_tokens
        return run_life.Course(run_life.told_by_most(told), run.target_tokens, cooldown)

    # ---- invitations -------------------------------------------------------------------

    def invite(self, request: admin_pb2.CreateInviteRequest) -> admin_pb2.Invite:
        """Make an invitation; its secret is told this once.

        Raises `InvalidRequestError`, `RunFullError`, `NotInChargeError`, `UnknownRunError`.
        """
        run = self._service.run(request.run_id)
        self._require_charge(run)
        if not 0 < request.seconds <= LONGEST_INVITATION:
            raise InvalidRequestError("an invitation lasts between a second and a year")
        if request.uses > MAX_USES:
            raise InvalidRequestError(f"an invitation serves at most {MAX_USES} peers, or any")
        now = self._now()
        self._kept.forget_invitations(run.run_id, now - _FORGET_SECONDS)
        if len(self._kept.invitations(run.run_id)) >= INVITATIONS_KEPT:
            raise RunFullError(f"at most {INVITATIONS_KEPT} invitations of a run are kept")
        secret = secrets.token_hex(16)
        ends = now + request.seconds
        invitation = Invitation(hash_of(secret), request.uses or None, ends, now)
        self._kept.add_invitation(run.run_id, invitation)
        return admin_pb2.Invite(
            run_id=run.run_id, secret=secret, expires_at_ms=int(ends * 1000), uses=request.uses
        )

    # ---- peers -------------------------------------------------------------------------

    def ban(self, run_id: str, peer: str, reason: str) -> str:
        """Have a peer refused by all; its id. Also one that was never here, by its whole id.

        Raises `NoOnePeerError`, `NotInChargeError`, `RunFullError`, `UnknownRunError`.
        """
        run = self._service.run(run_id)
        standing = self._require_charge(run)
        peer_id = peer if id_digest(peer) else self.find(run_id, peer)
        why = line(reason, MAX_REASON)
        self._authority.members.ban(run_id, peer_id, self._now(), why)
        if not standing.bans(peer_id):
            self._authority.set_banned(run, standing.banned | {id_digest(peer_id)})
            text = f"{self._name(run_id, peer_id)} is banned{': ' if why else ''}{why}"
            self._service.events.record(run_id, Happening(EventKind.BANNED, text, peer_id))
        return peer_id

    def unban(self, run_id: str, peer: str) -> str:
        """Let a peer take part again; its id. Raises as `ban` does."""
        run = self._service.run(run_id)
        standing = self._require_charge(run)
        peer_id = peer if id_digest(peer) else self.find(run_id, peer)
        self._authority.members.unban(run_id, peer_id)
        if standing.bans(peer_id):
            self._authority.set_banned(run, standing.banned - {id_digest(peer_id)})
            text = f"{self._name(run_id, peer_id)} may take part again"
            self._service.events.record(run_id, Happening(EventKind.UNBANNED, text, peer_id))
        return peer_id

    def _name(self, run_id: str, peer_id: str) -> str:
        known = self._service.ledger(run_id).peers.get(peer_id)
        return known.name if known is not None and known.name else f"…{peer_id[-8:]}"

    def peers(self, run_id: str) -> list[admin_pb2.Member]:
        """All peers that the run knows, by name and id; `MOST_TOLD` at most, live ones first."""
        now, ledger = self._now(), self._service.ledger(run_id)
        members = self._authority.members.of(run_id)
        described = [
            describe(peer_id, ledger, members.get(peer_id), now)
            for peer_id in {**ledger.peers, **members}
        ]
        described.sort(key=in_order)
        return described[:MOST_TOLD]

    def peer(self, run_id: str, told: str) -> admin_pb2.Member:
        """One of them, as `find` finds it."""
        peer_id = self.find(run_id, told)
        member = self._authority.members.of(run_id).get(peer_id)
        return describe(peer_id, self._service.ledger(run_id), member, self._now())

    def find(self, run_id: str, told: str) -> str:
        """The id of the one peer that has this id, this name, or an id that ends so.

        `NoOnePeerError` if there is none, or several.
        """
        return find_peer(run_id, told, self.named(run_id))

    def named(self, run_id: str) -> list[Named]:
        """All peers that the run knows: those that report, and those on the list of members."""
        ledger, members = self._service.ledger(run_id), self._authority.members.of(run_id)
        known = {peer_id: Named(peer_id, peer.name) for peer_id, peer in ledger.peers.items()}
        return list(({peer_id: Named(peer_id, "") for peer_id in members} | known).values())

    def _require_charge(self, run: Run) -> StandingOrders:
        standing = self._authority.orders(run.run_id)
        if standing is None or not self._authority.speaks_for(run.run_id):
            raise NotInChargeError(run.run_id)
        return standing
