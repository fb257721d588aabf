"""An owner's answer on the wire, and how long anybody waits for one."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import anyio
import anyio.to_thread

from peer.averaging.codec_names import codec_named
from peer.averaging.codecs import Codec
from peer.averaging.malformed import Malformed
from peer.averaging.methods import PART
from peer.averaging.parts import HeldPart, Part
from peer.averaging.roster import Roster, left_out_messages, parse_left_out, parse_merged
from peer.swarm.interface import Network, Refused, Stream, Unreachable, short
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

COLLECT_SHARE = 0.6
"""Share of the exchange time in which an owner takes parts; the rest is for its answers."""
SILENCE_SHARE = 0.1
SHORTEST_SILENCE = 3.0
"""Who says nothing for so many seconds is given up; a slow owner says that it lives."""


def silence_seconds(seconds: float) -> float:
    """The longest silence in an exchange that may take `seconds`."""
    return min(max(SHORTEST_SILENCE, SILENCE_SHARE * seconds), COLLECT_SHARE * seconds)


async def send_answer(stream: Stream, held: HeldPart | None, seconds: float) -> None:
    """Send an owner's answer: who is in it, then its bytes."""
    if held is None:
        await stream.send(swarm_pb2.PartAnswer(void=True), seconds)
        return
    left_out = left_out_messages(held.left_out)
    header = swarm_pb2.PartAnswer(included=held.included, left_out=left_out)
    await stream.send(header, seconds)
    await stream.send_data(memoryview(held.encoded), seconds)


async def receive_answer(
    stream: Stream,
    roster: Roster,
    part: Part,
    codec: Codec,
    silence: float,
    patience: float = math.inf,
) -> HeldPart | None:
    """Take an answer and check its values; None for a void part.

    patience: the moment from which an owner that still waits for others is given up. Raises
    `Malformed`, `Refused`, `Unreachable`.
    """
    answer = await stream.receive(silence)
    while answer is not None and answer.waiting:
        if anyio.current_time() > patience:
            raise Unreachable("its owner waits for others without end")
        answer = await stream.receive(silence)
    if answer is None:
        raise Malformed("an answer without its header")
    if answer.void:
        return None
    included = parse_merged(answer.included, roster)
    left_out = parse_left_out(answer.left_out, roster)
    data = bytearray(codec.encoded_bytes(part.values))
    received = await stream.receive_data(memoryview(data), silence)
    if received < len(data):
        raise Malformed(f"an answer of {received} bytes instead of {len(data)}")

    def checked() -> HeldPart:
        if problem := codec.objection(data, part.values):
            raise Malformed(f"an answer with {problem}")
        return HeldPart(included, left_out, data)

    return await anyio.to_thread.run_sync(checked)


async def fetch_parts(
    network: Network, holder: str, roster: Roster, parts: Sequence[Part], seconds: float
) -> dict[int, HeldPart]:
    """By part, what one peer holds of these; all on one stream, as far as it goes well."""
    codec, silence = codec_named(roster.codec), silence_seconds(seconds)
    found: dict[int, HeldPart] = {}
    try:
        with anyio.fail_after(seconds):
            async with network.open(holder, PART, silence) as stream:
                indexes = [part.index for part in parts]
                request = swarm_pb2.PartRequest(attempt=roster.attempt, parts=indexes)
                await stream.send(request, silence)
                for part in parts:
                    held = await receive_answer(stream, roster, part, codec, silence)
                    if held is not None:
                        found[part.index] = held
    except (TimeoutError, Unreachable, Refused, Malformed) as error:
        log.debug("parts from %s: %s", short(holder), error)
    return found
