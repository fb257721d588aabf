"""What a peer tells its coordinator of a round's manifest: who was in it, and who was not. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from peer.averaging.history import History
from peer.averaging.manifest import Manifest, included_parts, left_out_reason
from swarmpb.v1 import coordinator_pb2

ROSTERS_A_REPORT = 4


def rosters_of(history: History, attempts: Iterable[bytes]) -> list[coordinator_pb2.RoundRoster]:
    """Of attempts whose decision this peer has adopted and still keeps; the first few."""
    found = (history.round_of(attempt) for attempt in attempts)
    kept = [roster_told(it.manifest) for it in found if it is not None]
    return kept[:ROSTERS_A_REPORT]


def roster_told(manifest: Manifest) -> coordinator_pb2.RoundRoster:
    """A manifest's members: what each claimed, how much of it is in, and why not all."""
    roster, merged = manifest.roster, manifest.merged
    return coordinator_pb2.RoundRoster(
        round=manifest.round,
        attempt=roster.attempt,
        digest=manifest.state_digest,
        parts=len(roster.parts),
        members=[
            coordinator_pb2.RosterEntry(
                peer_id=name,
                tokens=roster.tokens[member],
                parts=len(included_parts(manifest, member)),
                merged=member in merged,
                reason=left_out_reason(manifest, member),
            )
            for member, name in enumerate(roster.members)
        ],
    )
