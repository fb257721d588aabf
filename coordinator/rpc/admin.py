"""The gRPC face of the service `Admin`; the token has been checked before (`TokenGate`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from coordinator.domain import RefusedError
from coordinator.membership.administration import Administration
from coordinator.membership.admission import Admissions
from coordinator.rpc.desk import Context, Desk, turn_down
from coordinator.rpc.event_stream import events
from swarmpb.v1 import admin_pb2, admin_pb2_grpc, coordinator_pb2, membership_pb2, swarm_pb2


class AdminServicer(admin_pb2_grpc.AdminServicer):
    """Answers `swarmpb.v1.Admin`."""

    def __init__(self, desk: Desk, administration: Administration, admissions: Admissions) -> None:
        self._desk = desk
        self._admissions = admissions
        self._administration = administration

    async def GetAuthority(  # noqa: N802  named by the proto, like those below
        self, request: admin_pb2.GetAuthorityRequest, context: Context
    ) -> admin_pb2.Authority:
        return admin_pb2.Authority(public_key=self._desk.authority.public_key)

    async def RegisterRun(  # noqa: N802
        self, request: admin_pb2.RegisterRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        return await self._desk.answer(context, self._register, request)

    async def SetRunState(  # noqa: N802
        self, request: admin_pb2.SetRunStateRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        return await self._desk.answer(context, self._set_state, request)

    async def DeleteRun(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: Context
    ) -> admin_pb2.DeleteRunReply:
        return await self._desk.answer(context, self._delete, request)

    async def CreateInvite(  # noqa: N802
        self, request: admin_pb2.CreateInviteRequest, context: Context
    ) -> admin_pb2.Invite:
        return await self._desk.answer(context, self._administration.invite, request)

    async def ListMembers(  # noqa: N802
        self, request: admin_pb2.ListMembersRequest, context: Context
    ) -> admin_pb2.ListMembersReply:
        return await self._desk.answer(context, self._members, request)

    async def GetMember(  # noqa: N802
        self, request: admin_pb2.MemberRequest, context: Context
    ) -> admin_pb2.Member:
        return await self._desk.answer(context, self._member, request)

    async def BanPeer(  # noqa: N802
        self, request: admin_pb2.BanPeerRequest, context: Context
    ) -> admin_pb2.Member:
        return await self._desk.answer(context, self._ban, request)

    async def UnbanPeer(  # noqa: N802
        self, request: admin_pb2.MemberRequest, context: Context
    ) -> admin_pb2.Member:
        return await self._desk.answer(context, self._unban, request)

    async def AdmitGuest(  # noqa: N802
        self, request: swarm_pb2.Envelope, context: Context
    ) -> membership_pb2.Admission:
        return await self._desk.answer(context, self._admissions.admit_guest, request)

    async def ListEvents(  # noqa: N802
        self, request: admin_pb2.ListEventsRequest, context: Context
    ) -> AsyncIterator[admin_pb2.RunEvent]:
        try:
            async for event in events(self._desk, request):
                yield event
        except RefusedError as refusal:
            await turn_down(context, refusal)

    # ---- in the worker's thread ----------------------------------------------------------

    def _register(self, request: admin_pb2.RegisterRunRequest) -> coordinator_pb2.RunInfo:
        return self._desk.info(self._administration.register(request))

    def _set_state(self, request: admin_pb2.SetRunStateRequest) -> coordinator_pb2.RunInfo:
        return self._desk.info(self._administration.set_state(request))

    def _delete(self, request: coordinator_pb2.GetRunRequest) -> admin_pb2.DeleteRunReply:
        self._administration.delete(request.run_id)
        return admin_pb2.DeleteRunReply()

    def _members(self, request: admin_pb2.ListMembersRequest) -> admin_pb2.ListMembersReply:
        return admin_pb2.ListMembersReply(members=self._administration.peers(request.run_id))

    def _member(self, request: admin_pb2.MemberRequest) -> admin_pb2.Member:
        return self._administration.peer(request.run_id, request.peer)

    def _ban(self, request: admin_pb2.BanPeerRequest) -> admin_pb2.Member:
        peer_id = self._administration.ban(request.run_id, request.peer, request.reason)
        return self._administration.peer(request.run_id, peer_id)

    def _unban(self, request: admin_pb2.MemberRequest) -> admin_pb2.Member:
        peer_id = self._administration.unban(request.run_id, request.peer)
        return self._administration.peer(request.run_id, peer_id)
