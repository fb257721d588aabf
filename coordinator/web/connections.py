"""What one TCP connection may cost: how long it may take, how much may wait for it, how many.

uvicorn waits for ever for a request that never ends, and for a client that never reads. Here each
connection is looked at every few seconds, and one that does not get on is cut off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.limits import household

MOST_CONNECTIONS = 1024
MOST_PER_ADDRESS = 64
REQUEST_SECONDS = 20.0
"""From the connection, or the end of a response, to the end of the next request's head."""
STALLED_SECONDS = 20.0
LEAST_TAKEN = 16 << 10
"""Bytes that a client must take in that time, if so many wait for it."""
LOOK_SECONDS = 2.0

AT_ONCE = pack("ii", 1, 0)

ABORT = "murmuration.abort"
"""Where a request's scope has the function that cuts its connection off."""


class Connection(H11Protocol):
    """A client's connection that can be told to end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app = _with_abort(self.app, self.abort)
        self._refused = False
        self._idle_since = self._moved_at = self.loop.time()
        self._waiting_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as there
        super().connection_made(transport)
        others = [it.address for it in bounded(self.connections) if it is not self]
        why = crowded(self.address, others)
        if why is not None:
            self._refused = True
            transport.write(_error(503, "Service Unavailable", why))
            transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        self._refused = True
        self.transport.write(_error(400, "Bad Request", "this is no request that HTTP knows"))
        self.transport.close()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def address(self) -> str:
        """The client's IP address; empty if it is gone already."""
        return self.client[0] if self.client else ""

    def abort(self) -> None:
        """End it now, whatever waits to be sent."""
        # else the machine would keep what it has taken over, for a client that never reads it
        self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, AT_ONCE)
        self.transport.abort()

    def look(self, now: float) -> None:
        """End it if it has not got on for too long; `now` is the event loop's."""
        idle = self.cycle is None or self.cycle.response_complete
        waiting = self.transport.get_write_buffer_size()
        if not waiting or waiting <= self._waiting_bytes - LEAST_TAKEN:
            self._waiting_bytes, self._moved_at = waiting, now
        self._waiting_bytes = max(self._waiting_bytes, waiting)
        if now - self._moved_at > STALLED_SECONDS or (
            idle and not waiting and now - self._idle_since > REQUEST_SECONDS
        ):
            self.abort()


def crowded(address: str, others: Iterable[str]) -> str | None:
    """Why there is no room for a connection from `address` beside `others`, None if there is."""
    households = [household(other) for other in others]
    if len(households) >= MOST_CONNECTIONS:
        return "this coordinator has as many connections as it can serve; try again later"
    own = household(address)
    if own and households.count(own) >= MOST_PER_ADDRESS:
        return f"at most {MOST_PER_ADDRESS} connections from one address"
    return None


def bounded(connections: Iterable[object]) -> list[Connection]:
    """A server's connections, which are all of our kind."""
    return [it for it in connections if isinstance(it, Connection)]


async def look_after(connections: Iterable[object]) -> None:
    """Look at each of a server's connections every few seconds, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for connection in bounded(connections):
            connection.look(loop.time())


def _with_abort(app: Any, abort: Any) -> Any:
    inner: ASGIApp = app

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, ABORT: abort}, receive, send)

    return told


def _error(status: int, phrase: str, why: str) -> bytes:
    """A whole response, for connections that get no further."""
    body = json.dumps({"error": why}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
