"""Rounds over slow links: how near to the wire's bound, and how much the trainer still computes.

`python -m tests.benchmarks links [--small] [--out FOLDER]`. Four real peers with paced trainers in
network namespaces of their own, each with the same rate up and down. Rounds follow each other
without a pause, so the trainers' share is that of the worst case. Beside it a loop that blocks in
hivemind's averager after the same time of training. Needs root; see README.md for results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import psutil

from swarmpb.spec import RoundSpec
from tests.benchmarks.blocking_rival import Rival, run_rivals
from tests.benchmarks.links_report import HEADER, OURS, Row, draw, line
from tests.benchmarks.namespaces import Sites, sites
from tests.benchmarks.paced_swarm import (
    PacedPeer,
    PacedSwarm,
    Round,
    benchmark_home,
    paced_swarm,
    run_of,
    share_of,
)
from tests.e2e.processes import Home

PEERS = 4
STEP_SECONDS = 0.1
RIVAL_CODECS = {"fp32": "fp32", "int8": "uniform8"}
"""By ours, theirs of as many bits."""
_PATIENCE = 400.0
_POLL_SECONDS = 0.2
_REPORT_SECONDS = 3.0
"""Peers tell their coordinator of a round within this time."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    values: dict[float, int]
    """Length of the vector by Mbit/s: shorter where a round would take minutes."""
    codecs: tuple[str, ...]
    rounds: int


FULL = Plan(
    {100.0: 10_000_000, 50.0: 10_000_000, 10.0: 2_500_000},
    get_args(RoundSpec.model_fields["codec"].annotation),
    3,
)
SMALL = Plan({100.0: 500_000}, ("int8",), 2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks links")
    parser.add_argument("--small", action="store_true", help="one codec, a short vector")
    parser.add_argument("--out", type=Path, help="folder for links.json and links.png")
    arguments = parser.parse_args()
    plan = SMALL if arguments.small else FULL
    rows: list[Row] = []
    print(HEADER, flush=True)
    for row in measure(plan):
        rows.append(row)
        print(line(row), flush=True)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=2)
        (arguments.out / "links.json").write_text(text + "\n")
        draw(rows, arguments.out / "links.png")


def measure(plan: Plan) -> Iterator[Row]:
    """All rows of a plan, as they are measured."""
    runs = {
        (codec, values): run_of(
            f"{codec}-{values}",
            codec=codec,
            target_tokens=1024,
            min_seconds=0.1,
            max_seconds=3600,
            exchange_seconds=300,
            min_peers=PEERS,
        )
        for values in dict.fromkeys(plan.values.values())
        for codec in plan.codecs
    }
    with sites(PEERS + 1) as net, benchmark_home() as home:
        cycles: dict[tuple[float, str], float] = {}
        with paced_swarm(home, list(runs.values()), net.places) as swarm:
            for (codec, values), spec in runs.items():
                rates = [rate for rate, size in plan.values.items() if size == values]
                with _peers(swarm, net, spec.run_id, values) as peers:
                    for rate in rates:
                        row = _measured(swarm, net, peers, codec, rate, plan.rounds)
                        cycles[rate, codec] = row.cycle_seconds
                        yield row
        for rate, values in plan.values.items():
            for codec, theirs in RIVAL_CODECS.items():
                if (rate, codec) in cycles:
                    steps = max(1, round(cycles[rate, codec] / STEP_SECONDS))
                    yield _rival(home, net, rate, values, theirs, steps, plan.rounds)


# ---- our peers -------------------------------------------------------------------------


@contextmanager
def _peers(swarm: PacedSwarm, net: Sites, run_id: str, values: int) -> Iterator[list[PacedPeer]]:
    """Peers that have committed a first round, over links as fast as the machine."""
    for index in range(PEERS):
        net.unshape(index)
    peers = [swarm.peer(run_id, index, values, STEP_SECONDS) for index in range(PEERS)]
    try:
        for peer in peers:
            peer.start()
        _wait_for_rounds(swarm, peers, 1)
        yield peers
    finally:
        for peer in peers:
            peer.end()


def _measured(
    swarm: PacedSwarm, net: Sites, peers: Sequence[PacedPeer], codec: str, rate: float, rounds: int
) -> Row:
    """Shape the links, and look at the rounds that begin from then on."""
    for index in range(PEERS):
        net.shape(index, rate)
    shaped = time.time()
    psutil.cpu_percent()  # from here on
    run_id = peers[0].run_id
    done = 0
    deadline = time.monotonic() + _PATIENCE
    while done < rounds:
        _check(peers, deadline)
        time.sleep(_POLL_SECONDS)
        found = _rounds_from(swarm.rounds(run_id), shaped)
        done = len(found)
    busy = psutil.cpu_percent() / 100
    found = dict(sorted(found.items())[:rounds])
    values = peers[0].pace.values
    sent = int(statistics.median(it.bytes_sent for told in found.values() for it in told))
    seconds = [max(it.seconds for it in told) for told in found.values()]
    begins = [min(it.finished_at - it.seconds for it in told) for told in found.values()]
    ends = [max(it.finished_at for it in told) for told in found.values()]
    shares = [share_of(peer.accounts(), begins[0], ends[-1], STEP_SECONDS) for peer in peers]
    return Row(
        OURS, codec, rate, values, sent, sent * 8e-6 / rate, statistics.median(seconds),
        (ends[-1] - begins[0]) / len(found), statistics.mean(shares), busy,
    )  # fmt: skip


def _rounds_from(told: Sequence[Round], since: float) -> dict[int, list[Round]]:
    """By number, the rounds that all peers committed and that began after `since`."""
    found: dict[int, list[Round]] = {}
    for it in told:
        if it.committed and it.finished_at - it.seconds > since:
            found.setdefault(it.round, []).append(it)
    return {number: its for number, its in found.items() if len(its) == PEERS}


def _wait_for_rounds(swarm: PacedSwarm, peers: Sequence[PacedPeer], rounds: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while len(_rounds_from(swarm.rounds(peers[0].run_id), 0)) < rounds:
        _check(peers, deadline)
        time.sleep(_POLL_SECONDS)


def _check(peers: Sequence[PacedPeer], deadline: float) -> None:
    if all(peer.alive for peer in peers) and time.monotonic() < deadline:
        return
    told = "\n".join(peer.told() for peer in peers)
    raise SystemExit(f"a peer has ended, or there was no round for {_PATIENCE:.0f} s:\n{told}")


def _rival(
    home: Home, net: Sites, rate: float, values: int, codec: str, steps: int, rounds: int
) -> Row:
    for index in range(PEERS):
        net.unshape(index)

    def shape() -> None:
        for index in range(PEERS):
            net.shape(index, rate)

    peers = [
        Rival(index, net[index].address, (), PEERS, values, codec, rounds, steps, STEP_SECONDS)
        for index in range(PEERS)
    ]
    psutil.cpu_percent()
    found = run_rivals(home, net.places[:PEERS], peers, shape)
    return Row(
        "hivemind, blocking", codec, rate, values, found.sent_bytes, found.sent_bytes * 8e-6 / rate,
        found.blocked_seconds, steps * STEP_SECONDS + found.blocked_seconds, found.share,
        psutil.cpu_percent() / 100,
    )  # fmt: skip
