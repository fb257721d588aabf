"""The coordinator's gRPC face: requests in, answers or a status with one line out.

One thread does all the work of the service, in order: the event loop never waits for the disk,
and a request that its caller gave up is still finished whole.
"""

from __future__ import annotations

from coordinator import domain
from coordinator.membership.admission import Admissions
from coordinator.membership.restoring import Restoring
from coordinator.reports.intake_queue import IntakeQueue
from coordinator.rpc import wire
from coordinator.rpc.desk import Context, Desk, turn_down
from peer.swarm.clock import CLOCK
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, membership_pb2, swarm_pb2

MAX_REQUEST_BYTES = 1 << 20
MAX_CALLS = 2048
"""Calls at one time; more are refused with RESOURCE_EXHAUSTED. Most are reports that wait for the
disk together."""

MAX_RECEIPTS = 200
"""In one answer."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", 8 << 20),
    ("grpc.max_metadata_size", 8 << 10),
    # of one connection; a benchmark's peers share a few
    ("grpc.max_concurrent_streams", 1024),
    # who never greets, who is gone without a word, who says nothing, and who pings all the time
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.max_connection_age_ms", 86_400_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    # without this a second coordinator could listen on the same port and take half of the calls
    ("grpc.so_reuseport", 0),
)


class CoordinatorServicer(coordinator_pb2_grpc.CoordinatorServicer):
    """Answers `swarmpb.v1.Coordinator`."""

    def __init__(
        self,
        desk: Desk,
        admissions: Admissions,
        restoring: Restoring,
        reports: IntakeQueue | None = None,
    ) -> None:
        self._desk = desk
        self._service = desk.service
        self._authority = desk.authority
        self._admissions = admissions
        self._restoring = restoring
        self._reports = reports or IntakeQueue(desk.service.take_reports, desk.worker)

    async def ListRuns(  # noqa: N802  named by the proto, like those below
        self, request: coordinator_pb2.ListRunsRequest, context: Context
    ) -> coordinator_pb2.ListRunsReply:
        return await self._desk.answer(context, self._list, request)

    async def GetRun(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        return await self._desk.answer(context, self._run_info, request)

    async def Report(  # noqa: N802
        self, request: swarm_pb2.Envelope, context: Context
    ) -> coordinator_pb2.ReportReply:
        try:
            taken = await self._reports.take(request)
        except domain.RefusedError as refusal:
            await turn_down(context, refusal)
        return coordinator_pb2.ReportReply(
            accepted_sequence=taken.sequence,
            server_time_ms=int(CLOCK.now() * 1000),
            taken_row=taken.taken_row,
            model_wanted=taken.model_wanted,
            orders=taken.orders,
            wanted_rosters=taken.wanted_rosters,
            report_seconds=self._service.pace.seconds,
        )

    async def RestoreRun(  # noqa: N802
        self, request: coordinator_pb2.RestoreRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        return await self._desk.answer(context, self._restore, request)

    async def Admit(  # noqa: N802
        self, request: swarm_pb2.Envelope, context: Context
    ) -> membership_pb2.Admission:
        return await self._desk.answer(context, self._admissions.admit, request)

    async def GetReceipts(  # noqa: N802
        self, request: coordinator_pb2.ReceiptsRequest, context: Context
    ) -> coordinator_pb2.Receipts:
        return await self._desk.answer(context, self._receipts, request)

    async def GetProgress(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: Context
    ) -> coordinator_pb2.RunProgress:
        return await self._desk.answer(context, self._progress, request)

    # ---- in the worker's thread ----------------------------------------------------------

    def _restore(self, request: coordinator_pb2.RestoreRunRequest) -> coordinator_pb2.RunInfo:
        orders = request.orders if request.HasField("orders") else None
        return self._desk.info(self._restoring.restore(request.spec, orders))

    def _list(self, _: coordinator_pb2.ListRunsRequest) -> coordinator_pb2.ListRunsReply:
        summaries = []
        for run in self._service.runs():
            ledger = self._service.ledger(run.run_id)
            live = self._service.peers_live(run.run_id)
            summaries.append(wire.run_summary(run, live, ledger.round, ledger.tokens))
        return coordinator_pb2.ListRunsReply(runs=summaries)

    def _run_info(self, request: coordinator_pb2.GetRunRequest) -> coordinator_pb2.RunInfo:
        return self._desk.info(self._service.run(request.run_id))

    def _receipts(self, request: coordinator_pb2.ReceiptsRequest) -> coordinator_pb2.Receipts:
        run, before = self._service.run(request.run_id), request.before_round or None
        found = self._service.credits.of_peer(run.run_id, request.peer_id, before, MAX_RECEIPTS)
        signed = [self._authority.receipt(run, receipt) for receipt in found]
        return coordinator_pb2.Receipts(receipts=signed)

    def _progress(self, request: coordinator_pb2.GetRunRequest) -> coordinator_pb2.RunProgress:
        run = self._service.run(request.run_id)
        return wire.run_progress(run, self._service.progress(run.run_id))
