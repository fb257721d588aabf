"""The `peer` command with a paced trainer, little patience and a clock that a test can set.

As `tests.benchmarks.paced_peer`, but what a volunteer's peer waits minutes for, this one waits
seconds for. Where the environment names a file in `CLOCK`, the machine's clock is ahead by the
seconds in that file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

CLOCK = "MURMURATION_TEST_CLOCK"


def _let_the_clock_be_set(path: Path) -> None:
    real = time.time

    def set_time() -> float:
        text = path.read_text(encoding="ascii") if path.exists() else ""
        return real() + float(text or 0)

    time.time = set_time


# ruff: noqa: E402
if CLOCK in os.environ:  # before anything is imported that keeps `time.time`
    _let_the_clock_be_set(Path(os.environ[CLOCK]))

from peer import acquaintances, checkpoint_keeper, cli, membership, presence, standstill
from peer.swarm import greeting, p2pd
from peer.training import spawning
from tests.benchmarks.nursery import die_with_parent

RECORD_SECONDS = 5.0
CUT_OFF_SECONDS = 6.0
_SECONDS = (
    (membership, "RECORD_SECONDS", RECORD_SECONDS),
    (presence, "RECORD_SECONDS", RECORD_SECONDS),
    (presence, "PUBLISH_SECONDS", 1.0),
    (presence, "CUT_OFF_SECONDS", CUT_OFF_SECONDS),
    (acquaintances, "CUT_OFF_SECONDS", CUT_OFF_SECONDS),
    (standstill, "STANDSTILL_SECONDS", 2.0),
    (p2pd, "HEARTBEAT_SECONDS", 1.0),
    (greeting, "CLOCK_SECONDS", 1.0),
    (checkpoint_keeper, "CHECKPOINT_SECONDS", 0.5),
)


def main() -> None:
    die_with_parent()  # a volunteer's peer outlives its shell, a test's must not
    spawning.TRAINER_MODULE = "tests.benchmarks.paced_trainer"
    for module, name, seconds in _SECONDS:
        assert name in vars(module), f"{module.__name__} has no {name} any more"
        vars(module)[name] = seconds
    cli.main()


if __name__ == "__main__":
    main()
