"""The coordinator's gRPC face: requests in, answers or a status with one line out.

One thread does all the work of the service, in order: the event loop never waits for the disk,
and a request that its caller gave up is still finished whole.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
import psutil

from coordinator import domain, wire
from coordinator.intake_queue import IntakeQueue
from coordinator.service import CoordinatorService
from peer.swarm.clock import CLOCK
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, membership_pb2, swarm_pb2

MAX_REQUEST_BYTES = 1 << 20
MAX_CALLS = 2048
"""Calls at one time; more are refused with RESOURCE_EXHAUSTED. Most are reports that wait for the
disk together."""
PUSHBACK = (("grpc-retry-pushback-ms", "5000"),)
"""Told with what is refused for want of room: gRPC's name for how long to stay away."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # without this a second coordinator could listen on the same port and take half of the calls
    ("grpc.so_reuseport", 0),
)

_STATUS: dict[type[domain.RefusedError], grpc.StatusCode] = {
    domain.UnknownRunError: grpc.StatusCode.NOT_FOUND,
    domain.InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    domain.SpecChangedError: grpc.StatusCode.ALREADY_EXISTS,
    domain.InvalidReportError: grpc.StatusCode.INVALID_ARGUMENT,
    domain.ForgedReportError: grpc.StatusCode.UNAUTHENTICATED,
    domain.ForeignRunError: grpc.StatusCode.PERMISSION_DENIED,
    domain.RunFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    domain.StorageError: grpc.StatusCode.UNAVAILABLE,
    domain.BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

_Context = grpc.aio.ServicerContext[Any, Any]
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class CoordinatorServicer(coordinator_pb2_grpc.CoordinatorServicer):
    """Answers `swarmpb.v1.Coordinator`."""

    def __init__(
        self, service: CoordinatorService, worker: Executor, initial_peers: Sequence[str]
    ) -> None:
        """`worker` has one thread; `initial_peers` are libp2p multiaddresses."""
        self._service = service
        self._worker = worker
        self._reports = IntakeQueue(service.take_reports, worker)
        self._initial_peers = tuple(initial_peers)

    async def RegisterRun(  # noqa: N802  named by the proto, like those below
        self, request: coordinator_pb2.LocalRunRequest, context: _Context
    ) -> coordinator_pb2.RunInfo:
        if not is_local(context.peer()):
            await _refuse(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                "runs are registered from the coordinator's own machine only;"
                " use `coordinator run create` there",
            )
        return await self._answer(context, self._register, request)

    async def ListRuns(  # noqa: N802
        self, request: coordinator_pb2.ListRunsRequest, context: _Context
    ) -> coordinator_pb2.ListRunsReply:
        return await self._answer(context, self._list, request)

    async def GetRun(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: _Context
    ) -> coordinator_pb2.RunInfo:
        return await self._answer(context, self._run_info, request)

    async def Report(  # noqa: N802
        self, request: swarm_pb2.Envelope, context: _Context
    ) -> coordinator_pb2.ReportReply:
        try:
            taken = await self._reports.take(request)
        except domain.RefusedError as refusal:
            if isinstance(refusal, domain.BusyError):
                context.set_trailing_metadata(PUSHBACK)
            await _refuse(context, _STATUS[type(refusal)], str(refusal))
        return coordinator_pb2.ReportReply(
            accepted_sequence=taken.sequence,
            server_time_ms=int(CLOCK.now() * 1000),
            taken_row=taken.taken_row,
            model_wanted=taken.model_wanted,
        )

    async def RestoreRun(  # noqa: N802
        self, request: coordinator_pb2.SignedSpec, context: _Context
    ) -> coordinator_pb2.RunInfo:
        return await self._answer(context, self._restore, request)

    async def Admit(  # noqa: N802
        self, request: swarm_pb2.Envelope, context: _Context
    ) -> membership_pb2.Admission:
        await _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "not yet")

    async def GetReceipts(  # noqa: N802
        self, request: coordinator_pb2.ReceiptsRequest, context: _Context
    ) -> coordinator_pb2.Receipts:
        await _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "not yet")

    async def GetProgress(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: _Context
    ) -> coordinator_pb2.RunProgress:
        return await self._answer(context, self._progress, request)

    async def _answer(
        self, context: _Context, work: Callable[[_Request], _Answer], request: _Request
    ) -> _Answer:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, work, request)
        except domain.RefusedError as refusal:
            await _refuse(context, _STATUS[type(refusal)], str(refusal))

    # ---- in the worker's thread ----------------------------------------------------------

    def _register(self, request: coordinator_pb2.LocalRunRequest) -> coordinator_pb2.RunInfo:
        return self._info(self._service.register(request.spec))

    def _restore(self, request: coordinator_pb2.SignedSpec) -> coordinator_pb2.RunInfo:
        return self._info(self._service.restore(request))

    def _list(self, _: coordinator_pb2.ListRunsRequest) -> coordinator_pb2.ListRunsReply:
        summaries = []
        for run in self._service.runs():
            ledger = self._service.ledger(run.run_id)
            live = self._service.peers_live(run.run_id)
            summaries.append(wire.run_summary(run, live, ledger.round, ledger.tokens))
        return coordinator_pb2.ListRunsReply(runs=summaries)

    def _run_info(self, request: coordinator_pb2.GetRunRequest) -> coordinator_pb2.RunInfo:
        return self._info(self._service.run(request.run_id))

    def _progress(self, request: coordinator_pb2.GetRunRequest) -> coordinator_pb2.RunProgress:
        run = self._service.run(request.run_id)
        return wire.run_progress(run, self._service.progress(run.run_id))

    def _info(self, run: domain.Run) -> coordinator_pb2.RunInfo:
        ledger = self._service.ledger(run.run_id)
        return wire.run_info(run, ledger.round, ledger.tokens, self._initial_peers, CLOCK.now())


async def _refuse(context: _Context, code: grpc.StatusCode, why: str) -> NoReturn:
    await context.abort(code, why)
    raise AssertionError("abort always raises")


def is_local(peer: str) -> bool:
    """Whether gRPC's name of a caller, such as `ipv4:127.0.0.1:40000`, is on this machine.

    A coordinator on a LAN address only is called from that address by its own machine.
    """
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return True
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return bool(address.is_loopback or str(address) in _own_addresses())


def _own_addresses() -> set[str]:
    cards = psutil.net_if_addrs().values()
    return {it.address.partition("%")[0] for card in cards for it in card}
