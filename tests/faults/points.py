"""Where one peer stands in its protocol, told from the messages that it sends and takes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from peer.averaging.methods import AGREEMENT, CUT, EXCHANGE, ROSTER
from peer.averaging.parts import split
from peer.transfer.messages import STATE
from swarmpb.v1 import swarm_pb2
from tests.faults.plan import Freeze, Kill, Place


class Watch:
    """Follows one peer and does `act` for each fault whose point it reaches, once.

    `sending` is told before a message leaves, `sent` after; `is_reply`: on a stream that another
    peer has opened.
    """

    def __init__(
        self, peer_id: str, faults: Iterable[Kill | Freeze], act: Callable[[Kill | Freeze], None]
    ) -> None:
        self.left = list(faults)
        """Faults that are still to come."""
        self._peer_id = peer_id
        self._act = act
        self._round = -1
        self._attempt = b""
        self._led: set[Place] = set()
        """What a leader has passed in this attempt: it sends the same to all."""
        self._counts = {Place.SENDING: 0, Place.ANSWERING: 0}
        self._totals = {Place.SENDING: 0, Place.ANSWERING: 0}
        self._downloading = swarm_pb2.StateHeader()
        self._arrived = 0
        """Bytes of that state."""

    # ---- what crosses ------------------------------------------------------------------

    def sending(self, method: str, is_reply: bool, message: Any) -> None:
        """A message is about to leave this peer."""
        if is_reply:
            return
        if method == CUT.name:
            self._begin(message)
        elif method == ROSTER.name:
            self._count_parts(message)
            self._lead_past(Place.AFTER_CUT)
        elif method == AGREEMENT.name and message.HasField("accept"):
            self._lead_past(Place.BEFORE_VOTE)

    def sent(self, method: str, is_reply: bool, question: Any) -> None:
        """A message has left; `question`: what this stream was opened with."""
        if is_reply and method == CUT.name:
            self._pass(Place.AFTER_CUT)
        elif is_reply and method == AGREEMENT.name and question.HasField("accept"):
            self._pass(Place.AFTER_VOTE)

    def sent_data(self, method: str, is_reply: bool) -> None:
        """A part has left, or an owner's answer."""
        if method == EXCHANGE.name:
            place = Place.ANSWERING if is_reply else Place.SENDING
            self._counts[place] += 1
            self._pass(place)

    def received(self, method: str, is_reply: bool, message: Any, question: Any) -> None:
        """A message has come."""
        if is_reply and method == CUT.name:
            self._begin(message)
        elif is_reply and method == ROSTER.name:
            self._count_parts(message)
        elif is_reply and method == AGREEMENT.name and message.HasField("accept"):
            self._pass(Place.BEFORE_VOTE)
        elif not is_reply and method == AGREEMENT.name and question.HasField("accept"):
            self._lead_past(Place.AFTER_VOTE)
        elif not is_reply and method == STATE.name and message.HasField("description"):
            header = message.description.header
            if header != self._downloading:  # else another donor describes the same
                self._downloading, self._arrived, self._round = header, 0, header.round

    def received_data(self, method: str, is_reply: bool, size: int) -> None:
        """Bytes have come."""
        if not is_reply and method == STATE.name:
            self._arrived += size
            if self._arrived >= 4 * self._downloading.parameters:
                self._pass(Place.DOWNLOADING)

    def writing_checkpoint(self) -> None:
        """A file is written and has not taken its place yet."""
        self._pass(Place.CHECKPOINT)

    # ---- what it means -----------------------------------------------------------------

    def _begin(self, request: swarm_pb2.CutRequest) -> None:
        if request.attempt == self._attempt:
            return
        self._attempt, self._round = request.attempt, request.round
        self._led.clear()
        self._counts = dict.fromkeys(self._counts, 0)
        self._totals = dict.fromkeys(self._totals, 0)
        self._pass(Place.BEFORE_CUT)

    def _count_parts(self, roster: swarm_pb2.Roster) -> None:
        members = [member.peer_id for member in roster.members]
        parts = split(roster.parameters, [member.units for member in roster.members])
        own = sum(members[part.owner] == self._peer_id for part in parts)
        self._totals[Place.SENDING] = len(parts) - own
        self._totals[Place.ANSWERING] = own * (len(members) - 1)

    def _lead_past(self, place: Place) -> None:
        if place not in self._led:
            self._led.add(place)
            self._pass(place)

    def _pass(self, place: Place) -> None:
        for fault in list(self.left):
            point = fault.point
            if point is None or point.place is not place or self._round < fault.round:
                continue
            if place in self._counts:
                half = max(1, -(-self._totals[place] // 2))
                if self._counts[place] < (point.parts or half):
                    continue
            self.left.remove(fault)
            self._act(fault)
