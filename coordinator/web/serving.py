"""The HTTP server beside gRPC, in the same event loop: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext

import uvicorn
from starlette.types import ASGIApp

from coordinator.config import TlsFiles
from coordinator.operators.metering import HttpMeter
from coordinator.operators.metrics import Metrics
from coordinator.spectators.reading import Reading
from coordinator.web.answers import Answers
from coordinator.web.api import Questions
from coordinator.web.app import build_app
from coordinator.web.connections import Connection, bounded, look_after
from coordinator.web.guard import MOST_HEADER_BYTES
from coordinator.web.health_page import health_page
from coordinator.web.metrics_page import metrics_page
from coordinator.web.stream import Streams

STARTUP_SECONDS = 10.0
GRACE_SECONDS = 2.0
"""How long responses under way may take when the coordinator stops."""
KEEP_ALIVE_SECONDS = 15
BACKLOG = 256


class _Server(uvicorn.Server):
    """Leaves signals to the coordinator, which stops this server in its turn."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        return nullcontext()


@asynccontextmanager
async def dashboard(
    reading: Reading,
    worker: Executor,
    listener: socket.socket,
    trouble: Callable[[], str | None] = lambda: None,
    tls: TlsFiles | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[Streams]:
    """Serve pages and data on a bound socket until the end of the block.

    `worker` is the service's one thread, in which `trouble` says what keeps this coordinator from
    its work: a line for `/healthz`, or None. tls: None for plain text.
    """
    with (
        closing(reading.looking_back()) as past,
        ThreadPoolExecutor(1, thread_name_prefix="looking back") as beside,
    ):
        streams = Streams(reading, worker)
        metrics = metrics or Metrics()
        metrics.gauge(
            "murmuration_stream_listeners",
            "Open streams of server-sent events.",
            lambda: streams.listeners,
        )
        questions = Questions(reading, past, Answers(worker, beside), streams)
        more = (health_page(trouble, worker), metrics_page(metrics, worker))
        app = HttpMeter(build_app(questions, *more), metrics)
        async with serving(app, listener, tls):
            try:
                yield streams
            finally:
                await streams.close()


@asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, tls: TlsFiles | None = None
) -> AsyncIterator[None]:
    """Answer HTTP on a bound socket until the end of the block; the socket is closed then."""
    # it writes a line for each malformed request, and strangers choose how many there are
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2 * int(GRACE_SECONDS),
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listener]))
    looking = asyncio.create_task(look_after(server.server_state.connections))
    try:
        await _started(server, running)
        yield
    finally:
        looking.cancel()
        server.should_exit = True
        await _within_grace(server, running)


async def _within_grace(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    """Let responses under way end, then cut off whoever is left."""
    await asyncio.wait([running], timeout=GRACE_SECONDS)
    for connection in bounded(server.server_state.connections):
        connection.abort()
    await running


async def _started(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    deadline = asyncio.get_running_loop().time() + STARTUP_SECONDS
    while not server.started:
        if running.done() or asyncio.get_running_loop().time() > deadline:
            running.cancel()
            await running  # raises what went wrong
        await asyncio.sleep(0.005)
