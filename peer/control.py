"""The daemon's control socket behind `peer status`: gRPC in its private folder, mode 0600."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from peer.runtime import running
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import control_pb2, control_pb2_grpc

_SOCKET = "control.sock"
_ANSWER_SECONDS = 5.0


class _Servicer(control_pb2_grpc.ControlServicer):
    def __init__(self, status: Callable[[], control_pb2.StatusReply]) -> None:
        self._status = status

    async def Status(  # noqa: N802  gRPC names it
        self, request: control_pb2.StatusRequest, context: object
    ) -> control_pb2.StatusReply:
        return self._status()


@asynccontextmanager
async def serve_control(
    folder: Path, status: Callable[[], control_pb2.StatusReply]
) -> AsyncIterator[None]:
    """Answer `peer status` from a socket in `folder` while the context lasts."""
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(_Servicer(status), server)
    server.add_insecure_port(f"unix:{folder / _SOCKET}")
    await server.start()
    os.chmod(folder / _SOCKET, 0o600)  # noqa: PTH101  one call, before anybody is told of it
    try:
        yield
    finally:
        await server.stop(grace=0.2)


def ask_status(state_dir: Path) -> control_pb2.StatusReply:
    """The status of the daemon that runs on `state_dir`; `UserError` NOT_RUNNING if none does."""
    holder = running(state_dir)
    if holder is None:
        raise UserError(
            Exit.NOT_RUNNING,
            f"no peer is running on {state_dir}; start one with `peer join --run ID`",
        )
    pid, folder = holder
    with grpc.insecure_channel(f"unix:{folder / _SOCKET}") as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        try:
            return stub.Status(
                control_pb2.StatusRequest(), timeout=_ANSWER_SECONDS, wait_for_ready=True
            )
        except grpc.RpcError as error:
            raise UserError(
                Exit.NOT_RUNNING,
                f"the peer (process {pid}) does not answer on its control socket; it is starting "
                "or stopping: ask again in a moment",
            ) from error
