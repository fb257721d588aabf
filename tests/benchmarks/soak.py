"""Do memory and file descriptors stay flat over hundreds of rounds?

`python -m tests.benchmarks soak [--rounds 500] [--small] [--out FOLDER]`. Three real daemons with
paced trainers make short rounds of a small vector. Every ten rounds the processes of all of them
are looked at: resident and unique memory, file descriptors, threads. After the warm-up, a fifth of
the rounds, no kind of process may have more descriptors, and its memory may grow by no more than
`GROWTH_BYTES` in a hundred rounds.
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

from tests.benchmarks.paced_swarm import (
    TOKENS_PER_STEP,
    PacedPeer,
    benchmark_home,
    paced_swarm,
    run_of,
    running,
)
from tests.benchmarks.plots import PALETTE, figure, save

PEERS = 3
VALUES = 20_000
STEP_SECONDS = 0.05
STEPS_A_ROUND = 4
"""Of each peer."""
SAMPLE_ROUNDS = 10
WARM_UP = 0.2
"""Of the rounds; caches fill, and allocators find their size."""
SMALL_ROUNDS = 30
GROWTH_BYTES = 1 << 20
"""Of unique memory, in a hundred rounds: 500 rounds are an hour of the demo's run at most."""
SPARE_DESCRIPTORS = 3
"""A stream may be open at the moment of a look."""
KINDS = ("daemon", "trainer", "p2pd")
_START_SECONDS = 180.0
_ROUND_SECONDS = 10.0
"""No round takes longer, on however busy a machine."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Look:
    """The processes of one kind at one moment: the mean over the peers, of descriptors the most."""

    round: int
    kind: str
    resident: float
    unique: float
    """Bytes that only this process has; what it would give back."""
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """What became of one kind of process after the warm-up."""

    kind: str
    unique_per_hundred: float
    """Bytes a hundred rounds, by least squares."""
    resident_per_hundred: float
    descriptors_before: float
    descriptors_after: float

    def problems(self, judge_memory: bool) -> list[str]:
        found = []
        if self.descriptors_after > self.descriptors_before + SPARE_DESCRIPTORS:
            found.append(
                f"{self.kind}: {self.descriptors_before:g} descriptors became "
                f"{self.descriptors_after:g}"
            )
        if judge_memory and self.unique_per_hundred > GROWTH_BYTES:
            grown = self.unique_per_hundred / 2**20
            found.append(f"{self.kind}: {grown:.1f} MiB more in a hundred rounds")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks soak")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--small", action="store_true", help=f"{SMALL_ROUNDS} rounds")
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.png")
    arguments = parser.parse_args()
    rounds = SMALL_ROUNDS if arguments.small else arguments.rounds
    looks: list[Look] = []
    print(HEADER, flush=True)
    for look in measure(rounds):
        looks.append(look)
        if look.round % (5 * SAMPLE_ROUNDS) == 0:
            print(line(look), flush=True)
    trends = [trend_of(looks, kind, rounds) for kind in KINDS]
    for trend in trends:
        print(
            f"{trend.kind}: {trend.unique_per_hundred / 2**20:+.2f} MiB unique, "
            f"{trend.resident_per_hundred / 2**20:+.2f} MiB resident in a hundred rounds; "
            f"descriptors {trend.descriptors_before:g}, then {trend.descriptors_after:g}"
        )
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = {
            "rounds": rounds,
            "looks": [asdict(look) for look in looks],
            "trends": [asdict(trend) for trend in trends],
        }
        (arguments.out / "soak.json").write_text(json.dumps(found, indent=2) + "\n")
        draw(looks, arguments.out / "soak.png")
    # a few dozen rounds say nothing about memory: it is still settling
    problems = [it for trend in trends for it in trend.problems(judge_memory=rounds >= 200)]
    if problems:
        raise SystemExit("; ".join(problems))


def measure(rounds: int) -> Iterator[Look]:
    """A look at each kind of process every ten committed rounds."""
    spec = run_of(
        "soak",
        target_tokens=PEERS * STEPS_A_ROUND * TOKENS_PER_STEP,
        min_seconds=STEPS_A_ROUND * STEP_SECONDS,
        max_seconds=10 * STEPS_A_ROUND * STEP_SECONDS,
        exchange_seconds=5,
        min_peers=PEERS,
    )
    with benchmark_home() as home, paced_swarm(home, [spec]) as swarm:
        paced = [swarm.peer("soak", index, VALUES, STEP_SECONDS) for index in range(PEERS)]
        with running(paced) as peers:
            first = _reached(peers, 1, _START_SECONDS)
            for number in range(0, rounds + 1, SAMPLE_ROUNDS):
                _reached(peers, first + number, _ROUND_SECONDS * SAMPLE_ROUNDS)
                yield from (_look(peers, kind, number) for kind in KINDS)


def _reached(peers: Sequence[PacedPeer], round_: int, seconds: float) -> int:
    """Wait until all peers have come to a round; the least one's."""
    deadline = time.monotonic() + seconds
    while True:
        statuses = [peer.status() for peer in peers]
        least = min(it.round if it is not None and it.digest else -1 for it in statuses)
        if least >= round_:
            return least
        if time.monotonic() > deadline:
            told = "\n".join(peer.told() for peer in peers)
            raise SystemExit(f"round {round_} has not come: {least}\n{told}")
        time.sleep(_POLL_SECONDS)


def _look(peers: Sequence[PacedPeer], kind: str, round_: int) -> Look:
    processes = [_process(peer, kind) for peer in peers]
    memory = [it.memory_full_info() for it in processes]
    return Look(
        round_,
        kind,
        statistics.mean(it.rss for it in memory),
        statistics.mean(it.uss for it in memory),
        max(it.num_fds() for it in processes),
        max(it.num_threads() for it in processes),
    )


def _process(peer: PacedPeer, kind: str) -> psutil.Process:
    daemon = psutil.Process(peer.pid)
    if kind == "daemon":
        return daemon
    (found,) = [it for it in daemon.children() if (it.name() == "p2pd") == (kind == "p2pd")]
    return found


def trend_of(looks: Sequence[Look], kind: str, rounds: int) -> Trend:
    """What the looks at a kind of process after the warm-up say."""
    warm = [it for it in looks if it.kind == kind and it.round >= WARM_UP * rounds]
    third = max(1, len(warm) // 3)
    numbers = [it.round / 100 for it in warm]
    return Trend(
        kind,
        statistics.linear_regression(numbers, [it.unique for it in warm]).slope,
        statistics.linear_regression(numbers, [it.resident for it in warm]).slope,
        statistics.median(it.descriptors for it in warm[:third]),
        statistics.median(it.descriptors for it in warm[-third:]),
    )


# ---- what is shown ---------------------------------------------------------------------

HEADER = (
    "| round | process | resident MiB | unique MiB | descriptors | threads |\n"
    "|---|---|---|---|---|---|"
)


def line(look: Look) -> str:
    return (
        f"| {look.round} | {look.kind} | {look.resident / 2**20:.1f} | {look.unique / 2**20:.1f} "
        f"| {look.descriptors} | {look.threads} |"
    )


def draw(looks: Sequence[Look], path: Path) -> None:
    """Memory and descriptors of each kind of process over the rounds."""
    made, (memory, descriptors) = figure(2, "Processes of a peer over many rounds")
    for color, kind in zip(PALETTE, KINDS, strict=False):
        own = [it for it in looks if it.kind == kind]
        rounds = [it.round for it in own]
        memory.plot(rounds, [it.unique / 2**20 for it in own], color=color, label=kind)
        descriptors.plot(rounds, [it.descriptors for it in own], color=color, label=kind)
    memory.set_ylabel("unique memory, MiB")
    descriptors.set_ylabel("file descriptors, the most")
    for axes in (memory, descriptors):
        axes.set_ylim(bottom=0)
        axes.legend()
    descriptors.set_xlabel("round")
    save(made, path)
