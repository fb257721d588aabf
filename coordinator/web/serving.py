"""The HTTP server beside gRPC, in the same event loop: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from coordinator.reading import Reading
from coordinator.web.answers import Answers
from coordinator.web.app import build_app

STARTUP_SECONDS = 10.0
GRACE_SECONDS = 2
"""How long responses under way may take when the coordinator stops."""
KEEP_ALIVE_SECONDS = 15
MOST_HEADER_BYTES = 16 << 10
BACKLOG = 256


class _Server(uvicorn.Server):
    """Leaves signals to the coordinator, which stops this server in its turn."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        return nullcontext()


@asynccontextmanager
async def dashboard(
    reading: Reading, worker: Executor, listener: socket.socket
) -> AsyncIterator[None]:
    """Serve pages and data on a bound socket until the end of the block.

    `worker` is the service's one thread.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="json") as renderer:
        app = build_app(reading, Answers(worker, renderer))
        async with serving(app, listener):
            yield


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Answer HTTP on a bound socket until the end of the block; the socket is closed then."""
    # it writes a line for each malformed request, and strangers choose how many there are
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _started(server, running)
        yield
    finally:
        server.should_exit = True
        await running


async def _started(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    deadline = asyncio.get_running_loop().time() + STARTUP_SECONDS
    while not server.started:
        if running.done() or asyncio.get_running_loop().time() > deadline:
            running.cancel()
            await running  # raises what went wrong
        await asyncio.sleep(0.005)
