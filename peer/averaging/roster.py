"""The roster of an attempt and the manifest of its outcome, as messages say and arithmetic needs.

Pure: parses what other peers sent and checks every number before anything uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peer.averaging.parts import (
    MAX_MEMBERS,
    MAX_TOKENS,
    HeldPart,
    LeftOut,
    Part,
    PartReport,
    bounded_weights,
    split,
)
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

ATTEMPT_BYTES = 16
DIGEST_BYTES = 32
MAX_PEER_ID_LENGTH = 100
MAX_LEFT_OUT_REASON = 100


class Malformed(ValueError):
    """A message of another peer breaks a rule; says which."""


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
    parameters: int

    @property
    def parts(self) -> list[Part]:
        return split(self.parameters, len(self.members))

    def index(self, peer_id: str) -> int:
        """The place of a member; `ValueError` if it is none."""
        return self.members.index(peer_id)


def form_roster(
    attempt: bytes, round_: int, digest: bytes, leader: str, tokens: Mapping[str, int], n: int
) -> Roster:
    """The roster of the peers that have cut, with their claimed `tokens`."""
    members = tuple(sorted(tokens))
    claimed = tuple(tokens[member] for member in members)
    weights = tuple(bounded_weights(claimed))
    return Roster(attempt, round_, digest, leader, members, claimed, weights, n)


def roster_message(roster: Roster, spec: RunSpec) -> swarm_pb2.Roster:
    """The message that tells the members."""
    return swarm_pb2.Roster(
        attempt=roster.attempt,
        round=roster.round,
        digest=roster.digest,
        codec=spec.round.codec,
        parameters=roster.parameters,
        leader=roster.leader,
        exchange_seconds=spec.round.exchange_seconds,
        members=[
            swarm_pb2.RosterMember(peer_id=member, tokens=tokens, weight=weight)
            for member, tokens, weight in zip(
                roster.members, roster.tokens, roster.weights, strict=True
            )
        ],
    )


def parse_roster(message: swarm_pb2.Roster, spec: RunSpec, parameters: int) -> Roster:
    """Check a leader's roster; `Malformed` names the first broken rule."""
    members = tuple(member.peer_id for member in message.members)
    tokens = tuple(member.tokens for member in message.members)
    weights = tuple(member.weight for member in message.members)
    _require(len(message.attempt) == ATTEMPT_BYTES, "the attempt has no 16 bytes")
    _require(len(message.digest) == DIGEST_BYTES, "the digest has no 32 bytes")
    _require(0 < len(members) <= MAX_MEMBERS, f"{len(members)} members")
    _require(list(members) == sorted(set(members)), "the members are not sorted and distinct")
    _require(all(_looks_like_peer_id(member) for member in members), "a member has no peer id")
    _require(message.leader in members, "the leader is no member")
    _require(message.codec == spec.round.codec, f"codec {message.codec[:20]!r} is not the run's")
    _require(message.parameters == parameters, f"{message.parameters} parameters, not {parameters}")
    _require(message.exchange_seconds == spec.round.exchange_seconds, "another exchange time")
    _require(max(tokens) <= MAX_TOKENS, "a member claims too many tokens")
    # derived, not trusted: an infinite or inflated weight never gets this far
    _require(list(weights) == bounded_weights(tokens), "the weights do not follow from the tokens")
    return Roster(
        message.attempt, message.round, message.digest, message.leader, members, tokens, weights,
        parameters,
    )  # fmt: skip


@dataclass(frozen=True)
class ManifestPart:
    """What became of a part. Void: nobody holds its mean, its work is carried."""

    void: bool
    digest: bytes = b""
    included: tuple[int, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    holders: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The record of a committed round."""

    roster: Roster
    parts: tuple[ManifestPart, ...]
    tokens: int
    """Merged in the run, this round included."""
    state_digest: bytes
    """Of the global state after the outer step."""


_Story = tuple[bytes, tuple[int, ...]]
"""What a member may say of a part: the digest of its answer, and who is in it."""


def compile_parts(
    roster: Roster, reports: Mapping[int, Sequence[PartReport]]
) -> tuple[ManifestPart, ...]:
    """What a leader makes of its members' reports: for each part, what most of them hold.

    An owner that told different things to different members loses those that it told the
    rarer thing: they fetch the agreed one.
    """
    said: dict[int, dict[_Story, list[tuple[int, PartReport]]]] = {
        part.index: defaultdict(list) for part in roster.parts
    }
    for member in sorted(reports):
        for report in reports[member]:
            # the digest covers the included members, but only those that hold the bytes can tell
            said[report.part][report.digest, report.included].append((member, report))
    return tuple(_most_held(said[part.index]) for part in roster.parts)


def _most_held(said: Mapping[_Story, list[tuple[int, PartReport]]]) -> ManifestPart:
    if not said:
        return ManifestPart(void=True)
    digest, included = story = max(said, key=lambda it: (len(said[it]), it))
    left_out = said[story][0][1].left_out
    holders = tuple(member for member, _ in said[story])
    return ManifestPart(False, digest, included, left_out, holders)


def merged_members(roster: Roster, parts: Sequence[ManifestPart]) -> set[int]:
    """The members whose inner work counts as merged: in the mean of at least half the values."""
    included = [0] * len(roster.members)
    for part, outcome in zip(roster.parts, parts, strict=True):
        for member in outcome.included if not outcome.void else ():
            included[member] += part.values
    return {member for member, values in enumerate(included) if 2 * values >= roster.parameters}


def merged_tokens(roster: Roster, parts: Sequence[ManifestPart]) -> int:
    """The tokens that a round with these parts adds to the run."""
    return sum(roster.tokens[member] for member in merged_members(roster, parts))


def left_out_reason(manifest: Manifest, member: int) -> str:
    """Why a member's work is not, or not all, in the round; empty if it is."""
    for index, part in enumerate(manifest.parts):
        if part.void:
            return f"part {index} is void: its owner was lost"
        for left_out in part.left_out:
            if left_out.member == member:
                return f"part {index}: {left_out.reason}"
    return ""


def manifest_message(manifest: Manifest, spec: RunSpec) -> swarm_pb2.Manifest:
    """The message that members agree on."""
    return swarm_pb2.Manifest(
        roster=roster_message(manifest.roster, spec),
        tokens=manifest.tokens,
        state_digest=manifest.state_digest,
        parts=[
            swarm_pb2.ManifestPart(
                void=part.void,
                digest=part.digest,
                included=part.included,
                left_out=_left_out_messages(part.left_out),
                holders=part.holders,
            )
            for part in manifest.parts
        ],
    )


def parse_manifest(message: swarm_pb2.Manifest, spec: RunSpec, parameters: int) -> Manifest:
    """Check a manifest against its own roster; `Malformed` names the first broken rule."""
    roster = parse_roster(message.roster, spec, parameters)
    _require(len(message.parts) == len(roster.parts), "the parts do not fit the roster")
    _require(len(message.state_digest) == DIGEST_BYTES, "the state digest has no 32 bytes")
    parts = tuple(_parse_part(part, roster) for part in message.parts)
    _require(not all(part.void for part in parts), "every part is void")
    _require(message.tokens < 2**62, "too many tokens")
    return Manifest(roster, parts, message.tokens, message.state_digest)


def report_message(held: Mapping[int, HeldPart]) -> swarm_pb2.ExchangeReport:
    """What a member tells the leader after the exchange."""
    return swarm_pb2.ExchangeReport(
        parts=[
            swarm_pb2.PartHeld(
                part=index,
                digest=part.digest,
                included=part.included,
                left_out=_left_out_messages(part.left_out),
            )
            for index, part in sorted(held.items())
        ]
    )


def parse_report(message: swarm_pb2.ExchangeReport, roster: Roster) -> list[PartReport]:
    """Check a member's report; `Malformed` names the first broken rule."""
    members, parts = len(roster.members), len(roster.parts)
    _require(len(message.parts) <= parts, "more parts than the roster has")
    _require(all(held.part < parts for held in message.parts), "an unknown part")
    indexes = [held.part for held in message.parts]  # each member has one voice for each part
    _require(indexes == sorted(set(indexes)), "a part twice, or out of order")
    _require(all(len(held.digest) == DIGEST_BYTES for held in message.parts), "a bad digest")
    return [
        PartReport(
            held.part,
            held.digest,
            parse_merged(held.included, roster),
            parse_left_out(held.left_out, members),
        )
        for held in message.parts
    ]


def _left_out_messages(entries: Sequence[LeftOut]) -> list[swarm_pb2.LeftOut]:
    return [swarm_pb2.LeftOut(member=entry.member, reason=entry.reason) for entry in entries]


def answer_message(held: HeldPart) -> swarm_pb2.PartAnswer:
    """What goes before the bytes of an owner's answer."""
    return swarm_pb2.PartAnswer(
        included=held.included,
        left_out=_left_out_messages(held.left_out),
        encoded_bytes=len(held.encoded),
    )


def _parse_part(message: swarm_pb2.ManifestPart, roster: Roster) -> ManifestPart:
    if message.void:
        return ManifestPart(void=True)
    members = len(roster.members)
    included = parse_merged(message.included, roster)
    holders = parse_members(message.holders, members)
    _require(len(message.digest) == DIGEST_BYTES, "a part's digest has no 32 bytes")
    _require(bool(holders), "a part without holders is not void")
    left_out = parse_left_out(message.left_out, members)
    return ManifestPart(False, message.digest, included, left_out, holders)


def parse_merged(indexes: Sequence[int], roster: Roster) -> tuple[int, ...]:
    """The members in a part's mean; `Malformed` also if one has only listened."""
    included = parse_members(indexes, len(roster.members))
    _require(all(roster.tokens[it] for it in included), "a member without tokens is in a mean")
    return included


def parse_members(indexes: Sequence[int], members: int) -> tuple[int, ...]:
    """Members' indexes, ascending and distinct; `Malformed` if they are not."""
    _require(len(indexes) <= members, "more members than the roster has")
    _require(list(indexes) == sorted(set(indexes)), "members are not sorted and distinct")
    _require(not indexes or indexes[-1] < members, "a member that is not in the roster")
    return tuple(indexes)


def parse_left_out(entries: Sequence[swarm_pb2.LeftOut], members: int) -> tuple[LeftOut, ...]:
    """Who was left out and why, reasons cut to a bounded length."""
    _require(len(entries) <= members, "more members left out than the roster has")
    _require(all(entry.member < members for entry in entries), "an unknown member is left out")
    _require(len({entry.member for entry in entries}) == len(entries), "a member left out twice")
    return tuple(LeftOut(entry.member, entry.reason[:MAX_LEFT_OUT_REASON]) for entry in entries)


def _looks_like_peer_id(text: str) -> bool:
    return 0 < len(text) <= MAX_PEER_ID_LENGTH and text.isascii() and text.isalnum()


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise Malformed(problem)
