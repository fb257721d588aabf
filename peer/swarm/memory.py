"""A network in memory, for tests of the layers above: same contract, no processes, faults on call.

Messages cross as bytes through small buffers, so a reader that stops reading stops its writer,
as on a real connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from google.protobuf.message import Message

from peer.swarm.clock import CLOCK
from peer.swarm.gate import OPEN, Gate, GuardedStreams, Served
from peer.swarm.inbound import DATA_BYTES
from peer.swarm.interface import (
    Handler,
    Method,
    Refused,
    Stream,
    Unreachable,
    sealed_record,
    short,
)
from swarmpb.signing import PeerIdentity, open_envelope
from swarmpb.v1 import swarm_pb2

_BUFFERED_MESSAGES = 4


@dataclass(frozen=True)
class Crossing:
    """A message about to cross: the `number`-th (from 0) that `sender` sends on its stream."""

    sender: str
    receiver: str
    method: str
    number: int
    is_reply: bool
    data: int
    """Bytes of raw data; 0 for a message."""


@dataclass
class Hub:
    """What connects the networks of one test. Needs a task group to run handlers in."""

    tasks: TaskGroup
    networks: dict[str, MemoryNetwork] = field(default_factory=dict)
    records: dict[str, dict[str, tuple[bytes, float]]] = field(default_factory=dict)
    tap: Callable[[Crossing], None] = lambda crossing: None
    """Called before each message crosses: the place to inject a fault."""
    _sides: dict[str, int] = field(default_factory=dict)
    _healed: anyio.Event = field(default_factory=anyio.Event)

    def join(self, identity: PeerIdentity | None = None, gate: Gate = OPEN) -> MemoryNetwork:
        """A new network; its peer id is that of `identity`."""
        network = MemoryNetwork(self, identity or PeerIdentity.generate(), gate)
        self.networks[network.peer_id] = network
        return network

    def split(self, *sides: Iterable[str]) -> None:
        """From now on nothing passes between these sides; records stay where they are read."""
        self._sides = {peer_id: number for number, side in enumerate(sides) for peer_id in side}
        self._healed = anyio.Event()

    def heal(self) -> None:
        """End a split: what was held up goes on, unless its sender has given up."""
        self._sides = {}
        self._healed.set()

    async def until_passable(self, one: str, other: str) -> None:
        """Wait while two peers are on different sides; those on none reach everybody."""
        if self.apart(one, other):
            await self._healed.wait()

    def apart(self, one: str, other: str) -> bool:
        """Whether two peers are on different sides now."""
        return len({self._sides[it] for it in (one, other) if it in self._sides}) > 1


class MemoryNetwork:
    """A `Network` of a `Hub`."""

    def __init__(self, hub: Hub, identity: PeerIdentity, gate: Gate = OPEN) -> None:
        self._hub = hub
        self._identity = identity
        self._streams = GuardedStreams(gate)
        self._handlers: dict[str, tuple[Method[Any, Any], Handler]] = {}
        self._running = anyio.Event()
        self._running.set()
        self._scopes: set[anyio.CancelScope] = set()
        self._opened: set[_MemoryStream] = set()
        self._gone = anyio.Event()
        self.alive = True

    @property
    def peer_id(self) -> str:
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"/memory/{self.peer_id}",)

    # ---- faults ------------------------------------------------------------------------

    def kill(self) -> None:
        """Vanish, as after SIGKILL: every stream breaks, nothing answers."""
        self.alive = False
        self._gone.set()
        self._running.set()
        for scope in self._scopes:
            scope.cancel()
        for stream in self._opened:
            stream.close()

    def freeze(self) -> None:
        """Stand still, as after SIGSTOP: streams stay open and silent."""
        self._running = anyio.Event()

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._running.set()

    async def until_passable(self, other: str) -> None:
        await self._hub.until_passable(self.peer_id, other)

    def tap(self, receiver: str, method: str, number: int, is_reply: bool, data: int) -> None:
        self._hub.tap(Crossing(self.peer_id, receiver, method, number, is_reply, data))

    # ---- Network -----------------------------------------------------------------------

    async def serve(self, handlers: Mapping[Method[Any, Any], Handler]) -> None:
        self._handlers.update({method.name: (method, it) for method, it in handlers.items()})

    @asynccontextmanager
    async def open(
        self, peer_id: str, method: Method[Any, Any], seconds: float
    ) -> AsyncIterator[Stream]:
        other = self._hub.networks.get(peer_id)
        if other is None or not other.alive or not self.alive:
            raise Unreachable(f"{short(peer_id)} cannot be reached")
        if method.name not in other._handlers:
            raise Unreachable(f"{short(peer_id)} does not answer {method.name}")
        with anyio.move_on_after(seconds) as waited:
            await self._hub.until_passable(self.peer_id, peer_id)
        if waited.cancelled_caught or not self.alive:
            raise Unreachable(f"{short(peer_id)} cannot be reached")
        ended: list[_MemoryStream] = []
        guarded = self._streams.opened(peer_id, method, lambda reason: ended[0].close())
        with guarded as meet:
            near = self._connect(other, method, meet)
            ended.append(near)
            self._opened.add(near)
            try:
                yield near
            finally:
                self._opened.discard(near)
                near.close()

    def _connect(
        self, other: MemoryNetwork, method: Method[Any, Any], meet: Callable[[bytes], None]
    ) -> _MemoryStream:
        """This end of a new stream, the other one of which is served from now on."""
        up_sender, up_receiver = anyio.create_memory_object_stream[Any](_BUFFERED_MESSAGES)
        down_sender, down_receiver = anyio.create_memory_object_stream[Any](_BUFFERED_MESSAGES)
        far = _MemoryStream(other, self, method, True, down_sender, up_receiver)
        near = _MemoryStream(self, other, method, False, up_sender, down_receiver)
        shown, theirs = self._streams.credentials(), other._streams.credentials()
        near.meet = lambda: meet(theirs)
        self._hub.tasks.start_soon(other._serve_stream, self.peer_id, shown, far, method)
        return near

    async def _serve_stream(
        self, caller: str, shown: bytes, stream: _MemoryStream, method: Method[Any, Any]
    ) -> None:
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                await self._running.wait()
                try:
                    await self._answer(caller, shown, stream, method)
                except Unreachable:
                    return  # the caller is gone, as on a real connection
        finally:
            self._scopes.discard(scope)
            stream.close()

    async def _answer(
        self, caller: str, shown: bytes, stream: _MemoryStream, method: Method[Any, Any]
    ) -> None:
        handler = self._handlers[method.name][1]
        served = Served()
        try:
            with self._streams.opened(caller, method, served.end) as meet, served.going_on():
                meet(shown)
                await handler(caller, stream)
                await stream.finish(5)
        except Refused as refusal:
            await stream.push(refusal, 5)

    async def publish(self, kind: str, payload: bytes, lifetime: float) -> None:
        await self._running.wait()
        record = sealed_record(self._identity, kind, payload)
        if self.alive:
            kept = self._hub.records.setdefault(kind, {})
            kept[self.peer_id] = (record, CLOCK.now() + lifetime)

    async def lookup(self, kind: str) -> dict[str, bytes]:
        await self._running.wait()
        found = {}
        for peer_id, (record, expires) in self._hub.records.get(kind, {}).items():
            if expires > CLOCK.now():
                envelope = swarm_pb2.Envelope.FromString(record)
                found[peer_id] = open_envelope(envelope, kind)[1]
        return found

    async def reconnect(self, addresses: Sequence[str]) -> int:
        await self._running.wait()
        others = {it.rpartition("/")[2] for it in addresses} - {self.peer_id}
        known = [it for it in others if it in self._hub.networks and self._hub.networks[it].alive]
        return sum(self.alive and not self._hub.apart(self.peer_id, it) for it in known)

    async def refresh(self) -> None:
        pass

    def review(self) -> None:
        self._streams.review()

    async def wait_broken(self) -> str:
        await self._gone.wait()
        return "killed"

    async def close(self) -> None:
        self.kill()


class _Data(bytes):
    """Data as it crosses, told from the bytes of a message by its type."""


class _MemoryStream:
    def __init__(
        self,
        own: MemoryNetwork,
        other: MemoryNetwork,
        method: Method[Any, Any],
        is_reply: bool,
        sender: MemoryObjectSendStream[Any],
        receiver: MemoryObjectReceiveStream[Any],
    ) -> None:
        self._own = own
        self._other = other
        self._sender = sender
        self._receiver = receiver
        self._method = method
        self._is_reply = is_reply
        self._incoming = method.request if is_reply else method.reply
        self._pushed = 0
        self._next: list[Any] = []
        self.meet: Callable[[], None] | None = None
        """Asked before anything else of the other end is heard; raises `Barred`."""
        self.sent = self.received = 0
        self.remote = ""

    async def send(self, message: Message, seconds: float) -> None:
        data = message.SerializeToString()
        if len(data) > self._method.limit(is_reply=self._is_reply):
            raise ValueError(f"a {type(message).__name__} of {len(data)} bytes is too large")
        await self.push(data, seconds)
        self.sent += len(data)

    async def send_data(self, data: memoryview, seconds: float) -> None:
        for start in range(0, len(data), DATA_BYTES):
            piece = _Data(data[start : start + DATA_BYTES])
            await self.push(piece, seconds)
            self.sent += len(piece)

    async def finish(self, seconds: float) -> None:
        await self.push(None, seconds)

    async def push(self, item: Any, seconds: float) -> None:
        other = short(self._other.peer_id)
        own = self._own
        data = len(item) if isinstance(item, _Data) else 0
        own.tap(self._other.peer_id, self._method.name, self._pushed, self._is_reply, data)
        self._pushed += 1
        try:
            with anyio.fail_after(seconds):
                await own._running.wait()
                await own.until_passable(self._other.peer_id)
                await self._sender.send(item)
        except TimeoutError as error:
            raise Unreachable(f"{other} did not read for {seconds:.1f} s") from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise Unreachable(f"{other} hung up") from error

    async def receive(self, seconds: float) -> Any:
        item = await self._pull(seconds)
        if isinstance(item, _Data):
            raise Unreachable(f"{short(self._other.peer_id)} sent data where a message was due")
        self._next.clear()
        if item is None:
            return None
        self.received += len(item)
        return self._incoming.FromString(item)

    async def receive_data(self, into: memoryview, seconds: float) -> int:
        filled = 0
        while filled < len(into):
            item = await self._pull(seconds)
            if not isinstance(item, _Data):
                break
            if len(item) > len(into) - filled:
                raise Unreachable(f"{short(self._other.peer_id)} sent more data than fits")
            self._next.clear()
            into[filled : filled + len(item)] = item
            self.received += len(item)
            filled += len(item)
        return filled

    async def _pull(self, seconds: float) -> Any:
        """The next item, which stays the next until it is taken out of `_next`."""
        other = short(self._other.peer_id)
        try:
            with anyio.fail_after(seconds):
                if not self._next:
                    self._next.append(await self._receiver.receive())
                await self._own._running.wait()
        except TimeoutError as error:
            raise Unreachable(f"{other} was silent for {seconds:.1f} s") from error
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise Unreachable(f"{other} hung up") from error
        if isinstance(self._next[0], Refused):
            raise Refused.by_stranger(str(self._next[0]))
        if self.meet is not None:
            self.meet()
            self.meet = None
        return self._next[0]

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()
