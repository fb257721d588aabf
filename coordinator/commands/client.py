"""What `coordinator run …` asks a coordinator, with every failure as a line a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import grpc
from typing_extensions import Self

from coordinator.membership.admin_token import bearer
from swarmpb.channels import Unreachable, channel, trust, untrusted_hint
from swarmpb.endpoints import Endpoint, parse_endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    membership_pb2,
    swarm_pb2,
)

CALL_SECONDS = 5.0
MAX_ANSWER_BYTES = 8 << 20

_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_EXITS = {
    grpc.StatusCode.NOT_FOUND: Exit.UNKNOWN_RUN,
    grpc.StatusCode.ALREADY_EXISTS: Exit.SPEC_CHANGED,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.BAD_SPEC,
    grpc.StatusCode.UNIMPLEMENTED: Exit.PROTOCOL_MISMATCH,
    grpc.StatusCode.UNAUTHENTICATED: Exit.NO_TOKEN,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.RUN_CLOSED,
}


_NO_PEER = re.compile("knows no peer|peers of run .* fit")

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class Connection:
    """Blocking calls to the coordinator at an endpoint, or HOST:PORT; 5 s at most each.

    A context manager. All calls, and the constructor, raise `UserError`: COORDINATOR_UNREACHABLE,
    WRONG_COORDINATOR, UNKNOWN_RUN, SPEC_CHANGED, BAD_SPEC, PROTOCOL_MISMATCH, NO_TOKEN, RUN_CLOSED
    or REFUSED.
    """

    def __init__(self, endpoint: Endpoint | str) -> None:
        self._endpoint = parse_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self._address = self._endpoint.address
        options = (("grpc.max_receive_message_length", MAX_ANSWER_BYTES),)
        try:
            self.channel = channel(self._endpoint, trust(self._endpoint), options)
        except Unreachable as error:
            raise self._unreachable() from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Answer],
        request: _Request,
        token: str | None = None,
    ) -> _Answer:
        """The answer to one call; `token` is the owner's, for `Admin`."""
        try:
            metadata = bearer(token) if token is not None else None
            return method(request, timeout=CALL_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            self._explain(error)

    def _explain(self, error: Any) -> NoReturn:
        code, details = error.code(), " ".join(str(error.details()).split())[:1000]
        details = "".join(it if it.isprintable() else "?" for it in details)
        if code in _SILENT:
            raise self._unreachable() from error
        if code is grpc.StatusCode.NOT_FOUND and _NO_PEER.search(details):
            raise UserError(Exit.UNKNOWN_PEER, details) from error
        if code not in _EXITS:
            details = f"the coordinator at {self._address} answered {code.name}: {details}"
        raise UserError(_EXITS.get(code, Exit.REFUSED), details) from error

    def _unreachable(self) -> UserError:
        return UserError(
            Exit.COORDINATOR_UNREACHABLE,
            f"no coordinator answers at {self._address}; start one with `coordinator serve` or name"
            f" another with --coordinator{untrusted_hint(self._endpoint)}",
        )


class CoordinatorClient(Connection):
    """What anybody may ask."""

    def __init__(self, endpoint: Endpoint | str) -> None:
        super().__init__(endpoint)
        self._stub = coordinator_pb2_grpc.CoordinatorStub(self.channel)

    def runs(self) -> list[coordinator_pb2.RunSummary]:
        """All runs of the coordinator."""
        reply = self.call(self._stub.ListRuns, coordinator_pb2.ListRunsRequest())
        return list(reply.runs)

    def run(self, run_id: str) -> coordinator_pb2.RunInfo:
        """What a peer needs to join a run."""
        return self.call(self._stub.GetRun, coordinator_pb2.GetRunRequest(run_id=run_id))

    def progress(self, run_id: str) -> coordinator_pb2.RunProgress:
        """How far a run is."""
        return self.call(self._stub.GetProgress, coordinator_pb2.GetRunRequest(run_id=run_id))


class AdminClient(CoordinatorClient):
    """What the owner may ask besides, with the coordinator's admin token."""

    def __init__(self, endpoint: Endpoint | str, token: str) -> None:
        super().__init__(endpoint)
        self._token = token
        self._admin = admin_pb2_grpc.AdminStub(self.channel)

    def authority(self) -> bytes:
        """The public key that a charter has to name."""
        request = admin_pb2.GetAuthorityRequest()
        return self.call(self._admin.GetAuthority, request, self._token).public_key

    def register(self, request: admin_pb2.RegisterRunRequest) -> coordinator_pb2.RunInfo:
        """Publish a signed spec with its charter; the same ones again change nothing."""
        return self.call(self._admin.RegisterRun, request, self._token)

    def admit_guest(self, envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        """What a guest of the owner needs to be dealt with by a run's peers."""
        return self.call(self._admin.AdmitGuest, envelope, self._token)

    def set_state(self, request: admin_pb2.SetRunStateRequest) -> coordinator_pb2.RunInfo:
        """Have a run paused, opened or finished."""
        return self.call(self._admin.SetRunState, request, self._token)

    def delete(self, run_id: str) -> None:
        """Forget a run."""
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        self.call(self._admin.DeleteRun, request, self._token)

    def invite(self, run_id: str, uses: int, seconds: int) -> admin_pb2.Invite:
        """Make an invitation; uses: 0 for any number."""
        request = admin_pb2.CreateInviteRequest(run_id=run_id, uses=uses, seconds=seconds)
        return self.call(self._admin.CreateInvite, request, self._token)

    def events(self, request: admin_pb2.ListEventsRequest) -> Iterator[admin_pb2.RunEvent]:
        """What happened to runs; with `follow` also what happens, until the caller has enough."""
        # the first answer may take as long as there is nothing to tell: a deadline has no place
        seconds = None if request.follow else CALL_SECONDS * 12
        told = self._admin.ListEvents(request, metadata=bearer(self._token), timeout=seconds)
        try:
            yield from told
        except grpc.RpcError as error:
            self._explain(error)
        finally:
            told.cancel()

    def members(self, run_id: str) -> list[admin_pb2.Member]:
        """All peers that a run knows."""
        request = admin_pb2.ListMembersRequest(run_id=run_id)
        return list(self.call(self._admin.ListMembers, request, self._token).members)

    def member(self, run_id: str, peer: str) -> admin_pb2.Member:
        """One of them; `UserError` UNKNOWN_PEER if none or several fit."""
        request = admin_pb2.MemberRequest(run_id=run_id, peer=peer)
        return self.call(self._admin.GetMember, request, self._token)

    def ban(self, run_id: str, peer: str, reason: str) -> admin_pb2.Member:
        """Have a peer refused by all."""
        request = admin_pb2.BanPeerRequest(run_id=run_id, peer=peer, reason=reason)
        return self.call(self._admin.BanPeer, request, self._token)

    def unban(self, run_id: str, peer: str) -> admin_pb2.Member:
        """Take that back."""
        request = admin_pb2.MemberRequest(run_id=run_id, peer=peer)
        return self.call(self._admin.UnbanPeer, request, self._token)
