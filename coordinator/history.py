"""What is kept of a run's past: attempts at rounds, sums of receipts, samples. Values only."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600
DAY = 86_400


@dataclass(frozen=True)
class Attempt:
    """An attempt at a round, by the words of all who told of it."""

    id: int
    round: int
    attempt: bytes
    """Empty: told only by peers that came to hold the round's state."""
    at: float
    """Unix seconds: when it ended, as the first who told of it said, within bounds."""
    committed: bool
    reason: str
    """Why it is void."""
    members: int
    run_tokens: int
    seconds: float
    """From the cut to the decision,"""
    round_seconds: float
    """and from the state before to this one; 0: not known."""
    finished_by: int
    """Peers that told of it."""
    included: int
    """Of them, those whose work is in, by their own words;"""
    bytes_sent: int
    """by these together."""
    train_loss: float | None
    """Their mean, weighted by tokens."""
    digests: frozenset[bytes]
    """Told of the state after it: more than one is a disagreement."""


@dataclass(frozen=True)
class PeerTotals:
    """Sums over all receipts of a peer, or over those of some days."""

    peer_id: str
    rounds: int
    """Whose work includes its own,"""
    missed: int
    """and in which it was a member, and its work is not."""
    claimed_tokens: int
    merged_tokens: int
    observed_tokens: int
    """Of the merged ones, those that others told of."""
    missed_round: int = 0
    missed_reason: str = ""
    """Of the newest that it missed."""
    late: int = 0
    """Words about rounds of which only sums are kept: they changed nothing."""
    joined_at: float = 0.0
    """Unix seconds: when it was first heard of."""


@dataclass(frozen=True)
class RoundCounts:
    """Of all rounds of a run, those included that are only kept in sums."""

    committed: int
    void: int
    disagreed: int
    tokens: int
    """Merged in the run, by the highest committed round."""


@dataclass(frozen=True)
class RoundStretch:
    """What happened to rounds in a stretch of time."""

    at: float
    """Its middle, unix seconds."""
    round: int
    """The last one,"""
    run_tokens: int
    """and what was merged in the run after it."""
    committed: int
    void: int
    seconds: float
    """Mean, from the cut to the decision."""
    round_seconds: float | None
    """Mean of those that told it."""
    bytes_sent: float
    """Mean of a round, by its members together as far as they told."""
    train_loss: float | None
    """Mean, weighted by tokens."""


@dataclass(frozen=True)
class ValidationPoint:
    """A loss on held-out text, and when the coordinator heard of it."""

    at: float
    round: int
    run_tokens: int
    loss: float


@dataclass(frozen=True)
class Sample:
    """The mean state of a run over a minute, an hour or a day."""

    at: float
    """Where that begins, unix seconds."""
    peers_live: float
    tokens_per_second: float
    speeds: tuple[tuple[str, float], ...]
    """Of the fastest peers, by peer id: tokens per second."""
