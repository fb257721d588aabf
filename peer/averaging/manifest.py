"""What became of an attempt: the members' reports, and the manifest that they agree on.

Pure: parses what other peers sent and checks every number before anything uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from peer.averaging.coverage import Claim
from peer.averaging.malformed import DIGEST_BYTES, require
from peer.averaging.parts import HeldPart, LeftOut, Part, PartReport
from peer.averaging.roster import (
    Roster,
    left_out_messages,
    parse_left_out,
    parse_members,
    parse_merged,
    parse_roster,
    roster_message,
)
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

NO_WORK = "no inner work yet"
"""Why a member was only a listener; the coordinator knows these words too."""


@dataclass(frozen=True)
class ManifestPart:
    """What became of a part. Void: nobody holds its mean, its work is carried."""

    void: bool
    digest: bytes = b""
    included: tuple[int, ...] = ()
    holders: tuple[int, ...] = ()


@dataclass(frozen=True)
class Merge:
    """The state of the swarm's other half, and where the two went apart."""

    digest: bytes
    round: int
    tokens: int
    common: bytes
    """Digest of the newest state that both halves come from."""
    common_tokens: int

    @property
    def gain(self) -> int:
        """Tokens that the other half has merged since."""
        return self.tokens - self.common_tokens


@dataclass(frozen=True)
class Manifest:
    """The record of a committed round."""

    roster: Roster
    parts: tuple[ManifestPart, ...]
    tokens: int
    """Merged in the run, this round included."""
    state_digest: bytes
    """Of the global state after the outer step."""
    left_out: tuple[LeftOut, ...] = ()
    """The first part that a member is not in, and why; for people only."""
    merge: Merge | None = None

    @property
    def round(self) -> int:
        """Of the state that it leads to."""
        return 1 + max(self.roster.round, self.merge.round if self.merge else 0)

    @property
    def merged(self) -> set[int]:
        """The members whose inner work counts as merged."""
        return merged_members(self.roster, self.parts)


@dataclass(frozen=True)
class Report:
    """What a member holds after the exchange, and whom its owners left out."""

    parts: tuple[PartReport, ...]
    left_out: tuple[LeftOut, ...]


_Story = tuple[bytes, tuple[int, ...]]
"""What a member may say of a part: the digest of its answer, and who is in it."""


def compile_parts(roster: Roster, reports: Mapping[int, Report]) -> tuple[ManifestPart, ...]:
    """What a leader makes of its members' reports: for each part, what most of them hold.

    An owner that told different things to different members loses those that it told the
    rarer thing: they fetch the agreed one.
    """
    said: dict[int, dict[_Story, list[int]]] = {
        part.index: defaultdict(list) for part in roster.parts
    }
    for member in sorted(reports):
        for report in reports[member].parts:
            # the digest covers the included members, but only those that hold the bytes can tell
            said[report.part][report.digest, report.included].append(member)
    return tuple(_most_held(said[part.index]) for part in roster.parts)


def _most_held(said: Mapping[_Story, list[int]]) -> ManifestPart:
    if not said:
        return ManifestPart(void=True)
    digest, included = story = max(said, key=lambda it: (len(said[it]), it))
    return ManifestPart(False, digest, included, tuple(said[story]))


def left_out_of(
    roster: Roster, parts: Sequence[ManifestPart], reports: Mapping[int, Report]
) -> tuple[LeftOut, ...]:
    """Who is not in a part that is agreed on, with the reason that a report has for it.

    Its owner's before any other: it may have heard of a late member after it had answered.
    """
    told = [
        (roster.parts[entry.part].owner != member, member, entry)
        for member in reports
        for entry in reports[member].left_out
        if not parts[entry.part].void and entry.member not in parts[entry.part].included
    ]
    return first_left_out(entry for *_, entry in sorted(told, key=lambda it: it[:2]))


def first_left_out(entries: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """For each member the entry of the first part; ascending by member."""
    first: dict[int, LeftOut] = {}
    for entry in sorted(entries, key=lambda it: it.part):
        first.setdefault(entry.member, entry)
    return tuple(first[member] for member in sorted(first))


def merged_members(roster: Roster, parts: Sequence[ManifestPart]) -> set[int]:
    """The members whose inner work counts as merged: in the mean of at least half the values."""
    included = [0] * len(roster.members)
    for part, outcome in zip(roster.parts, parts, strict=True):
        for member in outcome.included if not outcome.void else ():
            included[member] += part.values
    return {member for member, values in enumerate(included) if 2 * values >= roster.parameters}


def claims_of(roster: Roster, merged: Collection[int]) -> dict[str, Claim]:
    """What each member of a committed round has trained; merged: the members whose work counts."""
    return {
        name: Claim(roster.tokens[member], roster.chunks[member], member in merged)
        for member, name in enumerate(roster.members)
    }


def included_parts(manifest: Manifest, member: int) -> list[Part]:
    """The parts that a member's work went into, in the order of the vector."""
    return [
        part
        for part, outcome in zip(manifest.roster.parts, manifest.parts, strict=True)
        if not outcome.void and member in outcome.included
    ]


def merged_tokens(roster: Roster, parts: Sequence[ManifestPart]) -> int:
    """The tokens that a round with these parts adds to the run."""
    return sum(roster.tokens[member] for member in merged_members(roster, parts))


def left_out_reason(manifest: Manifest, member: int) -> str:
    """Why a member's work is not, or not all, in the round; empty if it is."""
    if not manifest.roster.tokens[member]:
        return NO_WORK
    index, why = _missed(manifest, member)
    parts = len(included_parts(manifest, member))
    if parts and why:
        return f"in {parts} of {len(manifest.parts)} parts; part {index}: {why}"
    return why if not why or why.startswith("refused: ") else f"left out: {why}"


def _missed(manifest: Manifest, member: int) -> tuple[int, str]:
    """The first part that a member's work is not in, and why; no reason: it is in all."""
    for left_out in manifest.left_out:
        if left_out.member == member:
            return left_out.part, left_out.reason
    for index, part in enumerate(manifest.parts):
        if part.void:
            return index, "void, its owner was lost"
        if member not in part.included:
            return index, "its owner does not say why"
    return -1, ""


def manifest_message(manifest: Manifest, spec: RunSpec) -> swarm_pb2.Manifest:
    """The message that members agree on."""
    merge = manifest.merge
    return swarm_pb2.Manifest(
        merge=swarm_pb2.Merge(**asdict(merge)) if merge else None,
        roster=roster_message(manifest.roster, spec),
        tokens=manifest.tokens,
        state_digest=manifest.state_digest,
        parts=[
            swarm_pb2.ManifestPart(
                void=part.void, digest=part.digest, included=part.included, holders=part.holders
            )
            for part in manifest.parts
        ],
        left_out=left_out_messages(manifest.left_out),
    )


def parse_manifest(message: swarm_pb2.Manifest, spec: RunSpec, parameters: int) -> Manifest:
    """Check a manifest against its own roster; `Malformed` names the first broken rule."""
    roster = parse_roster(message.roster, spec, parameters)
    require(len(message.parts) == len(roster.parts), "the parts do not fit the roster")
    require(len(message.state_digest) == DIGEST_BYTES, "the state digest has no 32 bytes")
    parts = tuple(_parse_part(part, roster) for part in message.parts)
    require(not all(part.void for part in parts), "every part is void")
    require(message.tokens < 2**62, "too many tokens")
    left_out = parse_left_out(message.left_out, roster)
    merge = _parse_merge(message.merge) if message.HasField("merge") else None
    return Manifest(roster, parts, message.tokens, message.state_digest, left_out, merge)


def _parse_merge(message: swarm_pb2.Merge) -> Merge:
    digests = (message.digest, message.common)
    require(all(len(it) == DIGEST_BYTES for it in digests), "a merged state has no 32 bytes")
    require(message.round < 2**62, "the merged state's round is too large")
    require(
        message.common_tokens <= message.tokens < 2**62, "the merged state's tokens make no sense"
    )
    return Merge(
        message.digest, message.round, message.tokens, message.common, message.common_tokens
    )


def _parse_part(message: swarm_pb2.ManifestPart, roster: Roster) -> ManifestPart:
    if message.void:
        return ManifestPart(void=True)
    included = parse_merged(message.included, roster)
    holders = parse_members(message.holders, len(roster.members))
    require(len(message.digest) == DIGEST_BYTES, "a part's digest has no 32 bytes")
    require(bool(holders), "a part without holders is not void")
    return ManifestPart(False, message.digest, included, holders)


def report_of(held: Mapping[int, HeldPart]) -> Report:
    """What a member holds after the exchange."""
    parts = tuple(
        PartReport(index, part.digest, part.included) for index, part in sorted(held.items())
    )
    left_out = first_left_out(entry for part in held.values() for entry in part.left_out)
    return Report(parts, left_out)


def report_message(report: Report) -> swarm_pb2.ExchangeReport:
    """What a member tells the leader."""
    return swarm_pb2.ExchangeReport(
        parts=[
            swarm_pb2.PartHeld(part=part.part, digest=part.digest, included=part.included)
            for part in report.parts
        ],
        left_out=left_out_messages(report.left_out),
    )


def parse_report(message: swarm_pb2.ExchangeReport, roster: Roster) -> Report:
    """Check a member's report; `Malformed` names the first broken rule."""
    parts = len(roster.parts)
    require(len(message.parts) <= parts, "more parts than the roster has")
    require(all(held.part < parts for held in message.parts), "an unknown part")
    indexes = [held.part for held in message.parts]  # each member has one voice for each part
    require(indexes == sorted(set(indexes)), "a part twice, or out of order")
    require(all(len(held.digest) == DIGEST_BYTES for held in message.parts), "a bad digest")
    held = tuple(
        PartReport(it.part, it.digest, parse_merged(it.included, roster)) for it in message.parts
    )
    return Report(held, parse_left_out(message.left_out, roster))
