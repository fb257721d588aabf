"""What a spectator is shown of a run: the values behind the dashboard's JSON.

Where a figure comes from is part of its meaning: see `provenance`. How old a figure is, is told
beside it in seconds. None is what nobody knows; never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RunLine:
    """A run in the list of all runs."""

    run_id: str
    description: str
    state: str
    created_at: float
    """Unix seconds, as everywhere here."""
    peers_live: int
    round: int
    tokens: int
    target_tokens: int


@dataclass(frozen=True)
class RunOverview:
    """The headline of a run's page."""

    run_id: str
    description: str
    now: float
    """The coordinator's clock."""
    model: str
    """Such as `LlamaForCausalLM`."""
    parameters: int | None
    state: str
    """draft, open, paused, finishing or finished;"""
    condition: str
    """what it amounts to: training, waiting, stalled, diverged, paused, finished, draft;"""
    reason: str
    """and why, in words that a person can act on."""
    invite_only: bool
    join_command: str
    owner: str
    """Public key, hexadecimal."""
    spec_hash: str
    created_at: float
    round: int
    tokens: int
    target_tokens: int
    progress: float
    """0 to 1."""
    seconds_left: float | None
    tokens_per_second: float
    peers_live: int
    peers_ever: int
    train_loss: float | None
    validation_loss: float | None
    first_validation_loss: float | None
    validation_round: int | None
    validation_seconds_ago: float | None
    rounds_committed: int
    rounds_void: int
    last_round_seconds_ago: float | None
    digests_agree: bool
    bytes_sent_per_round: float
    """Median over members of committed rounds."""
    report_seconds_ago: float | None
    """Since any peer of the run was heard of."""
    text_seen_once: float | None
    """Share of the training text's present pass,"""
    text_seen_again: float | None
    passes: int | None


@dataclass(frozen=True)
class Participant:
    """A row of the participants' table."""

    peer_id: str
    name: str
    live: bool
    phase: str
    reason: str
    tokens: int
    """Merged, the sum of its receipts;"""
    observed_tokens: int
    """of them those that others told of. The rest is its own word."""
    share: float
    """Of all merged tokens, 0 to 1."""
    tokens_per_second: float
    train_loss: float | None
    round: int
    rounds: int
    """Committed rounds that its work is in,"""
    rounds_missed: int
    """and those in which it was a member, and it is not."""
    last_missed_reason: str
    processor: str
    cores: int
    memory_bytes: int
    accelerator: str
    system: str
    version: str
    upload: int
    """Bytes per second; 0: not known."""
    download: int
    reach: str
    energy_joules: float
    """In this run; 0: not told."""
    seen_seconds_ago: float
    joined_at: float
    banned: bool


@dataclass(frozen=True)
class Participants:
    """A page of the table."""

    total: int
    """Rows that the search finds."""
    offset: int
    rows: tuple[Participant, ...]


@dataclass(frozen=True)
class ReceiptLine:
    """What became of one peer's work in one round."""

    round: int
    at: float
    claimed_tokens: int
    merged_tokens: int
    included: bool
    reason: str
    observed: bool
    """Others told of the round's manifest, not only this peer."""
    witnesses: int


@dataclass(frozen=True)
class Receipts:
    """Newest first."""

    rows: tuple[ReceiptLine, ...]
    older: int | None
    """Ask for rounds before this one to go on; None: there is nothing older."""
    kept_since: float | None
    """Receipts before this moment were thinned to sums; None: all are kept."""


@dataclass(frozen=True)
class LeaderLine:
    """A place on the leaderboard."""

    place: int
    peer_id: str
    name: str
    tokens: int
    rounds: int
    share: float


@dataclass(frozen=True)
class Leaderboard:
    period: Literal["all", "week"]
    since: float
    rows: tuple[LeaderLine, ...]


@dataclass(frozen=True)
class RoundMember:
    peer_id: str
    name: str
    included: bool
    reason: str
    tokens: int


@dataclass(frozen=True)
class RoundLine:
    """A committed round, or a void attempt at one."""

    key: str
    """Tells attempts apart: hexadecimal."""
    round: int
    at: float
    committed: bool
    reason: str
    tokens: int
    """Merged in the run after it."""
    computing_seconds: float | None
    """From the round before to the cut,"""
    exchange_seconds: float
    """and from the cut to the decision."""
    bytes_sent: int
    """By its members together, as far as told."""
    members: tuple[RoundMember, ...]
    members_count: int
    """May be more than are listed."""
    digests: int
    """Distinct ones told; more than one is a disagreement."""


@dataclass(frozen=True)
class Rounds:
    """Newest first."""

    rows: tuple[RoundLine, ...]
    older: int | None


@dataclass(frozen=True)
class EventLine:
    number: int
    at: float
    kind: str
    peer_id: str
    name: str
    round: int | None
    text: str


@dataclass(frozen=True)
class Events:
    """Newest first."""

    rows: tuple[EventLine, ...]
    older: int | None


@dataclass(frozen=True)
class LossPoint:
    at: float
    tokens: int
    round: int
    loss: float


@dataclass(frozen=True)
class PeerSeries:
    """One peer's share of the speed, or `""` for all that have no line of their own."""

    peer_id: str
    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class RoundSeries:
    """One point for each round, or for several where there are many."""

    at: tuple[float, ...]
    round: tuple[int, ...]
    tokens: tuple[int, ...]
    computing_seconds: tuple[float | None, ...]
    exchange_seconds: tuple[float | None, ...]
    """None where nothing was committed, like the bytes of a round."""
    bytes_sent: tuple[float | None, ...]
    void: tuple[int, ...]
    """Void attempts in that stretch of time."""


@dataclass(frozen=True)
class Series:
    """Everything that the plots show, at most `points` long each."""

    now: float
    validation: tuple[LossPoint, ...]
    training: tuple[LossPoint, ...]
    """Mean over members of a round, weighted by tokens."""
    at: tuple[float, ...]
    """Times of the samples below."""
    peers_live: tuple[float, ...]
    tokens_per_second: tuple[PeerSeries, ...]
    """The ten fastest and the rest, to be stacked."""
    rounds: RoundSeries
