"""Messages and data on a byte stream: one byte of kind, four of length, the content.

hivemind's own framing trusts the length that the other side names and waits without a limit;
this one bounds both. Tensors go as data, without protobuf: each copy of them counts. The first
thing that an end says is what lets it take part, and how much data it takes; before that is
checked, nothing else is heard.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
from google.protobuf.message import DecodeError, Message

from peer.swarm.inbound import (
    CREDENTIALS,
    DATA,
    DATA_BYTES,
    END,
    HEADER_BYTES,
    MESSAGE,
    REFUSAL,
    ROOM,
    ROOM_BYTES,
    Inbound,
)
from peer.swarm.interface import MAX_REASON_LENGTH, Method, Refused, Unreachable
from peer.swarm.shaping import Permit, Shaper


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
        shaper: Shaper | None = None,
    ) -> None:
        """is_reply: what this end sends are replies; other: the peer at the other end.

        meet: takes the other end's credentials, raises `Barred` if they do not let it in; shaper:
        of all streams together.
        """
        self._reader = reader
        self._writer = writer
        self._message = method.request if is_reply else method.reply
        self._max_sent = method.limit(is_reply=is_reply)
        self._other = other
        self._incoming = Inbound(reader, method.limit(is_reply=not is_reply), other, meet)
        self._shaper = shaper or Shaper()
        self._permit = Permit(self._shaper.download, self._say_room)
        self._data_sent = 0
        self.sent = 0
        self.remote = ""

    @property
    def received(self) -> int:
        return self._incoming.received

    async def show(self, credentials: bytes, seconds: float) -> None:
        """Say what lets this end take part, before anything else."""
        with self._within(seconds, "did not read"):
            await self._write(CREDENTIALS, _room(self._permit.announced) + credentials)
        self.sent = 0

    async def meet(self, seconds: float) -> None:
        """Hear what lets the other end take part; `Barred` if it does not."""
        with self._within(seconds, "was silent"):
            await self._incoming.until_met()

    async def send(self, message: Message, seconds: float) -> None:
        data = message.SerializeToString()
        if len(data) > self._max_sent:
            raise ValueError(f"a {type(message).__name__} of {len(data)} bytes is too large")
        with self._within(seconds, "did not read"):
            await self._write(MESSAGE, data)

    async def send_data(self, data: memoryview, seconds: float) -> None:
        at, upload = 0, self._shaper.upload
        with self._within(seconds, "did not read") as patience:
            while at < len(data):
                await self._incoming.hear_what_came()
                if (room := self._incoming.room - self._data_sent) <= 0:
                    await self._incoming.until_room(self._data_sent + 1)
                    continue
                size = min(len(data) - at, room, DATA_BYTES)
                if upload.limited:
                    size = min(size, upload.piece)
                    patience.deadline = math.inf  # nobody's fault but ours
                    await upload.turn(size)
                    patience.deadline = anyio.current_time() + seconds
                else:
                    upload.count(size)
                await self._write(DATA, data[at : at + size])
                self._data_sent += size
                at += size
                patience.deadline = anyio.current_time() + seconds

    async def finish(self, seconds: float) -> None:
        with self._within(seconds, "did not read"):
            await self._write(END, b"")

    async def refuse(self, reason: str, seconds: float) -> None:
        """Tell the other side that its request is refused, and why."""
        with self._within(seconds, "did not read"):
            await self._write(REFUSAL, reason[:MAX_REASON_LENGTH].encode())
        # Closing over unread data resets the stream and may overtake the refusal: read on
        # until the other side has seen it and hung up.
        with anyio.move_on_after(seconds):
            while await self._reader.read(1 << 16):
                pass

    async def receive(self, seconds: float) -> Any:
        # what is buffered already is read without a pause: a flood of it would stop all else
        await anyio.lowlevel.checkpoint()
        with self._within(seconds, "was silent"):
            kind, data = await self._incoming.message()
        self._shaper.download.count(HEADER_BYTES + len(data))
        if kind == END:
            return None
        if kind == REFUSAL:
            raise Refused.by_stranger(data.decode(errors="replace"))
        try:
            return self._message.FromString(data)
        except DecodeError as error:
            raise Unreachable(f"{self._other} sent what cannot be read") from error

    async def receive_data(self, into: memoryview, seconds: float) -> int:
        permit = self._permit
        with self._within(seconds, "was silent") as patience:

            def alive() -> None:
                # while nothing may come, it is not the other end that is silent
                wait = math.inf if permit.waits else seconds
                patience.deadline = anyio.current_time() + wait

            def came(size: int) -> None:
                permit.came(size)
                self._shaper.arrived()
                alive()

            permit.on_grant = alive
            self._shaper.wait_for(permit, len(into))
            alive()
            try:
                filled = await self._incoming.data(into, alive, came)
            finally:
                permit.on_grant = None
                self._shaper.wait_for(permit, 0)
        if filled < len(into) and self._incoming.refuses:
            await self.receive(seconds)  # raises it
        return filled

    def end(self) -> None:
        """Nothing more is expected of this stream."""
        self._shaper.end(self._permit)

    def _say_room(self, offset: int) -> None:
        if not self._writer.is_closing():
            self._put(ROOM, _room(offset))

    async def _write(self, kind: int, data: bytes | memoryview) -> None:
        self._put(kind, data)
        await self._writer.drain()
        self.sent += len(data)

    def _put(self, kind: int, data: bytes | memoryview) -> None:
        self._writer.write(bytes([kind]) + len(data).to_bytes(4, "big"))
        self._writer.write(data)
        # of data, its content has been counted when its turn came
        self._shaper.upload.count(HEADER_BYTES + (0 if kind == DATA else len(data)))

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


def _room(offset: int) -> bytes:
    return offset.to_bytes(ROOM_BYTES, "big")
