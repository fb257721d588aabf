"""What happens to a peer (events) and what it then does (effects): the machine's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from peer.membership import Position, SwarmView
from peer.orders import Course


class Phase(str, Enum):
    """Where a peer is in its life."""

    STARTING = "starting"
    JOINING = "joining"
    SYNCING = "syncing"
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    LEAVING = "leaving"
    STOPPED = "stopped"


# ---- events ----------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainerReady:
    """A trainer stands: the first one, or one that replaces a dead one."""


@dataclass(frozen=True)
class TrainerLost:
    cause: str
    reason: str
    smaller: bool = False
    """It ran out of memory, and the next one has a smaller micro-batch."""


@dataclass(frozen=True)
class SwarmJoined:
    """The network is up."""


@dataclass(frozen=True)
class SwarmLost:
    """The network broke; it is being joined again."""

    reason: str


@dataclass(frozen=True)
class ViewSeen:
    view: SwarmView
    wall: float
    own_tokens: int
    """Trained here since the last merged cut."""
    sustained_round: float = 0.0
    """Seconds between two cuts that the peers' links sustain."""
    trainer_trouble: str = ""
    """Why no cut can be had from the trainer now; others shall not count on this peer."""
    giving: bool = False
    """Somebody is downloading this peer's state."""
    ancestors: tuple[bytes, ...] = ()
    """Digests of the states that this peer's own descends from, the newest first."""
    model_wanted: bool = False
    """The run has ended, and its coordinator wants to keep the model."""


@dataclass(frozen=True)
class StateAdopted:
    """The global state moved, by a round or a download."""

    position: Position
    run_tokens: int
    merged: bool = False
    """By a round that this peer's work went into."""


@dataclass(frozen=True)
class StateDropped:
    """The state that was downloaded while the model was built does not fit it."""

    position: Position
    reason: str


@dataclass(frozen=True)
class SyncProgress:
    """How far a state download is, in words."""

    words: str


@dataclass(frozen=True)
class Synchronised:
    """The state asked for is reached, or a later one; `StateAdopted` told of each on the way."""


@dataclass(frozen=True)
class SyncFailed:
    position: Position
    reason: str


@dataclass(frozen=True)
class Forked:
    """The head does not descend from this peer's state: the swarm was split, and went on."""

    position: Position
    common_round: int


@dataclass(frozen=True)
class TakeInFailed:
    position: Position
    reason: str


@dataclass(frozen=True)
class FellBehind:
    """A committed round could not be adopted."""

    reason: str


@dataclass(frozen=True)
class AttemptBegan:
    leader: str


@dataclass(frozen=True)
class AttemptEnded:
    leader: str
    committed: bool
    reason: str


@dataclass(frozen=True)
class LeaveAsked:
    """Ctrl-C, SIGTERM, a command, or a limit that makes this peer rest."""

    reason: str = "asked to leave"
    rest: bool = False
    """Only for now: it comes back by itself."""


@dataclass(frozen=True)
class FinishAsked:
    """Leave once a round has merged this peer's work."""

    words: str
    """What its user is told meanwhile."""
    latest: float
    """Monotonic seconds: leave then, whatever was merged."""
    as_late_as_possible: bool = False
    """After the last round that ends before `latest`, not after the next one."""


@dataclass(frozen=True)
class OrdersGiven:
    """What the run's owner wants of this peer has changed."""

    course: Course


@dataclass(frozen=True)
class WrappedUp:
    """The run's last state is evaluated and, if asked for, written out."""


Event = (
    TrainerReady | TrainerLost | SwarmJoined | SwarmLost | ViewSeen | StateAdopted | StateDropped
    | SyncProgress | Synchronised | SyncFailed | Forked | TakeInFailed | FellBehind | AttemptBegan
    | AttemptEnded | LeaveAsked | FinishAsked | OrdersGiven | WrappedUp
)  # fmt: skip


# ---- effects ---------------------------------------------------------------------------


@dataclass(frozen=True)
class BeginFromSeed:
    """Take the model's first parameters, which follow from the spec, as round 0."""


@dataclass(frozen=True)
class ResumeCheckpoint:
    """Take this machine's own checkpoint as the global state."""


@dataclass(frozen=True)
class Synchronise:
    """Get a global state from other peers: replay one round, or download all of it."""

    position: Position
    holders: tuple[str, ...]
    give_up: bool = False
    """What was merged on this half of a split swarm only: nobody has taken it in."""


@dataclass(frozen=True)
class TakeIn:
    """Get the state of the other half of a split swarm, to be merged in the next round."""

    position: Position
    holders: tuple[str, ...]


@dataclass(frozen=True)
class Lead:
    """Lead an attempt at the next round."""

    others: tuple[str, ...]


@dataclass(frozen=True)
class Train:
    on: bool


@dataclass(frozen=True)
class KeepCheckpoint:
    """Write one now."""


@dataclass(frozen=True)
class RestartTrainer:
    """Start another one in the place of one that is dead."""


@dataclass(frozen=True)
class WrapUp:
    """The target is reached: evaluate the last state, write the model if asked to."""


@dataclass(frozen=True)
class Stop:
    """Leave the swarm and end the process."""

    code: int
    reason: str
    rest: bool = False
    """Only for now: to come back when there is no reason to rest any more."""


Effect = (
    BeginFromSeed
    | ResumeCheckpoint
    | Synchronise
    | TakeIn
    | Lead
    | Train
    | KeepCheckpoint
    | RestartTrainer
    | WrapUp
    | Stop
)
