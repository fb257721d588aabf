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
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, get_args

from swarmpb.spec import RoundSpec
from tests.benchmarks.blocking_rival import Rival
from tests.benchmarks.namespaces import Sites, sites
from tests.benchmarks.paced_swarm import (
    REPOSITORY,
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
RIVAL_CODECS = ("fp32", "int8")
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


@dataclass(frozen=True)
class Row:
    """One codec, or one rival, on one kind of link; medians over rounds."""

    who: str
    codec: str
    megabits: float
    values: int
    sent_bytes: int
    """By one peer in a round, messages only."""
    bound_seconds: float
    """`sent_bytes` at the link's rate."""
    round_seconds: float
    """Ours: from cut to adoption at the slowest peer. The rival's: how long it blocks."""
    cycle_seconds: float
    """From one round to the next."""
    share: float
    """Inner steps done of those that the time would have allowed; the mean peer's."""

    @property
    def over_bound(self) -> float:
        return self.round_seconds / self.bound_seconds


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
            for codec in RIVAL_CODECS:
                if (rate, codec) in cycles:
                    steps = max(1, round(cycles[rate, codec] / STEP_SECONDS))
                    yield _rival(home, net, rate, values, codec, steps, plan.rounds)


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
    run_id = peers[0].run_id
    done = 0
    deadline = time.monotonic() + _PATIENCE
    while done < rounds:
        _check(peers, deadline)
        time.sleep(_POLL_SECONDS)
        found = _rounds_from(swarm.rounds(run_id), shaped)
        done = len(found)
    found = dict(sorted(found.items())[:rounds])
    values = peers[0].pace.values
    sent = int(statistics.median(it.bytes_sent for told in found.values() for it in told))
    seconds = [max(it.seconds for it in told) for told in found.values()]
    begins = [min(it.finished_at - it.seconds for it in told) for told in found.values()]
    ends = [max(it.finished_at for it in told) for told in found.values()]
    shares = [share_of(peer.accounts(), begins[0], ends[-1], STEP_SECONDS) for peer in peers]
    return Row(
        "murmuration", codec, rate, values, sent, sent * 8e-6 / rate, statistics.median(seconds),
        (ends[-1] - begins[0]) / len(found), statistics.mean(shares),
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
    told = "\n".join(peer.told() for peer in peers)
    if not all(peer.alive for peer in peers):
        raise SystemExit(f"a peer has ended:\n{told}")
    if time.monotonic() > deadline:
        raise SystemExit(f"no round for {_PATIENCE:.0f} s:\n{told}")


# ---- the rival -------------------------------------------------------------------------


def _rival(
    home: Home, net: Sites, rate: float, values: int, codec: str, steps: int, rounds: int
) -> Row:
    """Four peers that block in hivemind's averager after so many inner steps."""
    for index in range(PEERS):
        net.unshape(index)
    started: list[subprocess.Popen[str]] = []
    try:
        addresses: list[str] = []
        for index in range(PEERS):
            rival = Rival(index, net[index].address, tuple(addresses[:1]), PEERS, values, codec,
                          rounds, steps, STEP_SECONDS)  # fmt: skip
            started.append(
                subprocess.Popen(
                    net[index].command([sys.executable, *rival.arguments()]),
                    cwd=REPOSITORY,
                    env=home.environment() | {"PYTHONWARNINGS": "ignore"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            if not addresses:
                addresses.append(_line(started[0].stdout).strip())
        for process in started[1:]:
            _line(process.stdout)
        before = [net[index].bytes_sent() for index in range(PEERS)]
        for index in range(PEERS):
            net.shape(index, rate)
        _tell(started)
        told = [json.loads(_line(it.stdout)) for it in started]
        sent = [net[index].bytes_sent() - before[index] for index in range(PEERS)]
        _tell(started)
    finally:
        home.end_strays()
        for process in started:
            process.communicate()
    blocked = statistics.median(
        max(it) for it in zip(*(one["blocked"] for one in told), strict=True)
    )
    a_round = int(statistics.mean(sent) / (rounds + 1))
    return Row(
        "hivemind, blocking", codec, rate, values, a_round, a_round * 8e-6 / rate, blocked,
        steps * STEP_SECONDS + blocked, statistics.mean(one["share"] for one in told),
    )  # fmt: skip


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    if not line:
        raise SystemExit("a peer of hivemind's ended before it had averaged")
    return line


def _tell(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


# ---- what is shown ---------------------------------------------------------------------

HEADER = (
    "| who | codec | Mbit/s | values | sent, MB | bound, s | round, s | round / bound "
    "| cycle, s | trainer computes |\n|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    return (
        f"| {row.who} | {row.codec} | {row.megabits:g} | {row.values / 1e6:g}M "
        f"| {row.sent_bytes / 1e6:.2f} | {row.bound_seconds:.2f} | {row.round_seconds:.2f} "
        f"| {row.over_bound:.2f} | {row.cycle_seconds:.2f} | {row.share:.1%} |"
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Round over bound, and the trainer's share, by codec and rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    rates = sorted({row.megabits for row in rows})
    kinds = list(dict.fromkeys((row.who, row.codec) for row in rows))
    for who, codec in kinds:
        mine = {row.megabits: row for row in rows if (row.who, row.codec) == (who, codec)}
        at = [rate for rate in rates if rate in mine]
        style: dict[str, Any] = {"marker": "o", "linestyle": "-" if who == "murmuration" else "--"}
        label = f"{who}, {codec}"
        if who == "murmuration":
            left.plot(at, [mine[rate].over_bound for rate in at], label=label, **style)
        right.plot(at, [100 * mine[rate].share for rate in at], label=label, **style)
    left.axhline(1.15, color="grey", linewidth=0.8)
    left.set(xscale="log", xlabel="Mbit/s, each way", ylabel="round / wire's bound")
    right.set(xscale="log", xlabel="Mbit/s, each way", ylabel="trainer computes, % of the time")
    for axes in (left, right):
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
