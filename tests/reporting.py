"""Progress reports for tests: as the coordinator keeps them, and signed as peers send them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from coordinator.domain import Outcome, PeerState, Report, Validation
from coordinator.rosters import Roster, RosterEntry
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, swarm_pb2

DIGEST = bytes(range(32))
OTHER_DIGEST = bytes(range(1, 33))


@lru_cache
def identity(number: int = 0) -> PeerIdentity:
    """The same few peers in every test of a process; making an RSA key takes long."""
    return PeerIdentity.generate()


def peer(peer_id: str = "QmAnna", **fields: Any) -> PeerState:
    """The state of a peer that trains."""
    values: dict[str, Any] = {
        "sequence": 1,
        "received_at": 1000.0,
        "phase": "training",
        "reason": "",
        "round": 0,
        "tokens": 0,
        "tokens_per_second": 100.0,
        "train_loss": 2.0,
        "name": peer_id[2:].lower(),
        "version": "0.1.0",
    }
    return PeerState(peer_id=peer_id, **(values | fields))


def outcome(round_number: int, peer_id: str = "QmAnna", **fields: Any) -> Outcome:
    """A committed round that merged the peer's work."""
    values: dict[str, Any] = {
        "attempt": f"attempt at {round_number}".encode(),
        "committed": True,
        "included": True,
        "reason": "",
        "digest": DIGEST,
        "run_tokens": 1000 * round_number,
        "own_tokens": 300,
        "bytes_sent": 4000,
        "bytes_received": 4000,
        "seconds": 0.5,
        "members": 3,
        "finished_at_ms": 1_000_000,
        "train_loss": 2.0,
    }
    return Outcome(peer_id=peer_id, round=round_number, **(values | fields))


def report(
    outcomes: Sequence[Outcome] = (),
    validations: Sequence[Validation] = (),
    run_id: str = "demo",
    **fields: Any,
) -> Report:
    """A checked report of one peer."""
    return Report(run_id, peer(**fields), tuple(outcomes), tuple(validations))


def round_message(round_number: int, **fields: Any) -> coordinator_pb2.RoundOutcome:
    """A committed round, as it travels."""
    values: dict[str, Any] = {
        "attempt": f"attempt {round_number}".encode(),
        "committed": True,
        "included": True,
        "digest": DIGEST,
        "run_tokens": 1000 * round_number,
        "bytes_sent": 4000,
        "seconds": 0.5,
        "members": 3,
    }
    return coordinator_pb2.RoundOutcome(round=round_number, **(values | fields))


def signed_report(author: PeerIdentity, **fields: Any) -> swarm_pb2.Envelope:
    """A report as its peer sends it; `fields` override those of a peer that trains."""
    values: dict[str, Any] = {
        "run_id": "demo",
        "peer_id": author.peer_id,
        "sequence": 1,
        "phase": "training",
        "tokens_per_second": 100.0,
        "train_loss": math.nan,
        "name": "anna",
        "version": "0.1.0",
    }
    message = coordinator_pb2.ProgressReport(**(values | fields))
    return author.seal("report", message.SerializeToString())


def roster(round_number: int, *members: RosterEntry, **fields: Any) -> Roster:
    """What a peer tells of the manifest of `outcome(round_number)`."""
    values: dict[str, Any] = {
        "attempt": f"attempt at {round_number}".encode(),
        "digest": DIGEST,
        "parts": 8,
    }
    entries = tuple(sorted(members, key=lambda it: it.peer_id))
    return Roster(round=round_number, members=entries, **(values | fields))


def entry(peer_id: str, tokens: int = 300, reason: str = "") -> RosterEntry:
    """A member whose work is in; with a reason: left out."""
    return RosterEntry(peer_id, tokens, 0 if reason else 8, not reason, reason)
