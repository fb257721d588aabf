"""What a coordinator knows about runs, and why it refuses. Values only: no I/O, no clock.

Everything in here has been bounded by `intake`: no NaN, no infinity, no number that SQLite
cannot hold, no text that a terminal would obey. A loss of None means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from coordinator.rosters import Roster
from swarmpb.v1.membership_pb2 import SignedOrders


@dataclass(frozen=True)
class Run:
    """A registered run: its signed spec and the two facts that lists show."""

    run_id: str
    spec: bytes
    """Canonical JSON (swarmpb.spec)."""
    spec_hash: bytes
    owner_key: bytes
    signature: bytes
    description: str
    target_tokens: int
    created_at_ms: int


@dataclass(frozen=True)
class PeerState:
    """What a peer last said about itself."""

    peer_id: str
    sequence: int
    received_at: float
    """Unix seconds on the coordinator's clock."""
    phase: str
    reason: str
    round: int
    tokens: int
    """Trained by this peer and merged in the run."""
    tokens_per_second: float
    train_loss: float | None
    name: str
    version: str
    journal: bytes = b""
    """Names the journal from which it tells; another one after it lost its disk."""
    taken_row: int = 0
    """Every row of that journal up to this one is kept here."""
    processor: str = ""
    """What it says of its machine, as far as it does; like what follows."""
    cores: int = 0
    memory_bytes: int = 0
    accelerator: str = ""
    system: str = ""
    upload: int = 0
    """Bytes per second in its exchanges; 0: not known."""
    download: int = 0
    reach: str = ""
    """direct, relayed or outgoing only; empty: not known."""
    energy_joules: float = 0.0  # in this run; 0: not told


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a round ended, as one peer saw it.

    Without attempt and members: the peer only came to hold the state of a committed round.
    """

    peer_id: str
    round: int
    attempt: bytes
    committed: bool
    included: bool
    """The round merged this peer's work."""
    reason: str
    digest: bytes
    """Of the global state after the round; empty: this peer has not reached it."""
    run_tokens: int
    own_tokens: int
    bytes_sent: int
    bytes_received: int
    seconds: float
    members: int
    finished_at_ms: int
    train_loss: float | None
    round_seconds: float = 0.0
    """Since the state before was adopted; 0: not known."""


@dataclass(frozen=True)
class Validation:
    """The loss on the held-out text after a round, nats per token."""

    peer_id: str
    round: int
    run_tokens: int
    loss: float | None


@dataclass(frozen=True)
class Coverage:
    """How often a run's text was merged, in chunks, agreed with the state of a round."""

    round: int
    pass_chunks: int
    """In one pass through the text."""
    passes: int
    """Completed."""
    merged_once: int
    """In the present pass,"""
    merged_again: int
    """and twice or more."""


@dataclass(frozen=True)
class Report:
    """A checked progress report: a peer's present state, and rows of its journal."""

    run_id: str
    peer: PeerState
    outcomes: tuple[Outcome, ...] = ()
    validations: tuple[Validation, ...] = ()
    after_row: int = 0
    """Outcomes and validations are all rows of the peer's journal after this one"""
    last_row: int = 0
    """and up to this one; 0: none are told."""
    addresses: tuple[str, ...] = ()
    """libp2p multiaddresses of this peer, and of no other."""
    coverage: Coverage | None = None
    rosters: tuple[Roster, ...] = ()
    """Of those attempts that this peer was asked for, and perhaps of others."""
    orders_rank: tuple[int, int] = (0, 0)
    """Of the newest orders that the peer knows: (the charter's serial, sequence)."""


class EventKind(str, Enum):
    """What happens to a run that a person may want to know of; names never change."""

    RUN_STATE = "run state"
    """Its owner opened, paused, resumed, finished it; or it reached its target."""
    JOINED = "joined"
    LEFT = "left"
    LOST = "lost"
    """A peer fell silent without a word."""
    BACK = "back"
    BANNED = "banned"
    UNBANNED = "unbanned"
    ROUND_VOID = "round void"
    DIVERGED = "diverged"
    """Members of one round told different digests."""
    HEALED = "divergence healed"
    DISPUTED = "round disputed"
    """Peers told different things of what a round has merged of whom."""
    STALLED = "stalled"
    """Peers are live, and no round has been committed for long."""
    MOVING = "moving again"
    ALL_GONE = "all peers gone"
    TARGET = "target reached"


@dataclass(frozen=True)
class Event:
    """One of them. Numbers grow over all runs of a coordinator."""

    number: int
    at: float
    """Unix seconds on the coordinator's clock."""
    run_id: str
    kind: EventKind
    text: str
    """In words that a person can act on."""
    peer_id: str = ""
    round: int | None = None


@dataclass(frozen=True)
class Invitation:
    """What a join link stands for. Only the hash of its secret is kept."""

    secret_hash: bytes
    """sha256."""
    uses_left: int | None
    """None: any number."""
    expires_at: float
    """Unix seconds."""
    created_at: float


@dataclass(frozen=True)
class Member:
    """A peer that was admitted to a run, or banned from it, or both."""

    peer_id: str
    admitted_at: float | None = None
    """Unix seconds, as those below; None: never admitted."""
    certified_until: float | None = None
    invitation: bytes = b""
    """The hash of the secret that it came with; empty: none."""
    banned_at: float | None = None
    """None: not banned."""
    ban_reason: str = ""


@dataclass(frozen=True)
class Receipt:
    """What became of one peer's work in one round. One for each (round, peer)."""

    peer_id: str
    round: int
    attempt: bytes
    claimed_tokens: int
    """Its own word, as all members of the round were told; else as only the coordinator was."""
    merged_tokens: int
    """All of them or none: by the manifest that others told; else its own word."""
    included: bool
    """The round merged its tokens: its work is in half of the vector's values or more."""
    reason: str
    """Why not in, or not in all parts."""
    observed: bool
    """Others told of the manifest."""
    witnesses: int
    """Peers that told the same digest of this attempt, itself perhaps among them."""
    at: float
    """Unix seconds: when the coordinator first heard of the round."""


@dataclass(frozen=True)
class Acknowledgement:
    """What a peer is told of its report."""

    sequence: int
    """The newest that was taken from it."""
    taken_row: int
    """Every row of its journal up to this one is on disk."""
    model_wanted: bool = False
    """The run has ended, and its last model is not kept here yet."""
    orders: SignedOrders | None = None
    """What holds in the run, if the peer knows older orders only."""
    wanted_rosters: tuple[bytes, ...] = ()
    """Attempts whose manifest it is asked to tell."""


@dataclass(frozen=True)
class PeerFacts:
    """A peer in a run's progress."""

    state: PeerState
    rounds: int
    """Committed rounds that merged its work,"""
    tokens: int
    """and the tokens that they merged of it: sums of its receipts."""
    seen_seconds_ago: float
    live: bool
    rounds_missed: int = 0
    """Committed rounds with it as a member that merged nothing of it,"""
    last_missed_reason: str = ""
    """and why the last of them did not; empty: never, or not known."""
    observed_tokens: int = 0
    """Of its tokens, those that others told of; the rest is its own word."""


@dataclass(frozen=True)
class RoundFacts:
    """A committed round, or one void attempt at a round."""

    round: int
    committed: bool
    reason: str
    members: int
    run_tokens: int
    seconds: float
    finished_by: int
    """Peers that reported its end."""
    distinct_digests: int


@dataclass(frozen=True)
class RunFacts:
    """The progress of a run at one moment, over all peers."""

    round: int
    tokens: int
    tokens_per_second: float
    peers_live: int
    train_loss: float | None
    first_validation_loss: float | None
    validation_loss: float | None
    rounds_committed: int
    rounds_void: int
    digests_agree: bool
    bytes_sent_per_round: float
    coverage: Coverage | None
    peers: tuple[PeerFacts, ...]
    rounds: tuple[RoundFacts, ...]


class RefusedError(Exception):
    """A request that is not granted. `str(error)` is one line that says why."""


class UnknownRunError(RefusedError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run named {run_id[:64]!r}; `coordinator run list` shows them")


class UnknownPeerError(RefusedError):
    def __init__(self, run_id: str, peer_id: str) -> None:
        super().__init__(f"run {run_id} knows no peer {peer_id[:64]!r}")


class InvalidSpecError(RefusedError):
    """The spec, its hash or its owner's signature does not hold."""


class SpecChangedError(RefusedError):
    """The run exists with another spec or another owner; specs never change."""


class InvalidReportError(RefusedError):
    """A report that no sound peer sends."""


class ForgedReportError(RefusedError):
    """A report that the peer it names did not sign."""


class ForeignRunError(RefusedError):
    """A run that is not known here, of an owner whose runs are not restored here."""


class RunFullError(RefusedError):
    """The run has as many peers or outcomes as this coordinator keeps."""


class StorageError(RefusedError):
    """The disk does not take what has to be kept; the sender should try again later."""


class BusyError(RefusedError):
    """More is asked than this coordinator takes now, of all or of one peer."""

    def __init__(self, wait: float | None = None) -> None:
        """wait: seconds until this peer may ask again; None: all have to wait."""
        all_wait = "the coordinator has more reports than it can take now; try again later"
        told = f"this peer asks too often; try again in {wait or 0:.1f} s"
        super().__init__(all_wait if wait is None else told)
