"""A `peer join` that a plan hits at points of its own protocol. Forked by `nursery.py`.

Daemon, network, rounds, trainer and its model are the real ones. SIGKILL comes from within, so
that it hits the very message that the plan names; who freezes stops its whole session, and
somebody else has to wake it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from peer import checkpoint_keeper, cli, daemon, joining
from peer.averaging import links, parts
from peer.averaging.codecs import UNIT
from peer.connecting import Connector
from peer.swarm.interface import Network
from tests.benchmarks import forked_trainers
from tests.benchmarks.namespaces import Site
from tests.benchmarks.nursery import Orders
from tests.benchmarks.witnessed_peer import WitnessedWork, write
from tests.faults.plan import Freeze, Kill, parse
from tests.faults.points import Watch
from tests.faults.watched_network import WatchedNetwork

__all__ = ["run"]


_CHECKPOINT_SECONDS = 5.0
"""Rounds follow each other ten times as fast as among volunteers."""


def run(orders: Orders) -> None:
    """The process. Keys of its order: `arguments` of the `peer` command, `environment`,
    `site` (name and address; null: loopback) and `faults`, one line each.
    """
    order = orders.hear()
    os.environ.update(order["environment"])
    tempfile.tempdir = None  # TMPDIR may be another now
    if order["site"]:
        Site(*order["site"]).enter()
    forked_trainers.begin()
    vars(daemon)["LocalWork"] = WitnessedWork
    vars(checkpoint_keeper)["CHECKPOINT_SECONDS"] = _CHECKPOINT_SECONDS
    # a small vector too has many owners, and each of them several parts
    links.STAR_SECONDS = 0.0
    vars(parts)["_SMALLEST_PART"] = UNIT
    faults = [fault for line in order["faults"] for fault in parse(line).faults]
    _watch([it for it in faults if isinstance(it, Kill | Freeze)])
    sys.argv = ["peer", *order["arguments"]]
    cli.main()


def _watch(faults: list[Kill | Freeze]) -> None:
    """Have the network of this process seen, and its writes to disk."""

    class WatchedConnector(Connector):
        async def _start(self, port: int, initial_peers: Sequence[str]) -> Network:
            network = await super()._start(port, initial_peers)
            watch = Watch(network.peer_id, faults, _strike)
            _watch_checkpoints(watch.writing_checkpoint)
            write(how="connected")
            return WatchedNetwork(network, watch)

    vars(joining)["Connector"] = WatchedConnector


def _watch_checkpoints(writing: Callable[[], None]) -> None:
    flush = os.fsync

    def fsync(file: int) -> None:
        flush(file)
        if "safetensors" in str(Path(f"/proc/self/fd/{file}").readlink()):
            writing()

    vars(os)["fsync"] = fsync


def _strike(fault: Kill | Freeze) -> None:
    write(how="struck", fault=str(fault))
    if isinstance(fault, Kill):
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.killpg(0, signal.SIGSTOP)
