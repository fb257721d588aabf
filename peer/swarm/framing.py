"""Messages and data on a byte stream: one byte of kind, four of length, the content.

hivemind's own framing trusts the length that the other side names and waits without a limit;
this one bounds both. Tensors go as data, without protobuf: each copy of them counts. The first
thing that an end says is what lets it take part; before that is checked, nothing else is heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
from google.protobuf.message import DecodeError, Message

from peer.swarm.gate import MAX_CREDENTIALS
from peer.swarm.interface import MAX_REASON_LENGTH, Method, Refused, Unreachable

DATA_BYTES = 256 * 1024
"""Data travels in pieces of at most so many bytes."""
_STEP_BYTES = 64 * 1024
"""Memory for a message is taken in steps: for what has come, not for what was announced."""
_MESSAGE, _END, _REFUSAL, _DATA, _CREDENTIALS = range(5)
_HEADER = 5


class FramedStream:
    """A `Stream` over an asyncio reader and writer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: Method[Any, Any],
        is_reply: bool,
        other: str,
        meet: Callable[[bytes], None],
    ) -> None:
        """is_reply: what this end sends are replies; other: the peer at the other end.

        meet: takes the other end's credentials, raises `Barred` if they do not let it in.
        """
        self._reader = reader
        self._writer = writer
        self._incoming = method.request if is_reply else method.reply
        self._max_sent = method.limit(is_reply=is_reply)
        self._max_received = method.limit(is_reply=not is_reply)
        self._other = other
        self._meet = meet
        self._met = False
        self._next: tuple[int, int] | None = None
        """Kind and length of content whose header is read already."""
        self.sent = 0
        self.received = 0

    async def show(self, credentials: bytes, seconds: float) -> None:
        """Say what lets this end take part, before anything else."""
        with self._within(seconds, "did not read"):
            await self._write(_CREDENTIALS, credentials)
        self.sent = 0

    async def meet(self, seconds: float) -> None:
        """Hear what lets the other end take part; `Barred` if it does not."""
        with self._within(seconds, "was silent"):
            await self._hear_who(_no_sign)

    async def send(self, message: Message, seconds: float) -> None:
        data = message.SerializeToString()
        if len(data) > self._max_sent:
            raise ValueError(f"a {type(message).__name__} of {len(data)} bytes is too large")
        with self._within(seconds, "did not read"):
            await self._write(_MESSAGE, data)

    async def send_data(self, data: memoryview, seconds: float) -> None:
        with self._within(seconds, "did not read") as patience:
            for start in range(0, len(data), DATA_BYTES):
                await self._write(_DATA, data[start : start + DATA_BYTES])
                patience.deadline = anyio.current_time() + seconds

    async def finish(self, seconds: float) -> None:
        with self._within(seconds, "did not read"):
            await self._write(_END, b"")

    async def refuse(self, reason: str, seconds: float) -> None:
        """Tell the other side that its request is refused, and why."""
        with self._within(seconds, "did not read"):
            await self._write(_REFUSAL, reason[:MAX_REASON_LENGTH].encode())
        # Closing over unread data resets the stream and may overtake the refusal: read on
        # until the other side has seen it and hung up.
        with anyio.move_on_after(seconds):
            while await self._reader.read(1 << 16):
                pass

    async def receive(self, seconds: float) -> Any:
        # what is buffered already is read without a pause: a flood of it would stop all else
        await anyio.lowlevel.checkpoint()
        with self._within(seconds, "was silent"):
            kind, length = await self._header(_no_sign)
            if kind == _DATA:
                raise Unreachable(f"{self._other} sent data where a message was due")
            data = bytearray()
            while len(data) < length:
                piece = bytearray(min(_STEP_BYTES, length - len(data)))
                await self._read(memoryview(piece), _no_sign)
                data += piece
        self._next = None
        if kind == _END:
            return None
        if kind == _REFUSAL:
            raise Refused.by_stranger(data.decode(errors="replace"))
        try:
            return self._incoming.FromString(bytes(data))
        except DecodeError as error:
            raise Unreachable(f"{self._other} sent what cannot be read") from error

    async def receive_data(self, into: memoryview, seconds: float) -> int:
        filled, kind = 0, _DATA
        with self._within(seconds, "was silent") as patience:

            def alive() -> None:
                patience.deadline = anyio.current_time() + seconds

            while filled < len(into):
                kind, length = await self._header(alive)
                if kind != _DATA:
                    break
                if not length:
                    raise Unreachable(f"{self._other} sent an empty piece")
                if length > len(into) - filled:
                    raise Unreachable(f"{self._other} sent more data than fits")
                await self._read(into[filled : filled + length], alive)
                self._next = None
                filled += length
        if kind == _REFUSAL:
            await self.receive(seconds)  # raises it
        return filled

    async def _header(self, alive: Callable[[], None]) -> tuple[int, int]:
        """Kind and length of the next content; says the same until that is read."""
        if not self._met:
            await self._hear_who(alive)
        if self._next is None:
            self._next = kind, length = await self._announced(alive)
            if kind == _CREDENTIALS:
                raise Unreachable(f"{self._other} said twice who it is")
            self.received += length
        return self._next

    async def _hear_who(self, alive: Callable[[], None]) -> None:
        if self._next is None:
            self._next = await self._announced(alive)
        kind, length = self._next
        if kind == _REFUSAL:
            return  # by one that may itself be refused: its reason is all that is heard of it
        if kind != _CREDENTIALS:
            raise Unreachable(f"{self._other} did not say who it is")
        credentials = bytearray(length)
        await self._read(memoryview(credentials), alive)
        self._next = None
        self._meet(bytes(credentials))
        self._met = True

    async def _announced(self, alive: Callable[[], None]) -> tuple[int, int]:
        header = bytearray(_HEADER)
        await self._read(memoryview(header), alive)
        kind, length = header[0], int.from_bytes(header[1:], "big")
        if kind > _CREDENTIALS or length > self._limit(kind):
            raise Unreachable(f"{self._other} announced a message of {length} bytes")
        return kind, length

    def _limit(self, kind: int) -> int:
        if kind == _MESSAGE:
            return self._max_received
        others = {
            _DATA: DATA_BYTES,
            _REFUSAL: 4 * MAX_REASON_LENGTH,
            _CREDENTIALS: MAX_CREDENTIALS,
        }
        return others.get(kind, 0)

    async def _read(self, into: memoryview, alive: Callable[[], None]) -> None:
        """Fill `into`; `alive` is called whenever something has come."""
        at = 0
        while at < len(into):
            piece = await self._reader.read(len(into) - at)
            if not piece:
                raise Unreachable(f"{self._other} hung up")
            into[at : at + len(piece)] = piece
            at += len(piece)
            alive()

    async def _write(self, kind: int, data: bytes | memoryview) -> None:
        self._writer.write(bytes([kind]) + len(data).to_bytes(4, "big"))
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    @contextmanager
    def _within(self, seconds: float, failure: str) -> Iterator[anyio.CancelScope]:
        """Raise `Unreachable` if the connection breaks, or is silent for `seconds`."""
        try:
            with anyio.move_on_after(seconds) as patience:
                yield patience
        except (OSError, RuntimeError) as error:
            # uvloop says RuntimeError where asyncio says ConnectionResetError
            raise Unreachable(f"{self._other} hung up") from error
        # not `fail_after`: it forgives if something comes just as the time is up
        if patience.cancelled_caught:
            raise Unreachable(f"{self._other} {failure} for {seconds:.1f} s")


def _no_sign() -> None:
    """A message has one deadline: who trickles it is not alive."""
