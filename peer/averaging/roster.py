"""The roster of an attempt, as messages say it and arithmetic needs it.

Pure: parses what other peers sent and checks every number before anything uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from peer.averaging.codec_names import codec_named
from peer.averaging.coverage import NO_CHUNKS, Chunks, chunks_message, parse_chunks
from peer.averaging.links import Link, owned_units
from peer.averaging.malformed import DIGEST_BYTES, require
from peer.averaging.parts import (
    MAX_MEMBERS,
    MAX_TOKENS,
    LeftOut,
    Part,
    bounded_weights,
    split,
    unit_count,
)
from peer.averaging.state import GlobalState
from peer.swarm.interface import printable
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

ATTEMPT_BYTES = 16
MAX_PEER_ID_LENGTH = 100
MAX_LEFT_OUT_REASON = 100


@dataclass(frozen=True)
class Roster:
    """Who takes part in an attempt at a round, in the order of their peer ids."""

    attempt: bytes
    round: int
    digest: bytes
    """Of the global state that all members average from."""
    leader: str
    members: tuple[str, ...]
    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    units: tuple[int, ...]
    """How much of the vector each member owns; see `parts.split`."""
    codec: str
    parameters: int
    chunks: tuple[Chunks, ...]
    """What each member has trained, and what it goes on with."""

    @cached_property
    def parts(self) -> list[Part]:
        return split(self.parameters, self.units)

    def index(self, peer_id: str) -> int:
        """The place of a member; `ValueError` if it is none."""
        return self.members.index(peer_id)


@dataclass(frozen=True)
class Pledge:
    """What a peer says when it has cut."""

    tokens: int
    link: Link
    chunks: Chunks = NO_CHUNKS
    branch: bytes = b""
    """Digest of the other half's state that it holds ready; empty for none."""


def form_roster(
    attempt: bytes,
    base: GlobalState,
    leader: str,
    pledges: Mapping[str, Pledge],
    codec: str,
) -> Roster:
    """The roster of the peers that have cut from the state `base`."""
    members = tuple(sorted(pledges))
    claimed = tuple(pledges[member].tokens for member in members)
    links = [pledges[member].link for member in members]
    parameters = base.parameters.size
    encoded_bytes = codec_named(codec).encoded_bytes(parameters)
    return Roster(
        attempt=attempt,
        round=base.round,
        digest=base.digest,
        leader=leader,
        members=members,
        tokens=claimed,
        weights=tuple(bounded_weights(claimed)),
        units=tuple(owned_units(unit_count(parameters), encoded_bytes, links, turn=attempt[0])),
        codec=codec,
        parameters=parameters,
        chunks=tuple(pledges[member].chunks for member in members),
    )


def roster_message(roster: Roster, spec: RunSpec) -> swarm_pb2.Roster:
    """The message that tells the members."""
    return swarm_pb2.Roster(
        attempt=roster.attempt,
        round=roster.round,
        digest=roster.digest,
        codec=roster.codec,
        parameters=roster.parameters,
        leader=roster.leader,
        exchange_seconds=spec.round.exchange_seconds,
        members=[
            swarm_pb2.RosterMember(
                peer_id=member,
                tokens=tokens,
                weight=weight,
                units=units,
                chunks=chunks_message(chunks),
            )
            for member, tokens, weight, units, chunks in zip(
                roster.members,
                roster.tokens,
                roster.weights,
                roster.units,
                roster.chunks,
                strict=True,
            )
        ],
    )


def parse_roster(message: swarm_pb2.Roster, spec: RunSpec, parameters: int) -> Roster:
    """Check a leader's roster; `Malformed` names the first broken rule."""
    members = tuple(member.peer_id for member in message.members)
    tokens = tuple(member.tokens for member in message.members)
    weights = tuple(member.weight for member in message.members)
    units = tuple(member.units for member in message.members)
    require(len(message.attempt) == ATTEMPT_BYTES, "the attempt has no 16 bytes")
    require(len(message.digest) == DIGEST_BYTES, "the digest has no 32 bytes")
    require(0 < len(members) <= MAX_MEMBERS, f"{len(members)} members")
    require(list(members) == sorted(set(members)), "the members are not sorted and distinct")
    require(all(_looks_like_peer_id(member) for member in members), "a member has no peer id")
    require(message.leader in members, "the leader is no member")
    require(message.codec == spec.round.codec, f"codec {message.codec[:20]!r} is not the run's")
    require(message.parameters == parameters, f"{message.parameters} parameters, not {parameters}")
    require(message.exchange_seconds == spec.round.exchange_seconds, "another exchange time")
    require(max(tokens) <= MAX_TOKENS, "a member claims too many tokens")
    # derived, not trusted: an infinite or inflated weight never gets this far
    require(list(weights) == bounded_weights(tokens), "the weights do not follow from the tokens")
    require(sum(units) == unit_count(parameters), "the owners' units are not the vector's")
    chunks = tuple(parse_chunks(member.chunks) for member in message.members)
    return Roster(
        message.attempt, message.round, message.digest, message.leader, members, tokens, weights,
        units, message.codec, parameters, chunks,
    )  # fmt: skip


def parse_merged(indexes: Sequence[int], roster: Roster) -> tuple[int, ...]:
    """The members in a part's mean; `Malformed` also if one has only listened."""
    included = parse_members(indexes, len(roster.members))
    require(all(roster.tokens[it] for it in included), "a member without tokens is in a mean")
    return included


def parse_members(indexes: Sequence[int], members: int) -> tuple[int, ...]:
    """Members' indexes, ascending and distinct; `Malformed` if they are not."""
    require(len(indexes) <= members, "more members than the roster has")
    require(list(indexes) == sorted(set(indexes)), "members are not sorted and distinct")
    require(not indexes or indexes[-1] < members, "a member that is not in the roster")
    return tuple(indexes)


def left_out_messages(entries: Sequence[LeftOut]) -> list[swarm_pb2.LeftOut]:
    """What messages say of those left out."""
    return [
        swarm_pb2.LeftOut(member=entry.member, reason=entry.reason, part=entry.part)
        for entry in entries
    ]


def parse_left_out(entries: Sequence[swarm_pb2.LeftOut], roster: Roster) -> tuple[LeftOut, ...]:
    """Who was left out and why, reasons cut to a bounded length."""
    members = len(roster.members)
    require(len(entries) <= members, "more members left out than the roster has")
    require(all(entry.member < members for entry in entries), "an unknown member is left out")
    require(all(entry.part < len(roster.parts) for entry in entries), "left out of an unknown part")
    require(len({entry.member for entry in entries}) == len(entries), "a member left out twice")
    return tuple(
        LeftOut(entry.member, printable(entry.reason, MAX_LEFT_OUT_REASON), entry.part)
        for entry in entries
    )


def _looks_like_peer_id(text: str) -> bool:
    return 0 < len(text) <= MAX_PEER_ID_LENGTH and text.isascii() and text.isalnum()
