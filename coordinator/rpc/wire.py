"""From the coordinator's facts to its gRPC messages. A missing loss travels as NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from coordinator.domain import Coverage, PeerFacts, Receipt, RoundFacts, Run, RunFacts
from swarmpb.v1 import coordinator_pb2
from swarmpb.version import PROTOCOL_VERSION


def signed_spec(run: Run) -> coordinator_pb2.SignedSpec:
    """A run's spec as its owner published it."""
    return coordinator_pb2.SignedSpec(
        spec=run.spec, hash=run.spec_hash, owner_key=run.owner_key, signature=run.signature
    )


def run_info(
    run: Run, round_reached: int, tokens: int, initial_peers: Sequence[str], now: float
) -> coordinator_pb2.RunInfo:
    """What a peer needs to join `run` at `now` (unix seconds)."""
    return coordinator_pb2.RunInfo(
        run_id=run.run_id,
        spec=signed_spec(run),
        initial_peers=initial_peers,
        protocol_version=PROTOCOL_VERSION,
        server_time_ms=int(now * 1000),
        created_at_ms=run.created_at_ms,
        round=round_reached,
        tokens=tokens,
    )


def run_summary(
    run: Run, peers_live: int, round_reached: int, tokens: int
) -> coordinator_pb2.RunSummary:
    """A run's line in a list."""
    return coordinator_pb2.RunSummary(
        run_id=run.run_id,
        description=run.description,
        created_at_ms=run.created_at_ms,
        peers_live=peers_live,
        round=round_reached,
        tokens=tokens,
        target_tokens=run.target_tokens,
    )


def run_progress(run: Run, facts: RunFacts) -> coordinator_pb2.RunProgress:
    """The progress of `run`, peers and newest rounds included."""
    return coordinator_pb2.RunProgress(
        run_id=run.run_id,
        round=facts.round,
        tokens=facts.tokens,
        target_tokens=run.target_tokens,
        tokens_per_second=facts.tokens_per_second,
        peers_live=facts.peers_live,
        train_loss=_or_nan(facts.train_loss),
        first_validation_loss=_or_nan(facts.first_validation_loss),
        validation_loss=_or_nan(facts.validation_loss),
        rounds_committed=facts.rounds_committed,
        rounds_void=facts.rounds_void,
        digests_agree=facts.digests_agree,
        peers=[_peer_progress(peer) for peer in facts.peers],
        rounds=[_round_progress(round_facts) for round_facts in facts.rounds],
        bytes_sent_per_round=facts.bytes_sent_per_round,
        coverage=_coverage(facts.coverage),
    )


def round_receipt(run: Run, receipt: Receipt) -> coordinator_pb2.RoundReceipt:
    """What is signed of a receipt."""
    return coordinator_pb2.RoundReceipt(
        run_id=run.run_id,
        spec_hash=run.spec_hash,
        peer_id=receipt.peer_id,
        round=receipt.round,
        attempt=receipt.attempt,
        claimed_tokens=receipt.claimed_tokens,
        merged_tokens=receipt.merged_tokens,
        included=receipt.included,
        reason=receipt.reason,
        observed=receipt.observed,
        witnesses=receipt.witnesses,
        at_ms=int(receipt.at * 1000),
    )


def coverage_of(progress: coordinator_pb2.RunProgress) -> Coverage | None:
    """What a run's progress says of its text."""
    if not progress.HasField("coverage"):
        return None
    told = progress.coverage
    return Coverage(
        round=told.round,
        pass_chunks=told.pass_chunks,
        passes=told.passes,
        merged_once=told.merged_once,
        merged_again=told.merged_again,
    )


def _coverage(coverage: Coverage | None) -> coordinator_pb2.Coverage | None:
    return None if coverage is None else coordinator_pb2.Coverage(**asdict(coverage))


def _peer_progress(peer: PeerFacts) -> coordinator_pb2.PeerProgress:
    return coordinator_pb2.PeerProgress(
        peer_id=peer.state.peer_id,
        name=peer.state.name,
        phase=peer.state.phase,
        reason=peer.state.reason,
        round=peer.state.round,
        tokens=peer.tokens,
        tokens_per_second=peer.state.tokens_per_second,
        train_loss=_or_nan(peer.state.train_loss),
        rounds=peer.rounds,
        seen_seconds_ago=peer.seen_seconds_ago,
        live=peer.live,
        version=peer.state.version,
        observed_tokens=peer.observed_tokens,
    )


def _round_progress(facts: RoundFacts) -> coordinator_pb2.RoundProgress:
    return coordinator_pb2.RoundProgress(
        round=facts.round,
        committed=facts.committed,
        reason=facts.reason,
        members=facts.members,
        run_tokens=facts.run_tokens,
        seconds=facts.seconds,
        finished_by=facts.finished_by,
        distinct_digests=facts.distinct_digests,
    )


def _or_nan(loss: float | None) -> float:
    return math.nan if loss is None else loss
