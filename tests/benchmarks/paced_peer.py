"""The `peer` command with paced trainers: `python -m tests.benchmarks.paced_peer join …`.

Daemon, network, rounds and trainer process are the real ones; only what a trainer process runs is
`paced_trainer.py`. Set the variable of `paced_trainer.Pace` in its environment.
"""

from __future__ import annotations

from peer.cli import main
from peer.training import client

if __name__ == "__main__":
    client.TRAINER_MODULE = "tests.benchmarks.paced_trainer"
    main()
