"""The butterfly that agrees: each part goes to its owner, the owner's one answer to everybody.

Each member streams its encoded parts to their owners; an owner checks them, averages, encodes the
mean once, and sends the same bytes to all, itself included. Answers to the first parts travel
while the last are still on their way, so both directions of a link are busy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from peer.averaging.answers import (
    COLLECT_SHARE,
    receive_answer,
    send_answer,
    silence_seconds,
)
from peer.averaging.codec_names import codec_named
from peer.averaging.codecs import Codec, FlatVector
from peer.averaging.feedback import ErrorFeedback, Work
from peer.averaging.links import FASTEST, Link
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import ManifestPart
from peer.averaging.methods import EXCHANGE
from peer.averaging.own_codec import accepted
from peer.averaging.owner import PartOwner
from peer.averaging.parts import HeldPart, Part
from peer.averaging.roster import Roster
from peer.swarm.interface import Network, Refused, Stream, Unreachable
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)


@dataclass
class Traffic:
    """What one exchange cost this peer, and at which rates it was seen to run."""

    sent: int = 0
    """Bytes of messages and data."""
    received: int = 0
    uploads: dict[int, int] = field(default_factory=dict)
    """By owner, bytes per second at which this peer's upload arrived there."""
    downloads: dict[int, int] = field(default_factory=dict)
    """By member, bytes per second at which its upload arrived here."""

    def add(self, stream: Stream) -> None:
        self.sent += stream.sent
        self.received += stream.received

    @property
    def link(self) -> Link:
        """What this exchange shows of this peer's link: its transfers ran at the same time."""
        return Link(sum(self.uploads.values()), sum(self.downloads.values()))


class Exchange:
    """This member's side of one exchange: what it sends, what it holds in the end."""

    def __init__(
        self,
        network: Network,
        roster: Roster,
        work: Work,
        feedback: ErrorFeedback,
        sends_with: Codec | None = None,
    ) -> None:
        """sends_with: the codec of this member's own parts; None for the roster's."""
        self.roster = roster
        self.work = work
        self.codec = codec_named(roster.codec)
        self._sends_with = sends_with or self.codec
        self.traffic = Traffic()
        self._network = network
        self._own = roster.index(network.peer_id)
        self._taken: dict[int, HeldPart] = {}
        self.lost: set[int] = set()
        """Members that were unreachable, or silent."""
        self.unsendable = ""
        """What is wrong with this member's own values, if they are no numbers to send."""
        self._uploading: set[int] = set()
        """Members whose upload has begun."""
        self.owned = [
            PartOwner(roster, part, self.codec, feedback.of_answers(part))
            for part in roster.parts
            if part.owner == self._own
        ]

    @property
    def held(self) -> dict[int, HeldPart]:
        """By part, the answers that this member has, its own included."""
        own = {owner.part.index: owner.held for owner in self.owned if owner.held is not None}
        return own | self._taken

    def correct(self, part: int, agreed: HeldPart) -> None:
        """Hold what the roster agrees on in place of what this member has, or has not."""
        self._taken[part] = agreed

    async def run(self, seconds: float) -> None:
        """Trade all parts; returns when each is held or given up, within `seconds`."""
        by_owner: dict[int, list[Part]] = {}
        for part in self.roster.parts:
            by_owner.setdefault(part.owner, []).append(part)
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as trades:
                    for owner, parts in by_owner.items():
                        if owner != self._own:
                            trades.start_soon(self._trade, owner, parts, seconds)
                    for owned in self.owned:
                        trades.start_soon(owned.answer, seconds * COLLECT_SHARE)
                    if self.owned:
                        tasks.start_soon(self._give_up_absent, seconds)
                        trades.start_soon(self._offer_own)
            tasks.cancel_scope.cancel()

    def sent_parts(self) -> list[Part]:
        """The parts of this member's work that were sent; an owner may claim others, too."""
        return [part for part in self.roster.parts if part.index in self.work.encoded]

    def answered(self, agreed: Sequence[ManifestPart]) -> dict[Part, FlatVector]:
        """By part, what this owner's answers have lost, where the round is made of them."""
        return {
            owned.part: owned.lost
            for owned in self.owned
            if owned.held is not None
            and owned.lost is not None
            and agreed[owned.part.index].digest == owned.held.digest
        }

    def shed(self) -> None:
        """Let go of all that is large; who has yet to take an answer from here gets it."""
        self.work.shed()
        self._taken, self.owned = {}, []

    # ---- as a member -------------------------------------------------------------------

    async def _trade(self, owner: int, parts: Sequence[Part], seconds: float) -> None:
        """Upload an owner's parts and take its answers, both at once."""
        silence = silence_seconds(seconds)
        try:
            async with self._network.open(self.roster.members[owner], EXCHANGE, silence) as stream:
                try:
                    await self._talk(stream, owner, parts, seconds)
                finally:
                    self.traffic.add(stream)
        except (Refused, Unreachable) as error:
            self._failed(owner, error)

    async def _talk(
        self, stream: Stream, owner: int, parts: Sequence[Part], seconds: float
    ) -> None:
        async def take_answers() -> None:
            try:
                await self._take_answers(stream, owner, parts, seconds)
            except (Refused, Malformed, Unreachable) as error:
                self._failed(owner, error)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_answers)
            tasks.start_soon(self._upload, stream, parts, seconds)

    async def _upload(self, stream: Stream, parts: Sequence[Part], seconds: float) -> None:
        try:
            stronger = "" if self._sends_with is self.codec else self._sends_with.name
            upload = swarm_pb2.Upload(attempt=self.roster.attempt, codec=stronger)
            await stream.send(upload, seconds)
            try:
                for part in parts if self.roster.tokens[self._own] else ():
                    data = await self._encode(self._sends_with, part)
                    await stream.send_data(memoryview(data), seconds)
            except ValueError as error:
                # this peer's own values are no numbers to send: the owner leaves it out
                self.unsendable = str(error)
            await stream.finish(seconds)
        except Unreachable:
            return  # the answers say why, or come all the same

    async def _take_answers(
        self, stream: Stream, owner: int, parts: Sequence[Part], seconds: float
    ) -> None:
        silence = silence_seconds(seconds)
        # an owner that is not stuck does not wait longer
        patience = anyio.current_time() + COLLECT_SHARE * seconds + silence
        for part in parts:
            answer = await receive_answer(stream, self.roster, part, self.codec, silence, patience)
            if answer is not None:
                self._taken[part.index] = answer
        trailer = await stream.receive(silence)
        if trailer is not None and trailer.upload:
            self.traffic.uploads[owner] = min(trailer.upload, FASTEST)

    def _failed(self, owner: int, error: Exception) -> None:
        """The trade with an owner is over before its end."""
        log.debug("no more answers from member %d: %s", owner, error)
        if isinstance(error, Unreachable):
            self.lost.add(owner)

    async def _encode(self, codec: Codec, part: Part) -> bytearray:
        return await anyio.to_thread.run_sync(self.work.encode, codec, part)

    # ---- as an owner -------------------------------------------------------------------

    async def _offer_own(self) -> None:
        for owned in self.owned if self.roster.tokens[self._own] else ():
            try:
                owned.offer(self._own, await self._encode(self.codec, owned.part))
            except ValueError as error:
                self.unsendable = str(error)
                owned.leave_out(self._own, f"refused: {error}")

    async def _give_up_absent(self, seconds: float) -> None:
        """Members from which nothing has come are not waited for."""
        silence = silence_seconds(seconds)
        await anyio.sleep(silence)
        absent = set(range(len(self.roster.members))) - self._uploading - {self._own}
        self.lost |= absent
        for member in absent:
            for owned in self.owned:
                owned.give_up(member, f"nothing came within {silence:.1f} s")

    def _leave_out(self, member: int, reason: str) -> None:
        for owned in self.owned:
            owned.leave_out(member, reason)

    async def serve(self, caller: str, stream: Stream, seconds: float, announced: str = "") -> None:
        """As an owner: take a member's parts and answer each, both at once.

        announced: the codec that the member names for its parts; empty for the roster's.
        """
        if not self.owned or caller not in self.roster.members:
            raise Refused("not an owner for this caller")
        member = self.roster.index(caller)
        if member in self._uploading:
            raise Refused("this member is served already")
        codec = accepted(announced, self.codec)
        if codec is None:
            self._leave_out(member, "refused: a codec that is not taken here")
            raise Refused(f"no codec for this run: {announced[:20]!r}")
        self._uploading.add(member)
        refusals: list[Refused] = []

        async def take_upload() -> None:
            try:
                await self._take_upload(member, stream, silence_seconds(seconds), codec)
            except Refused as refusal:
                refusals.append(refusal)
                tasks.cancel_scope.cancel()

        try:
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(take_upload)
                    tasks.start_soon(self._send_answers, member, stream, seconds)
        finally:
            self._leave_out(member, "hung up")
            self.traffic.add(stream)
        if refusals:
            raise refusals[0]

    async def _take_upload(self, member: int, stream: Stream, silence: float, codec: Codec) -> None:
        began = anyio.current_time()
        try:
            for owned in self.owned if self.roster.tokens[member] else ():
                size = codec.encoded_bytes(owned.part.values)
                data = bytearray(size)
                received = await stream.receive_data(memoryview(data), silence)
                if received < size:
                    raise Refused(f"{received} bytes instead of {size}")
                owned.offer(member, data, codec)
            self.traffic.downloads[member] = rate(stream.received, anyio.current_time() - began)
            if await stream.receive(silence) is not None:
                raise Refused("more than the parts")
        except Unreachable as error:
            self.lost.add(member)
            self._leave_out(member, str(error))
        except Refused as error:
            self._leave_out(member, f"refused: {error}")
            raise

    async def _send_answers(self, member: int, stream: Stream, seconds: float) -> None:
        beat = silence_seconds(seconds) / 3
        try:
            for owned in self.owned:
                while not owned.answered.is_set():
                    with anyio.move_on_after(beat):
                        await owned.answered.wait()
                    if not owned.answered.is_set():
                        await stream.send(swarm_pb2.PartAnswer(waiting=True), seconds)
                await send_answer(stream, owned.held, seconds)
            upload = self.traffic.downloads.get(member, 0)
            await stream.send(swarm_pb2.PartAnswer(upload=upload), seconds)
        except Unreachable:
            return  # the member is gone; its upload's end says so too


_RATED_BYTES = 128 * 1024
"""A transfer of fewer bytes says nothing about a link."""


def rate(size: int, seconds: float) -> int:
    """Bytes per second; 0 where that would say nothing about a link."""
    return int(size / seconds) if size >= _RATED_BYTES and seconds > 0 else 0
