"""How a trainer is started: the daemon writes these as arguments, the trainer reads them back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from peer.training.messages import Allow

DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_THREADS = 1024
MAX_MICRO_BATCH = 65_536


@dataclass(frozen=True)
class TrainerOptions:
    """What one trainer process may use."""

    cache_folder: Path
    """Downloaded text is kept here."""
    device: str = "auto"
    """One of `DEVICES`; `auto` takes the fastest there is."""
    allow: Allow = field(default_factory=Allow)
    """What holds at its start; 1..1024 threads. It travels on the link, not as an argument."""

    def __post_init__(self) -> None:
        if not 1 <= self.allow.threads <= MAX_THREADS:
            raise ValueError(f"threads must lie between 1 and {MAX_THREADS}: {self.allow.threads}")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}: {self.device}")
        if not 0 <= self.allow.micro_batch <= MAX_MICRO_BATCH:
            raise ValueError(f"micro_batch must lie between 0 and {MAX_MICRO_BATCH}")


@dataclass(frozen=True)
class TrainerStart:
    """All arguments of a trainer process."""

    memory: int
    """File descriptor of the shared memory."""
    socket: int
    """File descriptor of the trainer's end of the socket pair."""
    cache_folder: Path
    device: str

    def to_argv(self) -> list[str]:
        return [
            f"--memory-fd={self.memory}",
            f"--socket-fd={self.socket}",
            f"--cache-folder={self.cache_folder}",
            f"--device={self.device}",
        ]

    @classmethod
    def from_argv(cls, argv: list[str]) -> TrainerStart:
        parser = argparse.ArgumentParser(prog="peer.training.process", allow_abbrev=False)
        for name in ("--memory-fd", "--socket-fd"):
            parser.add_argument(name, type=int, required=True)
        for name in ("--cache-folder", "--device"):
            parser.add_argument(name, required=True)
        given = parser.parse_args(argv)
        return cls(given.memory_fd, given.socket_fd, Path(given.cache_folder), given.device)
