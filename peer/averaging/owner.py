"""An owner's side of one part: collect the members' bytes, average them, encode the mean once."""

from __future__ import annotations

import anyio
import anyio.to_thread

from peer.averaging.codecs import Bytes, Codec, FlatVector, first_unsound
from peer.averaging.parts import HeldPart, LeftOut, Part, encoded_mean
from peer.averaging.roster import MAX_LEFT_OUT_REASON, Roster


class PartOwner:
    """Collects the members' bytes of one part, then makes the answer, the same for all."""

    def __init__(
        self, roster: Roster, part: Part, codec: Codec, residual: FlatVector | None
    ) -> None:
        self.part = part
        self.lost: FlatVector | None = None
        """What the codec lost of the answer, shape (values of the part,)."""
        self.held: HeldPart | None = None
        """The answer; None also if nobody's values count."""
        self.answered = anyio.Event()
        self._roster = roster
        self._codec = codec
        self._residual = residual
        self._offered: dict[int, Bytes] = {}
        self._sent_with: dict[int, Codec] = {}
        self._left_out: dict[int, str] = {}
        self._given_up: dict[int, float] = {}
        """When, by the event loop's clock."""
        self._waiting = {index for index, tokens in enumerate(roster.tokens) if tokens}
        self._complete = anyio.Event()
        if not self._waiting:
            self._complete.set()

    def offer(self, member: int, data: Bytes, sent_with: Codec | None = None) -> None:
        """Take a member's bytes, or leave the member out and say why.

        sent_with: the codec that they are in; None for the roster's.
        """
        codec = sent_with or self._codec
        problem = codec.objection(data, self.part.values)  # less than a thread would cost
        if member not in self._waiting:
            self._note_late(member)
            return  # sent twice, or too late: the first word stands
        if problem:
            self._left_out[member] = f"refused: {problem}{self._which(codec, data)}"
        else:
            self._offered[member] = data
            self._sent_with[member] = codec
        self._settle(member)

    def _which(self, codec: Codec, data: Bytes) -> str:
        """Which parameter it is that may not be used, if that can be told."""
        if len(data) != codec.encoded_bytes(self.part.values):
            return ""
        at = first_unsound(codec, data, self.part.values)
        return "" if at is None else f" (parameter {self.part.start + at})"

    def _note_late(self, member: int) -> None:
        """Who was not waited for any longer has come after all: how late is worth knowing."""
        given_up = self._given_up.pop(member, None)
        if given_up is not None:
            seconds = anyio.current_time() - given_up
            self._left_out[member] = f"arrived {seconds:.1f} s late"
            if self.held is not None:
                self.held = self.held.explained(self._entries())

    def give_up(self, member: int, reason: str) -> None:
        """It took too long."""
        if member in self._waiting:
            self._given_up[member] = anyio.current_time()
            self.leave_out(member, reason)

    def leave_out(self, member: int, reason: str) -> None:
        """Do not wait for a member any longer."""
        if member in self._waiting:
            self._left_out[member] = reason
            self._settle(member)

    async def answer(self, seconds: float) -> None:
        """Make the answer once all have offered, or after `seconds`."""
        with anyio.move_on_after(seconds):
            await self._complete.wait()
        for member in list(self._waiting):
            self.give_up(member, f"did not arrive within {seconds:.1f} s")
        if self._offered:
            self.held = await anyio.to_thread.run_sync(self._average)
        self.answered.set()

    def _settle(self, member: int) -> None:
        self._waiting.discard(member)
        if not self._waiting:
            self._complete.set()

    def _average(self) -> HeldPart:
        included = sorted(self._offered)
        weights = self._roster.weights
        contributions = [(self._offered[member], weights[member]) for member in included]
        senders = [self._sent_with[member] for member in included]
        encoded, self.lost = encoded_mean(
            self._codec, self.part.values, contributions, self._residual, senders
        )
        self._offered.clear()
        return HeldPart(tuple(included), self._entries(), encoded)

    def _entries(self) -> tuple[LeftOut, ...]:
        return tuple(
            LeftOut(it, why[:MAX_LEFT_OUT_REASON], self.part.index)
            for it, why in sorted(self._left_out.items())
        )
