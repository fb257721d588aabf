"""The `peer` command with paced trainers: `python -m tests.benchmarks.paced_peer join …`.

Daemon, network, rounds and trainer process are the real ones; only what a trainer process runs is
`paced_trainer.py`. Set the variable of `paced_trainer.Pace` in its environment.
"""

from __future__ import annotations

from peer.cli import main
from peer.training import spawning
from tests.benchmarks.nursery import die_with_parent

if __name__ == "__main__":
    die_with_parent()  # a volunteer's peer outlives its shell, a benchmark's must not
    spawning.TRAINER_MODULE = "tests.benchmarks.paced_trainer"
    main()
