"""Messages on a byte stream: one byte of kind, four of length, the message.

hivemind's own framing trusts the length that the other side names and waits without a limit;
this one bounds both.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
from google.protobuf.message import DecodeError, Message

from peer.swarm.interface import MAX_REASON_LENGTH, Refused, Unreachable

_MESSAGE, _END, _REFUSAL = 0, 1, 2
_HEADER = 5


class FramedStream:
    """A `Stream` over an asyncio reader and writer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        incoming: type[Message],
        max_bytes: int,
        other: str,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming = incoming
        self._max_bytes = max_bytes
        self._other = other
        self.sent = 0
        self.received = 0

    async def send(self, message: Message, seconds: float) -> None:
        data = message.SerializeToString()
        if len(data) > self._max_bytes:
            raise ValueError(f"a {type(message).__name__} of {len(data)} bytes is too large")
        await self._write(_MESSAGE, data, seconds)
        self.sent += len(data)

    async def finish(self, seconds: float) -> None:
        await self._write(_END, b"", seconds)

    async def refuse(self, reason: str, seconds: float) -> None:
        """Tell the other side that its request is refused, and why."""
        await self._write(_REFUSAL, reason[:MAX_REASON_LENGTH].encode(), seconds)
        # Closing over unread data resets the stream and may overtake the refusal: read on
        # until the other side has seen it and hung up.
        with anyio.move_on_after(seconds):
            while await self._reader.read(1 << 16):
                pass

    async def receive(self, seconds: float) -> Any:
        try:
            with anyio.fail_after(seconds):
                header = await self._reader.readexactly(_HEADER)
                kind, length = header[0], int.from_bytes(header[1:], "big")
                if length > self._max_bytes:
                    raise Unreachable(f"{self._other} announced a message of {length} bytes")
                data = await self._reader.readexactly(length)
        except TimeoutError as error:
            raise Unreachable(f"{self._other} was silent for {seconds:.1f} s") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Unreachable(f"{self._other} hung up") from error
        self.received += length
        if kind == _END:
            return None
        if kind == _REFUSAL:
            raise Refused.by_stranger(data.decode(errors="replace"))
        try:
            return self._incoming.FromString(data)
        except DecodeError as error:
            raise Unreachable(f"{self._other} sent what cannot be read") from error

    async def _write(self, kind: int, data: bytes, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                self._writer.write(bytes([kind]) + len(data).to_bytes(4, "big"))
                self._writer.write(data)
                await self._writer.drain()
        except TimeoutError as error:
            raise Unreachable(f"{self._other} did not read for {seconds:.1f} s") from error
        except (OSError, RuntimeError) as error:
            # uvloop says RuntimeError where asyncio says ConnectionResetError
            raise Unreachable(f"{self._other} hung up") from error
