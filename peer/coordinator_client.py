"""The calls that a peer makes to its coordinator."""

from __future__ import annotations

import anyio
import anyio.to_thread
import grpc

from peer.run_metadata import RunMetadata, check_clock, check_published
from peer.swarm.clock import CLOCK
from swarmpb.channels import Unreachable, aio_channel, trust, untrusted_hint
from swarmpb.endpoints import Endpoint, parse_endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, membership_pb2

CALL_SECONDS = 5.0
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5000),)
_ADMISSION_EXITS = {
    grpc.StatusCode.PERMISSION_DENIED: Exit.NOT_ADMITTED,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.RUN_CLOSED,
}


class CoordinatorUnreachable(Exception):
    """No coordinator answers; says at which address."""


class CoordinatorClient:
    """Calls to one coordinator, each with a deadline."""

    def __init__(self, endpoint: Endpoint | str) -> None:
        """endpoint: or HOST:PORT. Nothing is sent before the first call."""
        self.endpoint = parse_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self.address = self.endpoint.address
        self._channel: grpc.aio.Channel | None = None
        self._stub: coordinator_pb2_grpc.CoordinatorAsyncStub
        self._connecting = anyio.Lock()
        self.clock_ahead: float | None = None
        """Seconds that this machine's time is ahead of the coordinator's, as `run` found."""

    async def _connected(self) -> coordinator_pb2_grpc.CoordinatorAsyncStub:
        """The stub, after the coordinator's certificate was compared with the link's fingerprint.

        Raises `CoordinatorUnreachable`, or `UserError` WRONG_COORDINATOR.
        """
        async with self._connecting:
            if self._channel is None:
                try:
                    trusted = await anyio.to_thread.run_sync(trust, self.endpoint)
                except Unreachable as error:
                    raise CoordinatorUnreachable(str(error)) from error
                self._channel = aio_channel(self.endpoint, trusted, _OPTIONS)
                self._stub = coordinator_pb2_grpc.CoordinatorStub(self._channel)
        return self._stub

    async def _ready(self) -> coordinator_pb2_grpc.CoordinatorAsyncStub:
        """The same for callers that know gRPC's errors only."""
        try:
            return await self._connected()
        except (CoordinatorUnreachable, UserError) as error:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, nothing, nothing, str(error)
            ) from error

    async def run(self, run_id: str) -> RunMetadata:
        """The metadata of a run, checked.

        Raises `CoordinatorUnreachable`, or `UserError`: UNKNOWN_RUN, PROTOCOL_MISMATCH,
        CLOCK_OFF, BAD_SPEC, REFUSED.
        """
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        asked = CLOCK.now()
        try:
            info = await (await self._connected()).GetRun(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, run_id) from error
        answered = CLOCK.now()
        self.clock_ahead = (asked + answered) / 2 - info.server_time_ms / 1000
        # the version first: what another one means by its fields is not known
        published = check_published(info, run_id)
        check_clock(info.server_time_ms, asked, answered)
        return published

    async def progress(self, run_id: str) -> coordinator_pb2.RunProgress:
        """How far a run is and who trains it, not checked; raises as `run` does."""
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        try:
            return await (await self._connected()).GetProgress(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, run_id) from error

    async def report(
        self, identity: PeerIdentity, report: coordinator_pb2.ProgressReport
    ) -> coordinator_pb2.ReportReply:
        """Hand over a progress report; raises `grpc.aio.AioRpcError`."""
        envelope = identity.seal("report", report.SerializeToString())
        return await (await self._ready()).Report(envelope, timeout=CALL_SECONDS)

    async def restore(
        self,
        spec: coordinator_pb2.SignedSpec,
        orders: membership_pb2.SignedOrders | None = None,
    ) -> None:
        """Give the run back to a coordinator that lost it; raises `grpc.aio.AioRpcError`."""
        request = coordinator_pb2.RestoreRunRequest(spec=spec, orders=orders)
        await (await self._ready()).RestoreRun(request, timeout=CALL_SECONDS)

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
            return await (await self._connected()).Admit(envelope, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            code = _ADMISSION_EXITS.get(error.code())
            if code is None:
                raise self._explain(error, request.run_id) from error
            raise UserError(code, first_line(error.details() or code.name)) from error

    async def receipts(
        self, run_id: str, peer_id: str, before: int
    ) -> list[coordinator_pb2.SignedReceipt]:
        """Some of a peer's receipts of rounds below `before`, the newest first; 0: the newest.

        Not checked. Raises as `run` does.
        """
        request = coordinator_pb2.ReceiptsRequest(
            run_id=run_id, peer_id=peer_id, before_round=before
        )
        try:
            told = await (await self._connected()).GetReceipts(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, run_id) from error
        return list(told.receipts)

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
        if self._channel is not None:
            await self._channel.close()

    def _explain(self, error: grpc.aio.AioRpcError, run_id: str) -> Exception:
        code, detail = error.code(), error.details() or ""
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return CoordinatorUnreachable(
                f"no coordinator answers at {self.address}{untrusted_hint(self.endpoint)}"
            )
        if code is grpc.StatusCode.NOT_FOUND:
            return UserError(
                Exit.UNKNOWN_RUN,
                f"the coordinator at {self.address} knows no run named {run_id!r}; "
                f"`coordinator run list --coordinator {self.endpoint}` shows those it knows",
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
    """What of another side's words fits into a line, with nothing that a terminal would obey."""
    line = next(iter(text.splitlines()), "")[:200]
    return "".join(it if it.isprintable() else "?" for it in line)
