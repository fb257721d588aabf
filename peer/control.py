"""A peer's control socket: gRPC in its private folder, mode 0600, for its own user only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc

from peer.runtime import running
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import control_pb2, control_pb2_grpc

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_SOCKET = "control.sock"
_ANSWER_SECONDS = 5.0
LONGEST_SECONDS = 366 * 86400.0
"""Of a pause, or until a finish."""


class Steering(Protocol):
    """What a user may ask of their peer; each answer is a line for them.

    A `UserError` is told to them as it is.
    """

    def status(self) -> control_pb2.StatusReply: ...

    def pause(self, seconds: float) -> str:
        """seconds: 0 until resumed."""

    def resume(self) -> str: ...

    def finish(self, within_seconds: float) -> str:
        """within_seconds: 0 after the round under way."""

    def leave(self) -> str: ...

    def reload(self) -> control_pb2.ReloadReply:
        """Read the settings again."""


class _Servicer(control_pb2_grpc.ControlServicer):
    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    async def Status(  # noqa: N802  gRPC names it
        self, request: control_pb2.StatusRequest, context: Any
    ) -> control_pb2.StatusReply:
        return self._steering.status()

    async def Pause(  # noqa: N802  as above
        self, request: control_pb2.PauseRequest, context: Any
    ) -> control_pb2.Answer:
        seconds = await _bounded(request.seconds, context)
        return await _answer(lambda: self._steering.pause(seconds), context)

    async def Resume(  # noqa: N802  as above
        self, request: control_pb2.ResumeRequest, context: Any
    ) -> control_pb2.Answer:
        return await _answer(self._steering.resume, context)

    async def Finish(  # noqa: N802  as above
        self, request: control_pb2.FinishRequest, context: Any
    ) -> control_pb2.Answer:
        seconds = await _bounded(request.within_seconds, context)
        return await _answer(lambda: self._steering.finish(seconds), context)

    async def Leave(  # noqa: N802  as above
        self, request: control_pb2.LeaveRequest, context: Any
    ) -> control_pb2.Answer:
        return await _answer(self._steering.leave, context)

    async def Reload(  # noqa: N802  as above
        self, request: control_pb2.ReloadRequest, context: Any
    ) -> control_pb2.ReloadReply:
        try:
            return self._steering.reload()
        except UserError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise


async def _bounded(seconds: float, context: Any) -> float:
    if not 0 <= seconds <= LONGEST_SECONDS:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a time of at most 366 days")
    return seconds


async def _answer(ask: Callable[[], str], context: Any) -> control_pb2.Answer:
    try:
        return control_pb2.Answer(words=ask())
    except UserError as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        raise


@asynccontextmanager
async def serve_control(folder: Path, steering: Steering) -> AsyncIterator[None]:
    """Answer the peer's user from a socket in `folder` while the context lasts."""
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(_Servicer(steering), server)
    path = folder / _SOCKET
    path.unlink(missing_ok=True)  # of this process before it began anew
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    os.chmod(path, 0o600)  # noqa: PTH101  one call, before anybody is told of it
    try:
        yield
    finally:
        await server.stop(grace=0.2)


@contextmanager
def control_of(state_dir: Path) -> Iterator[control_pb2_grpc.ControlStub]:
    """The control socket of the peer that runs on a run's folder.

    `UserError` NOT_RUNNING if none does or it does not answer; REFUSED with its reason.
    """
    holder = running(state_dir)
    if holder is None:
        raise UserError(
            Exit.NOT_RUNNING,
            f"no peer is running on {state_dir}; start one with `peer join --run ID`",
        )
    pid, folder = holder
    with grpc.insecure_channel(f"unix:{folder / _SOCKET}") as channel:
        try:
            yield control_pb2_grpc.ControlStub(channel)
        except grpc.RpcError as error:
            if error.code() in (
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.INVALID_ARGUMENT,
            ):
                raise UserError(Exit.REFUSED, error.details() or "refused") from error
            raise UserError(
                Exit.NOT_RUNNING,
                f"the peer (process {pid}) does not answer on its control socket; it is starting "
                "or stopping: ask again in a moment",
            ) from error


def ask_status(state_dir: Path) -> control_pb2.StatusReply:
    """The status of the peer that runs on a run's folder; `UserError` as `control_of`."""
    return _ask(state_dir, lambda it: it.Status, control_pb2.StatusRequest())


def reload(state_dir: Path) -> control_pb2.ReloadReply:
    """Have the peer on a run's folder read its settings again; `UserError` as `control_of`."""
    return _ask(state_dir, lambda it: it.Reload, control_pb2.ReloadRequest())


def pause(state_dir: Path, seconds: float) -> str:
    """Have it pause; seconds: 0 until resumed. Its answer; `UserError` as `control_of`."""
    return _ask(state_dir, lambda it: it.Pause, control_pb2.PauseRequest(seconds=seconds)).words


def resume(state_dir: Path) -> str:
    """End its pause. Its answer; `UserError` as `control_of`."""
    return _ask(state_dir, lambda it: it.Resume, control_pb2.ResumeRequest()).words


def finish(state_dir: Path, within_seconds: float) -> str:
    """Have it leave after a round. Its answer; `UserError` as `control_of`."""
    request = control_pb2.FinishRequest(within_seconds=within_seconds)
    return _ask(state_dir, lambda it: it.Finish, request).words


def leave(state_dir: Path) -> str:
    """Have it leave. Its answer; `UserError` as `control_of`."""
    return _ask(state_dir, lambda it: it.Leave, control_pb2.LeaveRequest()).words


def _ask(
    state_dir: Path,
    call: Callable[[control_pb2_grpc.ControlStub], grpc.UnaryUnaryMultiCallable[Request, Reply]],
    request: Request,
) -> Reply:
    with control_of(state_dir) as control:
        return call(control)(request, timeout=_ANSWER_SECONDS, wait_for_ready=True)
