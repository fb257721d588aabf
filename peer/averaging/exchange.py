"""The butterfly that agrees: each part goes to its owner, the owner's one answer to everybody.

Each member streams its encoded part to the owner; the owner decodes, checks, averages, encodes
the mean once, and sends the same bytes to all, itself included.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import numpy as np

from peer.averaging.codecs import Codec, FlatVector
from peer.averaging.methods import CHUNK_BYTES, EXCHANGE, PART
from peer.averaging.parts import HeldPart, LeftOut, Part, objection, weighted_mean
from peer.averaging.roster import (
    Malformed,
    Roster,
    answer_message,
    parse_left_out,
    parse_merged,
)
from peer.swarm.interface import Network, Refused, Stream, Unreachable
from swarmpb.v1 import swarm_pb2

COLLECT_SHARE = 0.6
"""Share of the exchange time in which an owner takes parts; the rest is for its answers."""


@dataclass
class Traffic:
    """Bytes of messages that one exchange cost this peer."""

    sent: int = 0
    received: int = 0

    def add(self, stream: Stream) -> None:
        self.sent += stream.sent
        self.received += stream.received


class PartOwner:
    """Collects the members' values of one part, then makes the answer."""

    def __init__(self, roster: Roster, part: Part, codec: Codec, residual: FlatVector | None):
        self._roster = roster
        self._part = part
        self._codec = codec
        self._residual = residual
        """Error feedback: what earlier answers lost to the codec; shape (values of the part,)."""
        self._offered: dict[int, FlatVector] = {}
        self._left_out: dict[int, str] = {}
        self._waiting = {index for index, tokens in enumerate(roster.tokens) if tokens}
        self._complete = anyio.Event()
        self._closed = False
        self.encoded_bytes = codec.encoded_bytes(part.values)
        self.new_residual: FlatVector | None = None
        if not self._waiting:
            self._complete.set()

    async def offer(self, member: int, data: bytes) -> None:
        """Take a member's encoded part, or leave the member out and say why."""
        values, problem = await anyio.to_thread.run_sync(
            decoded, self._codec, data, self._part.values
        )
        if member not in self._waiting:
            return  # sent twice, or too late: the first word stands
        if problem:
            self._left_out[member] = f"refused: {problem}"
        else:
            self._offered[member] = values
        self._settle(member)

    def leave_out(self, member: int, reason: str) -> None:
        """Do not wait for a member any longer."""
        if member in self._waiting:
            self._left_out[member] = reason
            self._settle(member)

    async def answer(self, seconds: float) -> HeldPart | None:
        """The answer, once all have offered or after `seconds`; None if nobody's values count."""
        with anyio.move_on_after(seconds):
            await self._complete.wait()
        self._closed = True
        for member in self._waiting:
            self._left_out[member] = f"did not arrive within {seconds:.1f} s"
        self._waiting = set()
        if not self._offered:
            return None
        return await anyio.to_thread.run_sync(self._average)

    def _settle(self, member: int) -> None:
        self._waiting.discard(member)
        if not self._waiting:
            self._complete.set()

    def _average(self) -> HeldPart:
        included = sorted(self._offered)
        weights = self._roster.weights
        mean = weighted_mean([(self._offered[member], weights[member]) for member in included])
        if self._residual is not None:
            mean += self._residual
        encoded = self._codec.encode(mean)
        if self._residual is not None:
            self.new_residual = mean - self._codec.decode(encoded)
        left_out = tuple(LeftOut(member, why) for member, why in sorted(self._left_out.items()))
        self._offered.clear()
        return HeldPart(tuple(included), left_out, encoded)


def decoded(codec: Codec, data: bytes, count: int) -> tuple[FlatVector, str]:
    """The values of an encoded part, and what is wrong with them; empty if nothing is."""
    try:
        values = codec.decode(data)
    except ValueError as error:
        return np.empty(0, np.float32), str(error)
    if values.size != count:
        return values, f"{values.size} values instead of {count}"
    return values, objection(values)


@dataclass
class Exchange:
    """This member's side of one exchange: what it sends, what it holds in the end."""

    network: Network
    roster: Roster
    codec: Codec
    payload: FlatVector
    """Pseudo-gradient plus residual, shape (n,)."""
    owner: PartOwner | None
    held: dict[int, HeldPart] = field(default_factory=dict)
    sent_values: dict[int, FlatVector] = field(default_factory=dict)
    """By part, what the owner decodes of this member's bytes; lossy codecs only."""
    problems: dict[int, str] = field(default_factory=dict)
    """By part, why there is no answer."""
    traffic: Traffic = field(default_factory=Traffic)
    _answered: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, seconds: float) -> None:
        """Trade all parts; returns when each is held or given up, within `seconds`."""
        own = self.roster.index(self.network.peer_id)
        async with anyio.create_task_group() as tasks:
            for part in self.roster.parts:
                if part.index == own:
                    tasks.start_soon(self._own_part, part, own, seconds)
                else:
                    tasks.start_soon(self._other_part, part, own, seconds)

    async def _own_part(self, part: Part, own: int, seconds: float) -> None:
        assert self.owner is not None, "a member that owns a part collects it"  # noqa: S101  invariant
        if self.roster.tokens[own]:
            await self.owner.offer(own, await self._encode(part))
        answer = await self.owner.answer(seconds * COLLECT_SHARE)
        if answer is not None:
            self.held[part.index] = answer
        self._answered.set()

    async def _other_part(self, part: Part, own: int, seconds: float) -> None:
        data = await self._encode(part) if self.roster.tokens[own] else b""
        owner = self.roster.members[part.index]
        try:
            with anyio.fail_after(seconds):
                async with self.network.open(owner, EXCHANGE, seconds) as stream:
                    try:
                        ticket = swarm_pb2.PartRequest(attempt=self.roster.attempt, part=part.index)
                        await stream.send(swarm_pb2.PartChunk(part=ticket), seconds)
                        await _send_bytes(stream, data, seconds)
                        await stream.finish(seconds)
                        self.held[part.index] = await receive_part(
                            stream, self.roster, part, self.codec, seconds
                        )
                    finally:
                        self.traffic.add(stream)
        except TimeoutError:
            self.problems[part.index] = f"no answer within {seconds:.1f} s"
        except (Unreachable, Refused, Malformed) as error:
            self.problems[part.index] = str(error)

    async def _encode(self, part: Part) -> bytes:
        def encode() -> bytes:
            data = self.codec.encode(self.payload[part.where])
            if self.codec.lossy:
                self.sent_values[part.index] = self.codec.decode(data)
            return data

        return await anyio.to_thread.run_sync(encode)

    async def serve(self, caller: str, stream: Stream, seconds: float) -> None:
        """As an owner: take the rest of a member's part, then answer it."""
        if self.owner is None or caller not in self.roster.members:
            raise Refused("not an owner for this caller")
        member = self.roster.index(caller)
        try:
            with anyio.fail_after(seconds):
                data = await receive_bytes(stream, self.owner.encoded_bytes, seconds)
        except TimeoutError as error:
            self.owner.leave_out(member, "did not arrive in time")
            raise Refused("too late") from error
        except Unreachable as error:
            self.owner.leave_out(member, str(error))
            raise
        except Malformed as error:
            self.owner.leave_out(member, f"refused: {error}")
            raise Refused(str(error)) from error
        if data:
            await self.owner.offer(member, data)
        with anyio.move_on_after(seconds):
            await self._answered.wait()
        held = self.held.get(self.roster.index(self.network.peer_id))
        if held is None:
            raise Refused("this part has no mean")
        await send_part(stream, held, seconds)
        self.traffic.add(stream)


async def send_part(stream: Stream, held: HeldPart, seconds: float) -> None:
    """Send an owner's answer: who is in it, then its bytes."""
    await stream.send(swarm_pb2.PartChunk(answer=answer_message(held)), seconds)
    await _send_bytes(stream, held.encoded, seconds)


async def receive_part(
    stream: Stream, roster: Roster, part: Part, codec: Codec, seconds: float
) -> HeldPart:
    """Take an answer and check its values. Raises `Malformed`, `Refused`, `Unreachable`."""
    first = await stream.receive(seconds)
    if first is None or not first.HasField("answer"):
        raise Malformed("an answer without its header")
    included = parse_merged(first.answer.included, roster)
    left_out = parse_left_out(first.answer.left_out, len(roster.members))
    data = await receive_bytes(stream, codec.encoded_bytes(part.values), seconds)
    _, problem = await anyio.to_thread.run_sync(decoded, codec, data, part.values)
    if problem:
        raise Malformed(f"an answer with {problem}")
    return HeldPart(included, left_out, data)


async def fetch_part(
    network: Network, holder: str, roster: Roster, part: Part, codec: Codec, seconds: float
) -> HeldPart:
    """Get a part's agreed bytes from a member that holds them. Raises as `receive_part`."""
    try:
        with anyio.fail_after(seconds):
            async with network.open(holder, PART, seconds) as stream:
                request = swarm_pb2.PartRequest(attempt=roster.attempt, part=part.index)
                await stream.send(request, seconds)
                return await receive_part(stream, roster, part, codec, seconds)
    except TimeoutError as error:
        raise Unreachable(f"no answer within {seconds:.1f} s") from error


async def receive_bytes(stream: Stream, limit: int, seconds: float) -> bytes:
    """All data until the other side finishes; `Malformed` beyond `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    while (chunk := await stream.receive(seconds)) is not None:
        if not chunk.data:
            raise Malformed("an empty piece")
        size += len(chunk.data)
        if size > limit:
            raise Malformed(f"more than the {limit} bytes of the part")
        pieces.append(chunk.data)
    return b"".join(pieces)


async def _send_bytes(stream: Stream, data: bytes, seconds: float) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        await stream.send(swarm_pb2.PartChunk(data=data[start : start + CHUNK_BYTES]), seconds)
