"""What a daemon is told by its user, by the command line and by the run's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peer.energy.meter import EnergyMeter
from peer.limits.in_force import LimitsInForce
from peer.limits.resources import Resources
from peer.limits.traffic import Traffic
from peer.training.options import TrainerOptions


@dataclass(frozen=True)
class Settings:
    """What this machine's user and command line set."""

    folder: Path
    """State folder of this run on this machine."""
    name: str
    trainer: TrainerOptions
    limits: LimitsInForce
    traffic: Traffic
    resources: Resources
    """Held to these limits."""
    energy: EnergyMeter
    invitation: str
    """The command that another volunteer would type."""
    export: Path | None = None
    """Where to write the model when the run reaches its target."""
