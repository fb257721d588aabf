"""The calls that a peer makes to its coordinator."""

from __future__ import annotations

import grpc

from peer.run_metadata import RunMetadata, check_clock, check_published
from peer.swarm.clock import CLOCK
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, membership_pb2

CALL_SECONDS = 5.0
_ADMISSION_EXITS = {
    grpc.StatusCode.PERMISSION_DENIED: Exit.NOT_ADMITTED,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.RUN_CLOSED,
}


class CoordinatorUnreachable(Exception):
    """No coordinator answers; says at which address."""


class CoordinatorClient:
    """Calls to one coordinator, each with a deadline."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 5000))
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._stub: coordinator_pb2_grpc.CoordinatorAsyncStub = (
            coordinator_pb2_grpc.CoordinatorStub(self._channel)
        )

    async def run(self, run_id: str) -> RunMetadata:
        """The metadata of a run, checked.

        Raises `CoordinatorUnreachable`, or `UserError`: UNKNOWN_RUN, PROTOCOL_MISMATCH,
        CLOCK_OFF, BAD_SPEC, REFUSED.
        """
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        asked = CLOCK.now()
        try:
            info = await self._stub.GetRun(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, run_id) from error
        answered = CLOCK.now()
        # the version first: what another one means by its fields is not known
        published = check_published(info, run_id)
        check_clock(info.server_time_ms, asked, answered)
        return published

    async def report(
        self, identity: PeerIdentity, report: coordinator_pb2.ProgressReport
    ) -> coordinator_pb2.ReportReply:
        """Hand over a progress report; raises `grpc.aio.AioRpcError`."""
        envelope = identity.seal("report", report.SerializeToString())
        return await self._stub.Report(envelope, timeout=CALL_SECONDS)

    async def restore(
        self,
        spec: coordinator_pb2.SignedSpec,
        orders: membership_pb2.SignedOrders | None = None,
    ) -> None:
        """Give the run back to a coordinator that lost it; raises `grpc.aio.AioRpcError`."""
        request = coordinator_pb2.RestoreRunRequest(spec=spec, orders=orders)
        await self._stub.RestoreRun(request, timeout=CALL_SECONDS)

    async def admit(
        self, identity: PeerIdentity, request: membership_pb2.AdmissionRequest
    ) -> membership_pb2.Admission:
        """Ask to take part, or for a new certificate.

        In an open run the answer has orders and no certificate. Raises `CoordinatorUnreachable`,
        or `UserError`: UNKNOWN_RUN, NOT_ADMITTED, RUN_CLOSED, PROTOCOL_MISMATCH, REFUSED.
        """
        request.written_at_ms = int(CLOCK.now() * 1000)
        envelope = identity.seal("admission", request.SerializeToString())
        try:
            return await self._stub.Admit(envelope, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            code = _ADMISSION_EXITS.get(error.code())
            if code is None:
                raise self._explain(error, request.run_id) from error
            raise UserError(code, first_line(error.details() or code.name)) from error

    async def restored(
        self, kept: RunMetadata, orders: membership_pb2.SignedOrders | None = None
    ) -> RunMetadata:
        """A run's metadata after giving it back; raises as `run` does, REFUSED if not taken."""
        try:
            await self.restore(kept.signed_spec(), orders)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, kept.spec.run_id) from error
        return await self.run(kept.spec.run_id)

    async def close(self) -> None:
        await self._channel.close()

    def _explain(self, error: grpc.aio.AioRpcError, run_id: str) -> Exception:
        code, detail = error.code(), error.details() or ""
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return CoordinatorUnreachable(f"no coordinator answers at {self.address}")
        if code is grpc.StatusCode.NOT_FOUND:
            return UserError(
                Exit.UNKNOWN_RUN,
                f"the coordinator at {self.address} knows no run named {run_id!r}; "
                f"`coordinator run list --coordinator {self.address}` shows those it knows",
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return UserError(
                Exit.PROTOCOL_MISMATCH,
                f"what answers at {self.address} is no coordinator of this version: update it, "
                "or name another with --coordinator",
            )
        return UserError(
            Exit.REFUSED, f"the coordinator at {self.address} refuses: {first_line(detail)}"
        )


def first_line(text: str) -> str:
    """What of another side's words fits into a line."""
    return next(iter(text.splitlines()), "")[:200]
