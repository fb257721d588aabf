"""The stream of a state download: its messages, and the bounds that both sides keep."""

from __future__ import annotations

from collections.abc import Iterable

from peer.averaging.lineage import Header, header_message, parse_header
from peer.averaging.malformed import DIGEST_BYTES, require
from peer.averaging.state import GlobalState
from peer.membership import Position
from peer.swarm.interface import Method
from swarmpb.v1 import swarm_pb2

STATE = Method("state", swarm_pb2.StateRequest, swarm_pb2.StateReply, 16 * 1024, 4 * 1024)
BLOCKS_A_REQUEST = 16
MAX_COVERAGE_BYTES = 4 << 20
MAX_OFFERS = 8
BLOCK_SECONDS = 20.0
"""Who takes longer for a block, or is silent for so long, is given up: 0.2 Mbit/s."""
TURN_SECONDS = 2.0
"""A joiner that waits hears so often where it stands."""


def ask_for_state(at: Position, *, described: bool) -> swarm_pb2.StateRequest:
    """described: the joiner knows the digests of its blocks already."""
    name = swarm_pb2.StateName(round=at.round, digest=at.digest, described=described)
    return swarm_pb2.StateRequest(state=name)


def ask_for_blocks(indexes: Iterable[int]) -> swarm_pb2.StateRequest:
    return swarm_pb2.StateRequest(blocks=swarm_pb2.StateBlocks(indexes=indexes))


def turn_message(position: int, waiting: int) -> swarm_pb2.StateReply:
    """position: 1 is the next one, 0 is served already."""
    return swarm_pb2.StateReply(turn=swarm_pb2.StateTurn(position=position, waiting=waiting))


def offer_message(states: Iterable[GlobalState]) -> swarm_pb2.StateReply:
    """The state that was asked for is gone; these are here."""
    names = [swarm_pb2.StateName(round=it.round, digest=it.digest) for it in states]
    return swarm_pb2.StateReply(gone=swarm_pb2.StateOffer(states=names[:MAX_OFFERS]))


def parse_offer(message: swarm_pb2.StateOffer) -> list[Position]:
    """What a donor has instead; `Malformed` if that cannot be."""
    require(len(message.states) <= MAX_OFFERS, f"{len(message.states)} states on offer")
    require(all(len(it.digest) == DIGEST_BYTES for it in message.states), "a digest of odd length")
    return [Position(it.round, it.digest) for it in message.states]


def description_message(state: GlobalState) -> swarm_pb2.StateReply:
    description = swarm_pb2.StateDescription(
        header=header_message(state.header), coverage_bytes=len(state.coverage)
    )
    return swarm_pb2.StateReply(description=description)


def parse_description(
    message: swarm_pb2.StateDescription, at: Position, parameters: int
) -> tuple[Header, int]:
    """The header of the state `at`, and the length of its coverage; `Malformed` if it is not it.

    parameters: length of the flat vector; a donor's own word for it is not trusted.
    """
    header = parse_header(message.header)
    named = (header.round, header.digest, header.parameters)
    require(named == (at.round, at.digest, parameters), "its description does not fit the state")
    require(message.coverage_bytes <= MAX_COVERAGE_BYTES, "a coverage that is too large")
    return header, message.coverage_bytes
