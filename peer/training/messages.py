"""What daemon and trainer say to each other: JSON lines over a socket pair.

Lines carry numbers and names only; tensors cross in the shared memory of `memory.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

MAX_LINE_BYTES = 128 * 1024
"""A spec fits in, and so does the longest lease."""

# ---- daemon to trainer -----------------------------------------------------------------


@dataclass(frozen=True)
class Allow:
    """What of the machine may be used from now on. Also a trainer's second line, after the spec.

    Answered with `MicroBatch` if that changes.
    """

    KIND: ClassVar[str] = "allow"
    threads: int = 1
    """Of the arithmetic."""
    processors: float = 0.0
    """So many at once, over some seconds, with all that `UsedElsewhere` tells; 0: no limit."""
    accelerator: float = 1.0
    """Share of the accelerator's time."""
    accelerator_memory: int = 0
    """Bytes; 0: no limit."""
    memory: int = 0
    """Bytes for this process and the daemon's vectors; 0: no limit."""
    held: int = 0
    """Bytes that the daemon's vectors take already."""
    micro_batch: int = 0
    """Sequences computed at once at the most; 0: the whole batch. Less memory, same result."""
    text_room: int = -1
    """Bytes of disk that text may take; -1: not known."""
    download: int = 0
    """Bytes per second for text; 0: no limit."""
    niceness: int = 10
    idle_io: bool = True
    """Use the disk only when nobody else does."""


@dataclass(frozen=True)
class UsedElsewhere:
    """Processor seconds that the daemon and its other children have used since last told."""

    KIND: ClassVar[str] = "used_elsewhere"
    seconds: float


@dataclass(frozen=True)
class Load:
    """Take the shared inbox as parameters, forget the inner optimizer's state, answer `Loaded`."""

    KIND: ClassVar[str] = "load"
    run_tokens: int
    base: str
    """Digest of the global state that they are, hex."""


@dataclass(frozen=True)
class Train:
    """Do inner steps from now on (True), or hold still (False)."""

    KIND: ClassVar[str] = "train"
    on: bool


@dataclass(frozen=True)
class Schedule:
    """Where the run ends, and over how many tokens before that the rate falls; 0: as its spec says.

    Holds from the next inner step on.
    """

    KIND: ClassVar[str] = "schedule"
    stop_tokens: int
    cooldown_tokens: int


@dataclass(frozen=True)
class Lease:
    """Train on these chunks of the text, in this order, answer `Leased`.

    They take the place of all that this trainer has not begun; what it has is left out. Without
    chunks it waits. See `lease_queue.py`.
    """

    KIND: ClassVar[str] = "lease"
    chunks: list[int]


@dataclass(frozen=True)
class Cut:
    """Copy the parameters to the shared outbox between two inner steps, answer `CutDone`."""

    KIND: ClassVar[str] = "cut"
    cut_id: int


@dataclass(frozen=True)
class Shift:
    """Add the shared inbox to the parameters between two inner steps, answer `Shifted`."""

    KIND: ClassVar[str] = "shift"
    run_tokens: int
    base: str
    """Digest of the global state that they sit on then, hex."""


@dataclass(frozen=True)
class Snapshot:
    """Copy parameters and inner optimizer as they are after the last whole inner step.

    Answer `SnapshotTaken`, and `SnapshotWritten` when the copy lies in the folder.
    """

    KIND: ClassVar[str] = "snapshot"
    folder: str


@dataclass(frozen=True)
class Resume:
    """Go on from the file of a snapshot whose parameters sit on `base`, answer `Resumed`."""

    KIND: ClassVar[str] = "resume"
    path: str
    base: str
    run_tokens: int
    """Merged in the run at `base`."""


@dataclass(frozen=True)
class Evaluate:
    """Mean loss on held-out text with the shared inbox as parameters, answer `Taken`, `Evaluated`.

    It is worked off in slices between inner steps, so no cut or shift waits for the whole of it.
    """

    KIND: ClassVar[str] = "evaluate"


@dataclass(frozen=True)
class Export:
    """Write the shared inbox as a model for `from_pretrained` to a folder.

    Answer `Taken`, then `Exported`.
    """

    KIND: ClassVar[str] = "export"
    folder: str


# ---- trainer to daemon -----------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """The model stands, its first parameters (from the spec's seed) lie in the shared outbox."""

    KIND: ClassVar[str] = "ready"
    parameters: int
    accelerator: str
    """Its name; empty: the processor computes."""
    pass_chunks: int = 0
    """Chunks in one pass through the training text; 0: not known."""


@dataclass(frozen=True)
class MicroBatch:
    """Sequences that are computed at once from the next inner step on, if that is fast enough."""

    KIND: ClassVar[str] = "micro_batch"
    sequences: int


@dataclass(frozen=True)
class Loaded:
    KIND: ClassVar[str] = "loaded"


@dataclass(frozen=True)
class Leased:
    """So many inner steps had begun since the trainer started when the lease took effect."""

    KIND: ClassVar[str] = "leased"
    inner_steps: int


@dataclass(frozen=True)
class Progress:
    """Totals since the trainer started, after every inner step."""

    KIND: ClassVar[str] = "progress"
    inner_steps: int
    tokens: int
    loss_sum: float
    """Sum over inner steps of the step's mean loss, nats per token."""


@dataclass(frozen=True)
class CutDone:
    """The totals belong exactly to the parameters in the outbox."""

    KIND: ClassVar[str] = "cut_done"
    cut_id: int
    inner_steps: int
    tokens: int
    loss_sum: float


@dataclass(frozen=True)
class Shifted:
    KIND: ClassVar[str] = "shifted"


@dataclass(frozen=True)
class SnapshotTaken:
    """The totals belong exactly to what was copied. A begun inner step is not in it."""

    KIND: ClassVar[str] = "snapshot_taken"
    base: str
    inner_steps: int
    tokens: int
    loss_sum: float
    pause_seconds: float
    """For which training stood still."""


@dataclass(frozen=True)
class SnapshotWritten:
    KIND: ClassVar[str] = "snapshot_written"
    digest: str
    """BLAKE3 of the file, hex."""
    bytes: int
    error: str
    """Empty: the file is whole and safe from a power cut."""


@dataclass(frozen=True)
class Resumed:
    KIND: ClassVar[str] = "resumed"
    error: str
    """Empty: it goes on from there. Else it is as it was."""


@dataclass(frozen=True)
class Taken:
    """The inbox was copied for `Evaluate` or `Export`: the daemon may write it again."""

    KIND: ClassVar[str] = "taken"


@dataclass(frozen=True)
class Evaluated:
    KIND: ClassVar[str] = "evaluated"
    loss: float


@dataclass(frozen=True)
class Exported:
    KIND: ClassVar[str] = "exported"
    error: str
    """Empty: the model was written."""


@dataclass(frozen=True)
class Notice:
    """Something a person should read, one line; the trainer goes on."""

    KIND: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True)
class Failed:
    """The trainer cannot go on and exits.

    `cause`: memory, too_large, disk, spec, data, diverged (a loss or gradient is not finite) or
    bug.
    """

    KIND: ClassVar[str] = "failed"
    cause: str
    reason: str


Message = (
    Allow | UsedElsewhere | Load | Train | Schedule | Lease | Cut | Shift | Snapshot | Resume
    | Evaluate | Export | Ready | MicroBatch | Loaded | Leased | Progress | CutDone | Shifted
    | SnapshotTaken | SnapshotWritten | Resumed | Taken | Evaluated | Exported | Notice | Failed
)  # fmt: skip

_KINDS: dict[str, type[Any]] = {kind.KIND: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """One line, with its newline. NaN and infinities travel as JSON extensions."""
    return json.dumps({"kind": message.KIND, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line; `ValueError` if it is none."""
    fields = json.loads(line)
    try:
        message: Message = _KINDS[fields.pop("kind")](**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a trainer message: {line[:200]!r}") from error
    return message
