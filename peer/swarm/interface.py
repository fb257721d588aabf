"""What the rest of a peer knows of the network: streams between peers, and signed records.

Two implementations keep the same contract (tests/contract): `libp2p.py`, and `memory.py` for
tests of the layers above.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from swarmpb.signing import PeerIdentity

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)

MAX_RECORD_BYTES = 16 * 1024
MAX_REASON_LENGTH = 300


class Unreachable(Exception):
    """The other side did not answer in time, hung up, or is gone. Says which."""


class Refused(Exception):
    """The other side answered that it will not do it, and why."""

    @classmethod
    def by_stranger(cls, reason: str) -> Refused:
        """With a reason as it came in: cut to size, without what a terminal would obey."""
        return cls(printable(reason, MAX_REASON_LENGTH))


class Barred(Refused):
    """This peer deals with the other one no more: it may not take part. Says why."""


@dataclass(frozen=True)
class Method(Generic[Request, Reply]):
    """A kind of stream between two peers: its name on the wire and its messages."""

    name: str
    request: type[Request]
    reply: type[Reply]
    max_bytes: int = 1 << 20
    """Largest reply."""
    max_request_bytes: int = 64 * 1024
    """Largest message of the one who asks: anybody may ask, and most ask for little."""
    for_anybody: bool = False
    """Also for those that may not take part: how they learn so."""

    def limit(self, *, is_reply: bool) -> int:
        """Bytes of the largest message in one direction."""
        return self.max_bytes if is_reply else self.max_request_bytes


class Stream(Protocol):
    """One end of a stream. Every wait is bounded; a broken stream raises `Unreachable`."""

    @property
    def sent(self) -> int:
        """Bytes of messages and data sent so far."""

    @property
    def received(self) -> int: ...

    @property
    def remote(self) -> str:
        """Where the other end's connection comes from, a multiaddress; empty if not known."""

    async def send(self, message: Message, seconds: float) -> None:
        """Hand a message over; waits while the other side does not read."""

    async def receive(self, seconds: float) -> Any:
        """The next message, or None after the other side has finished.

        Raises `Refused` if the other side refused, `Unreachable` if it hung up or was silent
        for `seconds`.
        """

    async def send_data(self, data: memoryview, seconds: float) -> None:
        """Send bytes as they are; waits at most `seconds` for the other side to read a piece."""

    async def receive_data(self, into: memoryview, seconds: float) -> int:
        """Fill `into` with data; how many bytes came before the other side said something else.

        `seconds`: the longest silence. Raises `Unreachable` also for more data than fits.
        """

    async def finish(self, seconds: float) -> None:
        """Say that nothing more will be sent."""


Handler = Callable[[str, Stream], Awaitable[None]]
"""Serves one stream: (peer id of the caller, stream). Raise `Refused` to refuse it."""


class Network(Protocol):
    """A peer's place in the swarm."""

    @property
    def peer_id(self) -> str: ...

    @property
    def addresses(self) -> tuple[str, ...]: ...

    async def serve(self, handlers: Mapping[Method[Any, Any], Handler]) -> None:
        """Answer these methods from now on."""

    def open(
        self, peer_id: str, method: Method[Any, Any], seconds: float
    ) -> AbstractAsyncContextManager[Stream]:
        """A stream to another peer, closed on exit; `Unreachable` if there is no way to it."""

    async def publish(self, kind: str, payload: bytes, lifetime: float) -> None:
        """Sign a record and keep it in the DHT under `kind` for `lifetime` seconds."""

    async def lookup(self, kind: str) -> dict[str, bytes]:
        """The live payloads under `kind`, by the peer id that signed them."""

    async def reconnect(self, addresses: Sequence[str]) -> int:
        """Dial these peers again, whatever became of earlier connections; how many answered.

        Afterwards each side finds the other's records again. Takes some seconds if one of them
        is out of reach.
        """

    async def refresh(self) -> None:
        """Look at `addresses` again: they change when a machine moves to another network."""

    def review(self) -> None:
        """Who may take part has changed: end the streams with those that may not any more."""

    async def wait_broken(self) -> str:
        """Wait until this network can do nothing any more; why."""

    async def close(self) -> None:
        """Leave the network."""


async def call(
    network: Network, peer_id: str, method: Method[Any, Reply], request: Message, seconds: float
) -> Reply:
    """Send one request, take one reply. Raises `Refused` or `Unreachable`."""
    async with network.open(peer_id, method, seconds) as stream:
        await stream.send(request, seconds)
        reply: Reply | None = await stream.receive(seconds)
        if reply is None:
            raise Unreachable(f"{short(peer_id)} hung up without a reply to {method.name}")
        return reply


def unary(answer: Callable[[str, Any], Awaitable[Message]], seconds: float = 10) -> Handler:
    """A handler that takes one request and gives one reply."""

    async def handler(caller: str, stream: Stream) -> None:
        request = await stream.receive(seconds)
        if request is None:
            raise Refused("an empty request")
        await stream.send(await answer(caller, request), seconds)

    return handler


def printable(text: str, longest: int) -> str:
    """A stranger's words: cut to size, without what a terminal would obey."""
    return "".join(it if it.isprintable() else "?" for it in text[:longest])


def short(peer_id: str) -> str:
    """A peer id as people see it: its last eight characters."""
    return peer_id[-8:]


def sealed_record(identity: PeerIdentity, kind: str, payload: bytes) -> bytes:
    """The bytes of a signed record; `ValueError` if it is too large for the DHT."""
    record = identity.seal(kind, payload).SerializeToString()
    if len(record) > MAX_RECORD_BYTES:
        raise ValueError(f"a {kind} record has {len(record)} bytes, at most {MAX_RECORD_BYTES}")
    return record
