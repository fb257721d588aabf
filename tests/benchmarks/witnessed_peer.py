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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import peer.joining
import peer.swarm.libp2p  # noqa: F401  slow, so once for all forks
from peer import cli, daemon, machine, membership, outlook, presence, swarm_life
from peer.averaging.attempt import Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.coverage import decoded
from peer.averaging.deadlines import DEADLINES, Deadlines
from peer.averaging.local import Fate
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.training import spawning
from peer.work import LocalWork
from tests.benchmarks.nursery import Orders

__all__ = ["WITNESS", "WitnessedWork", "run", "write"]

WITNESS = "MURMURATION_WITNESS"
"""Environment: the file that takes the lines."""
_HASTE = 2.0
"""All waiting times are shorter by this factor, so they stand to each other as a volunteer's."""


def run(orders: Orders) -> None:
    """The process: `arguments` of the `peer` command, and what is put into its `environment`."""
    order = orders.hear()
    os.environ.update(order["environment"])
    sys.argv = ["peer", *order["arguments"]]
    tempfile.tempdir = None  # TMPDIR may be another now
    spawning.TRAINER_MODULE = "tests.benchmarks.paced_trainer"
    vars(daemon)["LocalWork"] = WitnessedWork
    _hurry()
    cli.main()


def _hurry() -> None:
    usual = asdict(DEADLINES)
    tries = usual.pop("recovery_tries")
    hasty = {name: seconds / _HASTE for name, seconds in usual.items()}
    deadlines = Deadlines(**hasty, recovery_tries=tries)
    vars(swarm_life)["Rounds"] = partial(Rounds, deadlines=deadlines)
    for module, names in (
        (membership, ("RECORD_SECONDS",)),
        (presence, ("RECORD_SECONDS", "PUBLISH_SECONDS", "VIEW_SECONDS")),
        (machine, ("RETRY_SECONDS", "DISTRUST_SECONDS")),
        (outlook, ("LEADER_PATIENCE",)),
    ):
        for name in names:
            vars(module)[name] /= _HASTE


class WitnessedWork(LocalWork):
    """Writes down each state as this peer takes it, and each try that was void."""

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        await super().adopt(state, shift, outcome)
        how = "merged" if outcome.merged else "left out"
        write(how=how, **_of(outcome), **_named(state))

    async def follow(
        self, state: GlobalState, shift: FlatVector, fate: Fate, outcome: Outcome | None
    ) -> None:
        await super().follow(state, shift, fate, outcome)
        how = "merged" if outcome and outcome.merged else "followed"
        write(how=how, **_of(outcome), **_named(state))

    async def begin(self, state: GlobalState) -> None:
        await super().begin(state)
        write(how="began", **_named(state))

    async def conclude(self, outcome: Outcome) -> None:
        write(how="void", attempt=outcome.attempt.hex(), reason=outcome.reason)
        await super().conclude(outcome)


def _of(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {}
    merged = {"tokens": outcome.tokens * outcome.merged, "seconds": outcome.seconds}
    return {"attempt": outcome.attempt.hex(), **merged}


def _named(state: GlobalState) -> dict[str, Any]:
    coverage = decoded(state.coverage)
    return {
        "round": state.round,
        "digest": state.digest.hex(),
        "parents": [it.hex() for it in state.parents],
        "chunks": coverage.merged,
        "claims": coverage.claims,
    }


def write(**fields: Any) -> None:
    """Add a line to this peer's file."""
    line = json.dumps({"at": time.time(), **fields}) + "\n"
    with Path(os.environ[WITNESS]).open("a") as file:
        file.write(line)
