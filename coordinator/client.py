"""What `coordinator run …` asks a coordinator, with every failure as a line a person can act on."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NoReturn, TypeVar

import grpc

from swarmpb.exits import Exit, UserError
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc

CALL_SECONDS = 5.0
MAX_ANSWER_BYTES = 8 << 20

_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_EXITS = {
    grpc.StatusCode.NOT_FOUND: Exit.UNKNOWN_RUN,
    grpc.StatusCode.ALREADY_EXISTS: Exit.SPEC_CHANGED,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.BAD_SPEC,
    grpc.StatusCode.UNIMPLEMENTED: Exit.PROTOCOL_MISMATCH,
}


_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class CoordinatorClient:
    """Blocking calls to the coordinator at `address` (HOST:PORT), 5 s at most each.

    A context manager. All calls raise `UserError`: COORDINATOR_UNREACHABLE, UNKNOWN_RUN,
    SPEC_CHANGED, BAD_SPEC, PROTOCOL_MISMATCH, or REFUSED.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(
            address,
            options=(
                ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
                # a proxy from the environment has no business between an owner and a coordinator
                ("grpc.enable_http_proxy", 0),
            ),
        )
        self._stub = coordinator_pb2_grpc.CoordinatorStub(self._channel)

    def __enter__(self) -> CoordinatorClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def register(self, signed: coordinator_pb2.SignedSpec) -> coordinator_pb2.RunInfo:
        """Publish a signed spec; the same one again changes nothing."""
        request = coordinator_pb2.LocalRunRequest(spec=signed)
        return self._call(self._stub.RegisterRun, request)

    def runs(self) -> list[coordinator_pb2.RunSummary]:
        """All runs of the coordinator."""
        reply = self._call(self._stub.ListRuns, coordinator_pb2.ListRunsRequest())
        return list(reply.runs)

    def run(self, run_id: str) -> coordinator_pb2.RunInfo:
        """What a peer needs to join a run."""
        return self._call(self._stub.GetRun, coordinator_pb2.GetRunRequest(run_id=run_id))

    def progress(self, run_id: str) -> coordinator_pb2.RunProgress:
        """How far a run is."""
        return self._call(self._stub.GetProgress, coordinator_pb2.GetRunRequest(run_id=run_id))

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[_Request, _Answer], request: _Request
    ) -> _Answer:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            self._explain(error)

    def _explain(self, error: Any) -> NoReturn:
        code, details = error.code(), " ".join(str(error.details()).split())[:1000]
        if code in _SILENT:
            raise UserError(
                Exit.COORDINATOR_UNREACHABLE,
                f"no coordinator answers at {self._address};"
                " start one with `coordinator serve` or name another with --coordinator",
            ) from error
        if code not in _EXITS:
            details = f"the coordinator at {self._address} answered {code.name}: {details}"
        raise UserError(_EXITS.get(code, Exit.REFUSED), details) from error
