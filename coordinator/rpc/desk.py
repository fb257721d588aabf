"""What both gRPC services share: one thread that does the work, and a status for each refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeVar

import grpc

from coordinator import domain
from coordinator.membership import refusals
from coordinator.membership.authority import Authority
from coordinator.rpc import wire
from coordinator.service import CoordinatorService
from peer.swarm.clock import CLOCK
from swarmpb.v1 import coordinator_pb2

_STATUS: dict[type[domain.RefusedError], grpc.StatusCode] = {
    domain.UnknownRunError: grpc.StatusCode.NOT_FOUND,
    refusals.OldOrdersError: grpc.StatusCode.NOT_FOUND,
    refusals.NoOnePeerError: grpc.StatusCode.NOT_FOUND,
    domain.InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    refusals.InvalidCharterError: grpc.StatusCode.INVALID_ARGUMENT,
    refusals.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    domain.SpecChangedError: grpc.StatusCode.ALREADY_EXISTS,
    domain.InvalidReportError: grpc.StatusCode.INVALID_ARGUMENT,
    domain.ForgedReportError: grpc.StatusCode.UNAUTHENTICATED,
    domain.ForeignRunError: grpc.StatusCode.PERMISSION_DENIED,
    refusals.NotAdmittedError: grpc.StatusCode.PERMISSION_DENIED,
    refusals.NotInChargeError: grpc.StatusCode.FAILED_PRECONDITION,
    refusals.RunStateError: grpc.StatusCode.FAILED_PRECONDITION,
    domain.RunFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    domain.StorageError: grpc.StatusCode.UNAVAILABLE,
    domain.BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
PUSHBACK = (("grpc-retry-pushback-ms", "5000"),)
"""Told with what is refused for want of room: gRPC's name for how long to stay away."""

Context = grpc.aio.ServicerContext[Any, Any]
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class Desk:
    """Where requests are brought to the service's thread, and runs are described."""

    def __init__(
        self,
        service: CoordinatorService,
        authority: Authority,
        worker: Executor,
        initial_peers: Sequence[str],
    ) -> None:
        """`worker` has one thread; `initial_peers` are libp2p multiaddresses."""
        self.service = service
        self.authority = authority
        self.worker = worker
        self._initial_peers = tuple(initial_peers)

    async def answer(
        self, context: Context, work: Callable[[_Request], _Answer], request: _Request
    ) -> _Answer:
        """What `work` returns, done in the worker's thread; a refusal ends the call with a line."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.worker, work, request)
        except domain.RefusedError as refusal:
            await turn_down(context, refusal)

    def info(self, run: domain.Run) -> coordinator_pb2.RunInfo:
        """What a peer needs to join a run; in the worker's thread."""
        ledger = self.service.ledger(run.run_id)
        standing = self.authority.orders(run.run_id)
        info = wire.run_info(run, ledger.round, ledger.tokens, self._initial_peers, CLOCK.now())
        if standing is not None:
            info.orders.CopyFrom(standing.signed)
        return info


async def turn_down(context: Context, refusal: domain.RefusedError) -> NoReturn:
    """End a call with the status that belongs to a refusal, and its line."""
    if isinstance(refusal, domain.BusyError):
        context.set_trailing_metadata(PUSHBACK)
    await refuse(context, _STATUS[type(refusal)], str(refusal))


async def refuse(context: Context, code: grpc.StatusCode, why: str) -> NoReturn:
    """End a call with a status and one line."""
    await context.abort(code, why)
    raise AssertionError("abort always raises")
