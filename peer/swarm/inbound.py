"""What comes in on one stream: frames in their order, bounded, one reader at a time.

Who sends data has to hear how much the other end takes, which comes in between messages. So a
sender reads ahead where nobody else reads; messages that it meets are kept for their reader.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from peer.swarm.gate import MAX_CREDENTIALS
from peer.swarm.interface import MAX_REASON_LENGTH, Unreachable
from peer.swarm.shaping import FREE_BYTES

DATA_BYTES = 256 * 1024
"""Data travels in pieces of at most so many bytes."""
MESSAGE, END, REFUSAL, DATA, CREDENTIALS, ROOM = range(6)
"""ROOM: how much data this end takes on the stream, in all; credentials begin with that, too."""
HEADER_BYTES = 5
ROOM_BYTES = 8
_STEP_BYTES = 64 * 1024
"""Memory for a message is taken in steps: for what has come, not for what was announced."""
_MOST_KEPT_BYTES = 256 * 1024
_MOST_KEPT = 64


def no_sign() -> None:
    """A message has one deadline: who trickles it is not alive."""


class Inbound:
    """Reads frames. Every wait here is bounded by the caller."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        max_message: int,
        other: str,
        meet: Callable[[bytes], None],
    ) -> None:
        """meet: takes the other end's credentials, raises `Barred` if they do not let it in."""
        self.received = 0
        """Bytes of messages and data."""
        self._room = FREE_BYTES
        self._reader = reader
        self._max_message = max_message
        self._other = other
        self._meet = meet
        self._met = False
        self._next: tuple[int, int] | None = None
        """Kind and length of content whose header is read already."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._busy = False
        self._news = anyio.Event()

    @property
    def room(self) -> int:
        """How much data the other end takes in all, as far as it has said."""
        return self._room

    async def until_met(self) -> None:
        async with self._alone():
            await self._hear_who(no_sign)

    async def message(self) -> tuple[int, bytes]:
        """The next frame that is no data: its kind and content."""
        while self._busy and not self._kept:
            await self._news.wait()
        if self._kept:
            kept = self._kept.popleft()
            self._tell()
            return kept
        async with self._alone():
            kind, length = await self._header(no_sign)
            if kind == DATA:
                raise Unreachable(f"{self._other} sent data where a message was due")
            return kind, await self._content(length)

    async def data(
        self, into: memoryview, alive: Callable[[], None], came: Callable[[int], None]
    ) -> int:
        """Fill `into`, or as much of it as comes before a frame of another kind.

        alive: called whenever something has come; came: with the length of a piece that has.
        """
        filled = 0
        while self._busy and not self._kept:
            await self._news.wait()
        if self._kept:
            return 0
        async with self._alone():
            while filled < len(into):
                kind, length = await self._header(alive)
                if kind != DATA:
                    break
                if not length:
                    raise Unreachable(f"{self._other} sent an empty piece")
                if length > len(into) - filled:
                    raise Unreachable(f"{self._other} sent more data than fits")
                await self._read(into[filled : filled + length], alive)
                self._next = None
                filled += length
                came(length)
        return filled

    @property
    def refuses(self) -> bool:
        """Whether what comes next, as far as it has come, is a refusal."""
        upcoming = self._kept[0] if self._kept else self._next
        return upcoming is not None and upcoming[0] == REFUSAL

    async def hear_what_came(self) -> None:
        """Take note of how much the other end takes, if it has said so and nobody reads."""
        while not self._busy and self._may_read_ahead and self._buffered >= HEADER_BYTES:
            async with self._alone():
                await self._read_ahead()

    @property
    def _buffered(self) -> int:
        return len(self._reader._buffer)  # type: ignore[attr-defined]  # asyncio tells it nowhere

    async def until_room(self, enough: int) -> None:
        """Wait until the other end takes `enough` bytes of data in all."""
        while self._room < enough:
            if self._busy or not self._may_read_ahead:
                await self._news.wait()
                continue
            async with self._alone():
                await self._read_ahead()

    @property
    def _may_read_ahead(self) -> bool:
        kept = sum(len(content) for _, content in self._kept)
        return self._next is None and kept < _MOST_KEPT_BYTES and len(self._kept) < _MOST_KEPT

    async def _read_ahead(self) -> None:
        if not self._met:
            await self._hear_who(no_sign)
            if self._met:
                return  # that has said how much it takes, too
        if self._next is None and (found := await self._frame(no_sign)) is not None:
            self._next = found
            self.received += found[1]
        if self._next is not None and self._next[0] != DATA:
            kind, length = self._next
            self._kept.append((kind, await self._content(length)))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One reads at a time; `_busy` must be false."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _header(self, alive: Callable[[], None]) -> tuple[int, int]:
        """Kind and length of the next content; says the same until that is read."""
        if not self._met:
            await self._hear_who(alive)
        while self._next is None:
            self._next = await self._frame(alive)
            if self._next is not None:
                self.received += self._next[1]
        return self._next

    async def _frame(self, alive: Callable[[], None]) -> tuple[int, int] | None:
        """Kind and length of a frame; None after one that only says how much data may come."""
        kind, length = await self._announced(alive)
        if kind == CREDENTIALS:
            raise Unreachable(f"{self._other} said twice who it is")
        if kind != ROOM:
            return kind, length
        said = bytearray(length)
        await self._read(memoryview(said), alive)
        self._heard_room(said)
        # what is buffered already is read without a pause: a flood of it would stop all else
        await anyio.lowlevel.checkpoint()
        return None

    async def _hear_who(self, alive: Callable[[], None]) -> None:
        if self._next is None:
            self._next = await self._announced(alive)
        kind, length = self._next
        if kind == REFUSAL:
            return  # by one that may itself be refused: its reason is all that is heard of it
        if kind != CREDENTIALS:
            raise Unreachable(f"{self._other} did not say who it is")
        said = bytearray(length)
        await self._read(memoryview(said), alive)
        self._next = None
        self._heard_room(said[:ROOM_BYTES])
        self._meet(bytes(said[ROOM_BYTES:]))
        self._met = True

    def _heard_room(self, said: bytearray) -> None:
        if len(said) != ROOM_BYTES:
            raise Unreachable(f"{self._other} did not say how much data it takes")
        self._room = int.from_bytes(said, "big")
        self._tell()

    async def _announced(self, alive: Callable[[], None]) -> tuple[int, int]:
        header = bytearray(HEADER_BYTES)
        await self._read(memoryview(header), alive)
        kind, length = header[0], int.from_bytes(header[1:], "big")
        if kind > ROOM or length > self._limit(kind):
            raise Unreachable(f"{self._other} announced a message of {length} bytes")
        return kind, length

    def _limit(self, kind: int) -> int:
        limits = {
            MESSAGE: self._max_message,
            DATA: DATA_BYTES,
            REFUSAL: 4 * MAX_REASON_LENGTH,
            CREDENTIALS: ROOM_BYTES + MAX_CREDENTIALS,
            ROOM: ROOM_BYTES,
        }
        return limits.get(kind, 0)

    async def _content(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = bytearray(min(_STEP_BYTES, length - len(data)))
            await self._read(memoryview(piece), no_sign)
            data += piece
        self._next = None
        return bytes(data)

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
