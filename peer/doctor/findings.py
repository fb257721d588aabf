"""What was found out about this machine, its network and a run; and a check of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from peer.limits.settings import Limits
from peer.swarm.reach import UNHEARD, Reach
from swarmpb.spec import RunSpec

OK, ATTENTION, BAD, UNCHECKED = "ok", "attention", "bad", "not checked"


@dataclass(frozen=True)
class Check:
    """One line of what `peer doctor` says."""

    name: str
    state: str
    """One of the four above; `BAD`: this machine cannot join, or would not help."""
    words: str
    advice: str = ""
    """What to change, naming the setting; empty: nothing."""


@dataclass(frozen=True)
class Machine:
    """What it has. Bytes."""

    processor: str
    cores: int
    memory_free: int
    disk_free: int
    """Where the state folder is, or will be."""
    state_dir: str


@dataclass(frozen=True)
class Swarm:
    """A run as its coordinator tells of it."""

    peers: int
    """Live ones."""
    tokens_per_second: float
    """Of all of them."""
    tokens: int
    """Merged so far."""


@dataclass(frozen=True)
class Trial:
    """Some inner steps with the run's model."""

    tokens_per_second: float
    inner_steps: int
    seconds: float
    parameters: int
    trainer_bytes: int
    """Memory of the trainer at its end."""
    accelerator: str
    micro_batch: int
    """Sequences that it computed at once."""
    batch_size: int
    stand_in: bool = False
    """The run's text is not here, and large: another one was read."""


@dataclass(frozen=True)
class Findings:
    """All that was found; None and empty where it was not looked for."""

    machine: Machine
    limits: Limits
    p2p_port: int = 0
    spec: RunSpec | None = None
    run_trouble: str = ""
    """Why this machine cannot join the run that was named."""
    source: str = ""
    """Where the spec is from."""
    swarm: Swarm | None = None
    clock_ahead: float | None = None
    """Seconds that this machine's clock is ahead of the coordinator's."""
    needs_invitation: bool = False
    """Only members may take part, and nothing here makes this machine one."""
    standing: str = ""
    """Why the run makes no progress now, by its owner's word."""
    reach: Reach = UNHEARD
    reach_trouble: str = ""
    """Why this machine cannot be in the run's network."""
    trial: Trial | None = None
    trial_trouble: str = ""
    """Why there was none; if `too_large`, the model does not fit."""
    too_large: bool = False
    text_here: int = 0
    """Bytes of the run's text on this machine."""
    runs_here: bool = False
    """A peer of this run runs on this machine now."""


@dataclass(frozen=True)
class Verdict:
    """Whether this machine would help, and all checks that led there."""

    helpful: bool
    words: str
    checks: tuple[Check, ...]
    figures: dict[str, float] = field(default_factory=dict)
    """Numbers for scripts, by name."""
