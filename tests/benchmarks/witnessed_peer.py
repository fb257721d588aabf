"""A `peer join` that writes down every state it takes: real daemon, network, rounds, catching up.

Forked by `nursery.py`. Its trainer is a paced one, and its waiting times are shorter than a
volunteer's, so that hundreds of rounds and dozens of deaths pass in minutes: what peers agree on
does not hang on how patient they are.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import peer.joining
import peer.swarm.libp2p  # noqa: F401  slow, so once for all forks
from peer import cli, daemon, machine, membership, presence
from peer.averaging.attempt import Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.deadlines import Deadlines
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.training import client
from peer.work import LocalWork
from tests.benchmarks.nursery import Orders

__all__ = ["WITNESS", "run"]

WITNESS = "MURMURATION_WITNESS"
"""Environment: the file that takes the lines."""
_DEADLINES = Deadlines(cut=3.0, roster=2.0, report=1.0, vote=1.5)


def run(orders: Orders) -> None:
    """The process: `arguments` of the `peer` command, and what is put into its `environment`."""
    order = orders.hear()
    os.environ.update(order["environment"])
    sys.argv = ["peer", *order["arguments"]]
    tempfile.tempdir = None  # TMPDIR may be another now
    client.TRAINER_MODULE = "tests.benchmarks.paced_trainer"
    vars(daemon)["LocalWork"] = WitnessedWork
    vars(daemon)["Rounds"] = partial(Rounds, deadlines=_DEADLINES)
    for module in (membership, presence):
        vars(module)["RECORD_SECONDS"] = 5.0
    presence.PUBLISH_SECONDS = 1.0
    presence.VIEW_SECONDS = 0.15
    vars(machine)["LEADER_PATIENCE"] = 0.75
    machine.RETRY_SECONDS = 0.3
    cli.main()


class WitnessedWork(LocalWork):
    """Writes down each state as this peer takes it, and each try that was void."""

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        await super().adopt(state, shift, outcome)
        how = "merged" if outcome.merged else "left out"
        _write(how=how, attempt=outcome.attempt.hex(), **_named(state))

    async def follow(self, state: GlobalState) -> None:
        fresh = not self.has_state
        await super().follow(state)
        if not fresh:
            _write(how="followed", **_named(state))

    async def begin(self, state: GlobalState) -> None:
        await super().begin(state)
        _write(how="began", **_named(state))

    async def conclude(self, outcome: Outcome) -> None:
        _write(how="void", attempt=outcome.attempt.hex(), reason=outcome.reason)
        await super().conclude(outcome)


def _named(state: GlobalState) -> dict[str, Any]:
    return {"round": state.round, "digest": state.digest.hex()}


def _write(**fields: Any) -> None:
    line = json.dumps({"at": time.time(), **fields}) + "\n"
    with Path(os.environ[WITNESS]).open("a") as file:
        file.write(line)
