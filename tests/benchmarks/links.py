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
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.benchmarks.blocking_rival import Rival, run_rivals
from tests.benchmarks.links_report import HEADER, OURS, Row, draw, line
from tests.benchmarks.namespaces import Sites, sites
from tests.benchmarks.paced_swarm import (
    CODECS,
    PacedPeer,
    PacedSwarm,
    Round,
    benchmark_home,
    paced_swarm,
    run_of,
    running,
    share_of,
    whole_rounds,
)
from tests.e2e.processes import Home

PEERS = 4
STEP_SECONDS = 0.1
_PATIENCE = 400.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    values: dict[float, int]
    """Length of the vector by Mbit/s: shorter where a round would take minutes."""
    codecs: tuple[str, ...]
    rounds: int
    rivals: dict[str, str]
    """By our codec, the rival's of as many bits."""


FULL = Plan(
    {100.0: 10_000_000, 50.0: 10_000_000, 10.0: 2_500_000},
    CODECS,
    3,
    {"fp32": "fp32", "int8": "uniform8"},
)
SMALL = Plan({100.0: 500_000}, ("int8",), 10, {})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks links")
    parser.add_argument("--small", action="store_true", help="one codec, a short vector, no rival")
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
        (rate, codec): run_of(
            f"{codec}-{rate:g}",
            codec=codec,
            target_tokens=1024,
            min_seconds=0.1,
            max_seconds=0.2,  # whatever the links would sustain
            exchange_seconds=300,
            min_peers=PEERS,
        )
        for rate in plan.values
        for codec in plan.codecs
    }
    with sites(PEERS + 1) as net, benchmark_home() as home:
        cycles: dict[tuple[float, str], float] = {}
        with paced_swarm(home, list(runs.values()), net.places) as swarm:
            for (rate, codec), spec in runs.items():
                # before the peers start: they measure their links, and remember
                _shape(net, rate)
                with running(_peers(swarm, spec.run_id, plan.values[rate])) as peers:
                    row = _measured(swarm, peers, codec, rate, plan.rounds)
                cycles[rate, codec] = row.cycle_seconds
                yield row
        for rate, codec in cycles:
            if codec in plan.rivals:
                steps = max(1, round(cycles[rate, codec] / STEP_SECONDS))
                values, theirs = plan.values[rate], plan.rivals[codec]
                yield _rival(home, net, rate, values, theirs, steps, plan.rounds)


def _shape(net: Sites, rate: float) -> None:
    for index in range(PEERS):
        net.shape(index, rate)


# ---- our peers -------------------------------------------------------------------------


def _peers(swarm: PacedSwarm, run_id: str, values: int) -> list[PacedPeer]:
    peers = [swarm.peer(run_id, index, values, STEP_SECONDS) for index in range(PEERS)]
    swarm.give_state(peers)
    return peers


def _measured(
    swarm: PacedSwarm, peers: Sequence[PacedPeer], codec: str, rate: float, rounds: int
) -> Row:
    """Look at the rounds after the first, which finds connections and memory cold."""
    _wait_for_rounds(swarm, peers, 1)
    before = sum(peer.processor_seconds() for peer in peers)
    psutil.cpu_percent()  # from here on
    found = _wait_for_rounds(swarm, peers, 1 + rounds)
    busy = psutil.cpu_percent() / 100
    used = sum(peer.processor_seconds() for peer in peers) - before
    a_round = used / PEERS / (len(found) - 1)
    found = dict(sorted(found.items())[1 : 1 + rounds])
    values = peers[0].pace.values
    sent = int(statistics.mean(it.bytes_sent for told in found.values() for it in told))
    seconds = [max(it.seconds for it in told) for told in found.values()]
    begins = [min(it.finished_at - it.seconds for it in told) for told in found.values()]
    ends = [max(it.finished_at for it in told) for told in found.values()]
    shares = [share_of(peer.accounts(), begins[0], ends[-1], STEP_SECONDS) for peer in peers]
    return Row(
        OURS, codec, rate, values, sent, sent * 8e-6 / rate, statistics.median(seconds),
        (ends[-1] - begins[0]) / len(found), statistics.mean(shares), busy, a_round,
    )  # fmt: skip


def _wait_for_rounds(
    swarm: PacedSwarm, peers: Sequence[PacedPeer], rounds: int
) -> dict[int, list[Round]]:
    """By number, what all peers told of the rounds that all committed, once there are so many."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        _check(peers, deadline)
        time.sleep(_POLL_SECONDS)
        whole = whole_rounds(swarm.rounds(peers[0].run_id), PEERS)
        if len(whole) >= rounds:
            return whole


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

    peers = [
        Rival(index, net[index].address, (), PEERS, values, codec, rounds, steps, STEP_SECONDS)
        for index in range(PEERS)
    ]
    psutil.cpu_percent()
    found = run_rivals(home, net.places[:PEERS], peers, lambda: _shape(net, rate))
    return Row(
        "hivemind, blocking", codec, rate, values, found.sent_bytes, found.sent_bytes * 8e-6 / rate,
        found.blocked_seconds, steps * STEP_SECONDS + found.blocked_seconds, found.share,
        psutil.cpu_percent() / 100, 0.0,
    )  # fmt: skip
