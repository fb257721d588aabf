"""A peer as its run's owner sees it: from what it reports, and from the list of members. Pure."""

from __future__ import annotations

import math

from coordinator.domain import Member
from coordinator.reports.progress import Ledger
from swarmpb.v1 import admin_pb2

MOST_TOLD = 10_000
"""Peers in one answer."""


def describe(peer_id: str, ledger: Ledger, member: Member | None, now: float) -> admin_pb2.Member:
    """What is known of a peer at `now` (unix seconds)."""
    told = admin_pb2.Member(peer_id=peer_id, seen_seconds_ago=math.nan)
    state = ledger.peers.get(peer_id)
    if state is not None:
        told.name, told.phase, told.version = state.name, state.phase, state.version
        told.seen_seconds_ago = max(0.0, now - state.received_at)
    told.tokens, told.rounds = ledger.tokens_of(peer_id), ledger.rounds_of(peer_id)
    if member is not None:
        told.admitted_at_ms = int(1000 * (member.admitted_at or 0))
        told.certified_until_ms = int(1000 * (member.certified_until or 0))
        told.invite = member.invitation.hex()[:8]
        told.banned, told.ban_reason = member.banned_at is not None, member.ban_reason
    return told


def in_order(told: admin_pb2.Member) -> tuple[float, str, str]:
    """Those heard of last come first; who was never heard of, last."""
    ago = told.seen_seconds_ago
    return (math.inf if math.isnan(ago) else ago, told.name, told.peer_id)
