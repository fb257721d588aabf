"""How a trainer is started: the daemon writes these as arguments, the trainer reads them back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_THREADS = 1024
MAX_MICRO_BATCH = 65_536


@dataclass(frozen=True)
class TrainerOptions:
    """What one trainer process may use."""

    cache_folder: Path
    """Downloaded text is kept here."""
    threads: int = 1
    """Processor threads of the arithmetic, 1..1024."""
    device: str = "auto"
    """One of `DEVICES`; `auto` takes the fastest there is."""
    micro_batch: int = 0
    """Sequences that are computed at once; 0: the whole batch. Less memory, same result."""

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads must lie between 1 and {MAX_THREADS}: {self.threads}")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}: {self.device}")
        if not 0 <= self.micro_batch <= MAX_MICRO_BATCH:
            raise ValueError(f"micro_batch must lie between 0 and {MAX_MICRO_BATCH}")


@dataclass(frozen=True)
class TrainerStart:
    """All arguments of a trainer process."""

    memory: int
    """File descriptor of the shared memory."""
    socket: int
    """File descriptor of the trainer's end of the socket pair."""
    options: TrainerOptions

    def to_argv(self) -> list[str]:
        options = self.options
        return [
            f"--memory-fd={self.memory}",
            f"--socket-fd={self.socket}",
            f"--cache-folder={options.cache_folder}",
            f"--threads={options.threads}",
            f"--device={options.device}",
            f"--micro-batch={options.micro_batch}",
        ]

    @classmethod
    def from_argv(cls, argv: list[str]) -> TrainerStart:
        parser = argparse.ArgumentParser(prog="peer.training.process", allow_abbrev=False)
        for name in ("--memory-fd", "--socket-fd", "--threads", "--micro-batch"):
            parser.add_argument(name, type=int, required=True)
        for name in ("--cache-folder", "--device"):
            parser.add_argument(name, required=True)
        given = parser.parse_args(argv)
        options = TrainerOptions(
            cache_folder=Path(given.cache_folder),
            threads=given.threads,
            device=given.device,
            micro_batch=given.micro_batch,
        )
        return cls(given.memory_fd, given.socket_fd, options)
