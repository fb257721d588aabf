"""Gives this peer's states to joiners: a few at a time, at a pace that nobody here feels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio

from peer.averaging.state import GlobalState
from peer.swarm.interface import Handler, Method, Refused, Stream, Unreachable
from peer.transfer.messages import (
    BLOCK_SECONDS,
    BLOCKS_A_REQUEST,
    MAX_OFFERS,
    STATE,
    TURN_SECONDS,
    description_message,
    offer_message,
    turn_message,
)
from peer.transfer.news import News
from peer.transfer.pace import Pace
from peer.transfer.pins import LINGER_SECONDS, Pins
from peer.transfer.turns import QueueFull, Turns
from swarmpb.v1 import swarm_pb2

LONGEST_WAIT = 6 * 3600.0
"""A joiner that stood in the queue for so long is sent away."""
_MAX_NAMES = MAX_OFFERS
"""States that a joiner may name on one stream."""


class Donor:
    """Serves the states that this peer holds, on as many networks as it comes to have."""

    def __init__(
        self, states: Callable[[], Sequence[GlobalState]], rate: Callable[[], float]
    ) -> None:
        """states: what this peer holds just now; rate: bytes per second for all joiners together.

        A state that is being downloaded is kept here until the download is over.
        """
        self._rate = rate
        self._pins = Pins(states)
        self._turns = Turns()
        self._pace = Pace()
        self._news = News()
        self._streams: dict[str, anyio.CancelScope] = {}
        """By joiner, what ends its stream."""

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """The streams that this peer answers."""
        return {STATE: self._serve}

    @property
    def busy(self) -> bool:
        """Whether anybody downloads from here, or waits for a turn."""
        return bool(self._streams)

    def pinned_rounds(self) -> list[int]:
        """Rounds whose states are being downloaded, the oldest first."""
        return self._pins.rounds()

    def needed_since(self) -> list[int]:
        """The same, and those of states just given: who gets one replays what came after."""
        return self._pins.needed_since(anyio.current_time())

    async def _serve(self, caller: str, stream: Stream) -> None:
        request = await stream.receive(BLOCK_SECONDS)
        if request is None:
            return
        self._rate_now()
        scope = anyio.CancelScope()
        with self._place(caller, scope), scope:
            await self._wait_turn(caller, stream)
            await self._talk(stream, request)

    # ---- turns -------------------------------------------------------------------------

    @contextmanager
    def _place(self, caller: str, scope: anyio.CancelScope) -> Iterator[None]:
        """A slot or a place in the queue. Who calls again takes over its own older stream's."""
        try:
            self._turns.enter(caller, anyio.current_time())
        except QueueFull as error:
            raise Refused(str(error)) from error
        if (older := self._streams.get(caller)) is not None:
            older.cancel()
        self._streams[caller] = scope
        broke = True
        try:
            yield
            broke = False
        except Refused:
            broke = False
            raise
        finally:
            if self._streams.get(caller) is scope:
                del self._streams[caller]
                self._turns.leave(caller, anyio.current_time(), broke=broke)
                self._news.tell()

    async def _wait_turn(self, caller: str, stream: Stream) -> None:
        """Say where the caller stands until its turn has come; `Unreachable` if it left."""
        left: list[Unreachable] = []

        async def count_down() -> None:
            try:
                with anyio.fail_after(LONGEST_WAIT):
                    while position := self._turns.position(caller):
                        await stream.send(
                            turn_message(position, self._turns.waiting), BLOCK_SECONDS
                        )
                        await self._news.wait(TURN_SECONDS)
            except (Unreachable, TimeoutError) as error:
                left.append(Unreachable(str(error)))
            tasks.cancel_scope.cancel()

        async def watch() -> None:
            """It has nothing to say before its turn, but it may hang up."""
            try:
                await stream.receive(2 * LONGEST_WAIT)
                left.append(Unreachable("it left the queue"))
            except (Unreachable, Refused) as error:
                left.append(Unreachable(str(error)))
            tasks.cancel_scope.cancel()

        if self._turns.position(caller):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(count_down)
                tasks.start_soon(watch)
        if left:
            raise left[0]

    # ---- what is asked for -------------------------------------------------------------

    async def _talk(self, stream: Stream, request: swarm_pb2.StateRequest | None) -> None:
        state: GlobalState | None = None
        names = 0
        broke = True
        try:
            while request is not None:
                if request.HasField("state"):
                    names += 1
                    if names > _MAX_NAMES:
                        raise Refused(f"more than {_MAX_NAMES} states on one stream")
                    self._release(state, broke=False)
                    state = self._pins.pin(request.state.digest, anyio.current_time())
                    await self._describe(stream, state, request.state.described)
                elif state is None:
                    raise Refused("name a state first")
                else:
                    await self._send_blocks(stream, state, request.blocks.indexes)
                request = await stream.receive(BLOCK_SECONDS)
            broke = False
        finally:
            self._release(state, broke=broke)

    def _release(self, state: GlobalState | None, *, broke: bool) -> None:
        if state is None:
            return
        self._pins.release(state.digest, anyio.current_time(), broke=broke)
        if broke:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._expire)

    def _expire(self) -> None:
        self._pins.expire(anyio.current_time())

    async def _describe(self, stream: Stream, state: GlobalState | None, described: bool) -> None:
        if state is None:
            offers = self._pins.offers(anyio.current_time())
            await stream.send(offer_message(offers), BLOCK_SECONDS)
            return
        await stream.send(description_message(state), BLOCK_SECONDS)
        if not described:
            for data in (b"".join(state.block_digests), state.coverage):
                await stream.send_data(memoryview(data), BLOCK_SECONDS)

    async def _send_blocks(
        self, stream: Stream, state: GlobalState, indexes: Sequence[int]
    ) -> None:
        if len(indexes) > BLOCKS_A_REQUEST:
            raise Refused(f"ask for at most {BLOCKS_A_REQUEST} blocks")
        try:
            blocks = [state.block(index) for index in indexes]
        except IndexError as error:
            raise Refused(str(error)) from error
        for block in blocks:
            await self._keep_pace(stream, len(block))
            # a block travels in two pieces
            await stream.send_data(block, BLOCK_SECONDS / 2)

    def _rate_now(self) -> float:
        """Bytes per second; `Refused` if there is nothing to give."""
        if not (rate := self._rate()):
            raise Refused("its user's limits leave too little to give a state away")
        return rate

    async def _keep_pace(self, stream: Stream, size: int) -> None:
        wait = self._pace.reserve(size, self._rate_now(), anyio.current_time())
        while wait > TURN_SECONDS:
            await anyio.sleep(TURN_SECONDS)
            wait -= TURN_SECONDS
            await stream.send(turn_message(0, self._turns.waiting), BLOCK_SECONDS)
        await anyio.sleep(wait)
