"""A trainer whose inner step takes a fixed time: `python -m tests.benchmarks.paced_trainer`.

It stands in for `peer.training.process` (see `paced_peer.py`): the same commands in the same loop
over the same shared memory. Its inner step is a little pseudo-random work on a flat vector and
then sleep, so that what is measured is the swarm and not the number of processor cores. Where the
time goes is written to a file, a JSON object in a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from peer.training import messages
from peer.training.lease_queue import LeaseQueue
from peer.training.link import DaemonLink
from peer.training.local_state import PARAMETERS, Counters, LocalState, read
from peer.training.memory import FlatVector, SharedVectors
from peer.training.options import TrainerStart
from peer.training.process import serve
from swarmpb.spec import parse_canonical
from tests.benchmarks.nursery import die_with_parent

if TYPE_CHECKING:
    from peer.training.session import Session  # it imports torch

_LOG_SECONDS = 0.25
_WINDOW = 50_000
"""Values that one inner step changes."""
_STEP_SIZE = 1e-3
_LOSS = 2.0


@dataclass(frozen=True)
class Pace:
    """What a paced trainer is; it travels in the environment of its daemon."""

    values: int
    """Length of the flat vector."""
    step_seconds: float
    log: str
    """File that takes the lines."""

    VARIABLE = "MURMURATION_PACE"

    def environment(self) -> dict[str, str]:
        return {self.VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Pace:
        return cls(**json.loads(os.environ[cls.VARIABLE]))


@dataclass
class Account:
    """Seconds since training began, by what the trainer did with them."""

    at: float = 0.0
    """Unix seconds of this account."""
    inner_steps: int = 0
    training: float = 0.0
    """In inner steps."""
    answering: float = 0.0
    """Copying the cut out, adding the shift, loading."""
    slow_steps: int = 0
    """Inner steps that took longer than their time: the machine was too busy."""


class PacedSession:
    """What `peer.training.session.Session` is to the real loop."""

    def __init__(self, pace: Pace, tokens_per_step: int, memory: SharedVectors) -> None:
        self.on = False
        self._pace = pace
        self._tokens_per_step = tokens_per_step
        self._memory = memory
        self._vector: FlatVector = memory.outbox.copy()
        self._random = np.random.default_rng(os.getpid())
        self._noise = self._random.standard_normal(2 * _WINDOW, dtype=np.float32) * np.float32(
            _STEP_SIZE
        )
        self._account = Account()
        self._log = Path(pace.log).open("a", buffering=1)  # noqa: SIM115  as long as the process
        self._logged_at = 0.0
        self._overslept = 0.0
        self._evaluating = False
        self._base = ""
        self._leases = LeaseQueue()

    @property
    def idle(self) -> bool:
        return not self.trains and not self._evaluating

    @property
    def trains(self) -> bool:
        return self.on and self._leases.chunk(self._account.inner_steps) is not None

    def wait_seconds(self) -> float | None:
        return None if self.idle else 0.0

    def allow(self, allow: messages.Allow) -> None:
        """It has no limits."""

    def used_elsewhere(self, seconds: float) -> None:
        """As above."""

    def advance(self) -> messages.Progress:
        began = time.monotonic()
        place = int(self._random.integers(max(1, self._vector.size - _WINDOW)))
        noise = self._noise[int(self._random.integers(_WINDOW)) :][:_WINDOW]
        window = self._vector[place : place + _WINDOW]
        window += noise[: window.size]
        # what sleep overshoots does not add up; what the daemon costs is not made up for
        due = began + self._pace.step_seconds - self._overslept
        if (left := due - time.monotonic()) > 0:
            time.sleep(left)
        else:
            self._account.slow_steps += 1
        self._overslept = min(time.monotonic() - due, self._pace.step_seconds / 2)
        self._account.inner_steps += 1
        self._account.training += time.monotonic() - began
        self._write_account()
        return messages.Progress(*self._totals())

    def load(self, run_tokens: int, base: str) -> None:
        with self._answering():
            self._base = base
            self._vector[:] = self._memory.inbox

    def schedule(self, stop_tokens: int, cooldown_tokens: int) -> None:
        """Its steps have one size only."""

    def lease(self, chunks: list[int]) -> messages.Leased:
        with self._answering():
            self._leases.given(chunks)
            self._leases.took_effect(self._account.inner_steps)
        return messages.Leased(self._account.inner_steps)

    def cut(self, cut_id: int) -> messages.CutDone:
        with self._answering():
            self._memory.outbox[:] = self._vector
        return messages.CutDone(cut_id, *self._totals())

    def shift(self, run_tokens: int, base: str) -> None:
        with self._answering():
            self._base = base
            self._vector += self._memory.inbox

    def snapshot(self, folder: Path, tell: Callable[[messages.Message], None]) -> None:
        began = time.monotonic()
        with self._answering():
            counters = Counters(
                base=self._base, own_tokens=0, swarm_over_own=1.0, last_round=0, rising=0
            )
            state = LocalState({PARAMETERS: self._vector.copy()}, counters)
        tell(messages.SnapshotTaken(self._base, *self._totals(), time.monotonic() - began))
        state.write_lazily(folder, tell)

    def resume(self, path: Path, base: str, run_tokens: int) -> messages.Resumed:
        try:
            state = read(path, {PARAMETERS: self._vector.shape})
        except (OSError, ValueError) as error:
            return messages.Resumed(str(error))
        with self._answering():
            self._base, self._vector = base, state.arrays[PARAMETERS]
        return messages.Resumed("")

    def take_inbox(self) -> FlatVector:
        return self._memory.inbox.copy()

    def start_evaluation(self) -> None:
        with self._answering():
            self._evaluating = True

    def advance_evaluation(self) -> float | None:
        evaluating, self._evaluating = self._evaluating, False
        return _LOSS if evaluating else None

    def export(self, vector: FlatVector, folder: Path) -> str:
        return "a paced trainer has no model"

    @contextmanager
    def _answering(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._account.answering += time.monotonic() - began

    def _totals(self) -> tuple[int, int, float]:
        steps = self._account.inner_steps
        return steps, steps * self._tokens_per_step, steps * _LOSS

    def _write_account(self) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            self._account.at = time.time()
            self._log.write(json.dumps(asdict(self._account)) + "\n")


def main() -> None:
    """As the real trainer: ends with its daemon, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    start = TrainerStart.from_argv(sys.argv[1:])
    link = DaemonLink(start.socket)
    spec = parse_canonical(link.spec_bytes)
    pace = Pace.from_environment()
    memory = SharedVectors(start.memory, pace.values)
    # the same first parameters everywhere, as the real trainer makes them from the spec's seed
    memory.outbox[:] = np.random.default_rng(spec.seed).standard_normal(pace.values, np.float32)
    session = PacedSession(pace, spec.inner.batch_size * spec.data.sequence_length, memory)
    link.send(messages.Ready(pace.values, "paced"))
    serve(link, cast("Session", session))


if __name__ == "__main__":
    main()
