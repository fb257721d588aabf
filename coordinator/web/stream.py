"""A run as it goes on: server-sent events, made once for all who watch it.

Each run that anybody watches has one producer. Every two seconds it asks for the run's headline
and for what is new, and hands the same bytes to every listener. A listener has a short queue; who
does not keep up with it is cut off, and comes back by itself as browsers do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pydantic import TypeAdapter

from coordinator.domain import RefusedError, UnknownRunError
from coordinator.limits import household
from coordinator.spectators import views
from coordinator.spectators.reading import News, Reading

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

TICK_SECONDS = 2.0
QUEUED = 8
"""Ticks that a listener may lag behind."""
MOST_LISTENERS = 512
MOST_PER_ADDRESS = 16
RETRY_MILLISECONDS = 3000
"""When a browser that lost the stream comes back."""
NOTHING = b": nothing new\n\n"
"""A comment, which browsers skip, so that proxies do not take the stream for dead."""

OVERVIEW = TypeAdapter(views.RunOverview)
ROUND = TypeAdapter(views.RoundLine)
EVENT = TypeAdapter(views.EventLine)


class TooManyListenersError(Exception):
    """`str(error)` is one line that says what to do."""


class Listener:
    """One client's part of a stream."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.slow = asyncio.Event()
        """Set once it lags too far behind; it gets nothing more."""

    def offer(self, data: bytes) -> None:
        """Let it have these bytes in its turn."""
        if self._waiting.qsize() >= QUEUED:
            self.slow.set()
        elif not self.slow.is_set():
            self._waiting.put_nowait(data)

    def end(self) -> None:
        """Nothing comes after what it has."""
        self._waiting.put_nowait(None)

    async def next(self) -> bytes | None:
        """What it gets next; None: that was all."""
        return await self._waiting.get()


class Streams:
    """All open streams of a coordinator."""

    def __init__(self, reading: Reading, worker: Executor) -> None:
        """`worker` is the service's one thread."""
        self._reading = reading
        self._worker = worker
        self._channels: dict[str, _Channel] = {}
        self._addresses: Counter[str] = Counter()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many there are, of all runs."""
        return self._addresses.total()

    @property
    def watched(self) -> tuple[str, ...]:
        """The runs that have a producer now."""
        return tuple(self._channels)

    @asynccontextmanager
    async def listening(
        self, run_id: str, address: str, after: int | None
    ) -> AsyncIterator[Listener]:
        """A listener from now on; `after`: also to the events with higher numbers than this.

        Raises `TooManyListenersError`.
        """
        address = household(address)
        self._admit(address)
        try:
            async with self._channel(run_id) as channel, channel.joined(after) as listener:
                yield listener
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    async def close(self) -> None:
        """Let every stream end; there are no new ones."""
        self._closed = True
        for channel in list(self._channels.values()):
            await channel.close()

    def _admit(self, address: str) -> None:
        if self._closed:
            raise TooManyListenersError("this coordinator is stopping")
        if self.listeners >= MOST_LISTENERS:
            raise TooManyListenersError(
                f"{MOST_LISTENERS} streams are open, as many as this coordinator serves; ask"
                " for the overview now and then, or try again later"
            )
        if address and self._addresses[address] >= MOST_PER_ADDRESS:
            raise TooManyListenersError(
                f"at most {MOST_PER_ADDRESS} streams for one address; close some, or ask for the"
                " overview now and then"
            )
        self._addresses[address] += 1

    @asynccontextmanager
    async def _channel(self, run_id: str) -> AsyncIterator[_Channel]:
        """That of a run, begun by its first listener and ended by its last."""
        channel = self._channels.get(run_id)
        if channel is None:
            channel = self._channels[run_id] = _Channel(run_id, self._reading, self._worker)
        channel.users += 1
        try:
            yield channel
        finally:
            channel.users -= 1
            if not channel.users:
                del self._channels[run_id]
                await channel.close()


class _Channel:
    """One run's producer and its listeners."""

    def __init__(self, run_id: str, reading: Reading, worker: Executor) -> None:
        self.users = 0
        """Listeners, and those that are about to be."""
        self._run_id = run_id
        self._reading = reading
        self._worker = worker
        self._listeners: set[Listener] = set()
        self._news: News | None = None
        self._overview = NOTHING
        self._begun = asyncio.Event()
        self._producer = asyncio.create_task(self._produce())

    @asynccontextmanager
    async def joined(self, after: int | None) -> AsyncIterator[Listener]:
        listener = Listener()
        listener.offer(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
        await self._begun.wait()
        await self._catch_up(listener, after)
        listener.offer(self._overview)
        if self._producer.done():
            listener.end()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    async def close(self) -> None:
        """End the producer, and after it the listeners."""
        self._producer.cancel()
        with suppress(asyncio.CancelledError):
            await self._producer

    async def _produce(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                await self._tick()
                self._begun.set()
                due = max(due + TICK_SECONDS, loop.time())
                await asyncio.sleep(due - loop.time())
        except UnknownRunError:
            pass  # it was deleted: the listeners' next request is told so
        except Exception:
            log.exception("a bug of ours: the stream of run %s ends", self._run_id)
        finally:
            self._begun.set()
            for listener in self._listeners:
                listener.end()

    async def _tick(self) -> None:
        since = self._news.cursor if self._news else None
        try:
            news = await self._ask(self._reading.news, self._run_id, since)
        except UnknownRunError:
            raise
        except RefusedError as error:
            log.warning("the stream of run %s has nothing to tell: %s", self._run_id, error)
            data = NOTHING
        else:
            self._news = news
            self._overview = frame("overview", OVERVIEW.dump_json(news.overview))
            data = b"".join((*_frames(news), self._overview))
        for listener in self._listeners:
            listener.offer(data)

    async def _catch_up(self, listener: Listener, after: int | None) -> None:
        """Events that it missed while it was away, up to what the others have."""
        while after is not None and self._news is not None and after < self._news.cursor.event:
            upto = self._news.cursor.event
            try:
                events = await self._ask(self._reading.happened, self._run_id, after, upto)
            except RefusedError as error:
                log.warning("events of run %s were not told again: %s", self._run_id, error)
                return
            for event in events:
                listener.offer(_happened(event))
            after = upto

    async def _ask(self, question: Callable[..., _Answer], *about: Any) -> _Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, question, *about)


def frame(event: str, data: bytes, number: int | None = None) -> bytes:
    """One server-sent event; `data` is JSON on one line."""
    identity = f"id: {number}\n" if number is not None else ""
    return f"{identity}event: {event}\ndata: ".encode() + data + b"\n\n"


def _frames(news: News) -> tuple[bytes, ...]:
    return (
        *(frame("round", ROUND.dump_json(line)) for line in news.rounds),
        *(_happened(line) for line in news.events),
    )


def _happened(line: views.EventLine) -> bytes:
    return frame("happened", EVENT.dump_json(line), line.number)
