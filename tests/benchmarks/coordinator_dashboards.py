"""Open dashboards of a coordinator under load: a process of its own, told what to do in JSON.

`python -m tests.benchmarks.coordinator_dashboards ORDER`, until standard input closes. Each holds
a stream of server-sent events and asks, as the page does, for the overview and for a page of
participants, on a connection that it keeps. One that loses it comes back a second later.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import uvloop

from tests.benchmarks.coordinator_peers import until_stdin_closes

_BACK_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_LINE_BYTES = 1 << 22
PAGE = 100
"""Participants that a page shows."""


@dataclass(frozen=True)
class Order:
    """What a process of dashboards is to do. JSON carries it."""

    host: str
    port: int
    run_id: str
    dashboards: int
    every: float
    """Seconds between two looks at the participants."""
    begin_at: float
    """Seconds of the monotonic clock, which all processes share."""
    out: str
    """A file without its ending: `.npz` and `.json` are written."""


@dataclass
class Log:
    """What all of them saw."""

    due: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))
    """Seconds from when an answer was wanted until it was whole."""
    events: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    gaps: array[float] = field(default_factory=lambda: array("d"))
    """Between two overviews of one stream."""
    failures: Counter[str] = field(default_factory=Counter)

    def save(self, out: str) -> None:
        columns = ("due", "latency", "gaps")
        found: dict[str, Any] = {name: np.array(getattr(self, name)) for name in columns}
        np.savez(f"{out}.npz", **found)
        told = {
            "events": self.events,
            "failures": self.failures,
            "bytes_read": self.bytes_read,
            "cpu_seconds": time.process_time(),
        }
        Path(f"{out}.json").write_text(json.dumps(told))


class Connection:
    """HTTP/1.1, one question at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, path: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: dashboard\r\n\r\n".encode())
        await self._writer.drain()
        status = int((await self._reader.readuntil(b"\r\n")).split()[1])
        headers = {}
        while (line := await self._reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        return status, headers

    async def get(self, path: str) -> bytes:
        """The whole of an answer; `ConnectionError` if it is an error."""
        status, headers = await self.ask(path)
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = b"".join([piece async for piece in self._pieces()])
        if status != 200:
            raise ConnectionError(f"status {status}")
        return body

    async def lines(self) -> AsyncIterator[bytes]:
        """Of an answer in pieces, until it ends."""
        unread = b""
        async for piece in self._pieces():
            *whole, unread = (unread + piece).split(b"\n")
            for line in whole:
                yield line

    async def _pieces(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")


@asynccontextmanager
async def _connected(order: Order) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(order.host, order.port, limit=_LINE_BYTES)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


class Dashboard:
    """One browser."""

    def __init__(self, order: Order, log: Log, chance: random.Random) -> None:
        self._order = order
        self._log = log
        self._offset = chance.random() * order.every
        self._base = f"/api/v1/runs/{order.run_id}"

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.sleep(max(0.0, self._order.begin_at + self._offset - time.monotonic()))
        await asyncio.gather(self._again(self._follow), self._again(self._look))

    async def _again(self, watch: Callable[[Connection], Awaitable[None]]) -> None:
        while True:
            try:
                async with _connected(self._order) as connection:
                    await watch(connection)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self._log.failures[f"{type(error).__name__}: {error}"[:80]] += 1
            await asyncio.sleep(_BACK_SECONDS)

    async def _follow(self, connection: Connection) -> None:
        log = self._log
        status, _ = await connection.ask(f"{self._base}/stream")
        if status != 200:
            raise ConnectionError(f"stream: status {status}")
        before: float | None = None
        async for line in connection.lines():
            log.bytes_read += len(line) + 1
            if line.startswith(b"event:"):
                name = line.partition(b":")[2].strip().decode()
                log.events[name] += 1
                if name == "overview":
                    now = time.monotonic()
                    if before is not None:
                        log.gaps.append(now - before)
                    before = now

    async def _look(self, connection: Connection) -> None:
        log, order = self._log, self._order
        page = f"participants?sort=tokens&descending=true&limit={PAGE}"
        while True:
            turn = (time.monotonic() - order.begin_at - self._offset) // order.every + 1
            due = order.begin_at + self._offset + turn * order.every
            await asyncio.sleep(due - time.monotonic())
            with anyio.fail_after(_ANSWER_SECONDS):
                for what in ("", f"/{page}"):
                    asked = time.monotonic()
                    body = await connection.get(self._base + what)
                    log.due.append(due)
                    # the second question waits for the first; the first for nothing
                    log.latency.append(time.monotonic() - (asked if what else due))
                    log.bytes_read += len(body)


def order_text(order: Order) -> str:
    """As `main` reads it."""
    return json.dumps(asdict(order))


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    uvloop.install()
    log = Log()
    asyncio.run(_run(order, log))
    log.save(order.out)


async def _run(order: Order, log: Log) -> None:
    chance = random.Random(2)
    watching = [
        asyncio.create_task(Dashboard(order, log, chance).run()) for _ in range(order.dashboards)
    ]
    await until_stdin_closes().wait()
    for task in watching:
        task.cancel()
    for outcome in await asyncio.gather(*watching, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    main()
