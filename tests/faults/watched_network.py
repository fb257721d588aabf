"""A network whose messages a `Watch` sees; simulated peers and real ones are hit through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message

from peer.swarm.interface import Handler, Method, Network, Stream
from tests.faults.points import Watch


class WatchedNetwork:
    """A `Network`: `inner`, seen by `watch`."""

    def __init__(self, inner: Network, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    @property
    def peer_id(self) -> str:
        return self._inner.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._inner.addresses

    async def serve(self, handlers: Mapping[Method[Any, Any], Handler]) -> None:
        watched = {method: self._watched(method, it) for method, it in handlers.items()}
        await self._inner.serve(watched)

    def _watched(self, method: Method[Any, Any], handler: Handler) -> Handler:
        async def serve(caller: str, stream: Stream) -> None:
            await handler(caller, _WatchedStream(stream, method.name, True, self._watch))

        return serve

    @asynccontextmanager
    async def open(
        self, peer_id: str, method: Method[Any, Any], seconds: float
    ) -> AsyncIterator[Stream]:
        async with self._inner.open(peer_id, method, seconds) as stream:
            yield _WatchedStream(stream, method.name, False, self._watch)

    async def publish(self, kind: str, payload: bytes, lifetime: float) -> None:
        await self._inner.publish(kind, payload, lifetime)

    async def lookup(self, kind: str) -> dict[str, bytes]:
        return await self._inner.lookup(kind)

    async def reconnect(self, addresses: Sequence[str]) -> int:
        return await self._inner.reconnect(addresses)

    async def refresh(self) -> None:
        await self._inner.refresh()

    def review(self) -> None:
        self._inner.review()

    async def wait_broken(self) -> str:
        return await self._inner.wait_broken()

    async def close(self) -> None:
        await self._inner.close()


class _WatchedStream:
    def __init__(self, inner: Stream, method: str, is_reply: bool, watch: Watch) -> None:
        self._inner = inner
        self._method = method
        self._is_reply = is_reply
        self._watch = watch
        self._question: Any = None
        self.sent = self.received = 0
        self.remote = inner.remote

    async def send(self, message: Message, seconds: float) -> None:
        if not self._is_reply:
            self._question = message
        self._watch.sending(self._method, self._is_reply, message)
        await self._inner.send(message, seconds)
        self.sent = self._inner.sent
        self._watch.sent(self._method, self._is_reply, self._question)

    async def receive(self, seconds: float) -> Any:
        message = await self._inner.receive(seconds)
        self.received = self._inner.received
        if message is not None:
            if self._is_reply:
                self._question = message
            self._watch.received(self._method, self._is_reply, message, self._question)
        return message

    async def send_data(self, data: memoryview, seconds: float) -> None:
        await self._inner.send_data(data, seconds)
        self.sent = self._inner.sent
        self._watch.sent_data(self._method, self._is_reply)

    async def receive_data(self, into: memoryview, seconds: float) -> int:
        try:
            size = await self._inner.receive_data(into, seconds)
        finally:
            self.received = self._inner.received
        self._watch.received_data(self._method, self._is_reply, size)
        return size

    async def finish(self, seconds: float) -> None:
        await self._inner.finish(seconds)
