"""Fast and slow peers together: does the swarm merge what its peers train?

`python -m tests.benchmarks speeds [--small] [--out FOLDER]`. Four real peers on loopback whose
paced trainers run at relative speeds 1, 1, 0.5 and 0.1. The merged tokens a second of a swarm
are compared with the sum of what its trainers could do alone and undisturbed. That such a swarm
also learns as much from as many tokens is simulated in `quality_sim.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from swarmpb.spec import RunSpec
from tests.benchmarks.paced_swarm import (
    TOKENS_PER_STEP,
    PacedPeer,
    PacedSwarm,
    benchmark_home,
    paced_swarm,
    run_of,
    running,
    whole_rounds,
)
from tests.benchmarks.plots import PALETTE, figure, save

_START_SECONDS = 180.0
_POLL_SECONDS = 0.5
_AIM = 0.95


@dataclass(frozen=True)
class Plan:
    """What is measured, how often."""

    speeds: tuple[float, ...]
    step_seconds: float
    """Of the fastest peer."""
    values: int
    steps_a_round: int
    """Of the fastest peer, if all goes well."""
    rounds: int
    repetitions: int


FULL = Plan((1.0, 1.0, 0.5, 0.1), 0.1, 1_000_000, 50, 8, 3)
SMALL = Plan((1.0, 0.5), 0.05, 10_000, 20, 2, 1)


@dataclass(frozen=True)
class Result:
    """One repetition."""

    rounds: int
    void: int
    seconds: float
    merged_tokens: int
    merged_per_peer: tuple[int, ...]
    """In the order of `Plan.speeds`."""
    ideal_tokens_per_second: float
    """The sum of what the trainers do undisturbed."""

    @property
    def tokens_per_second(self) -> float:
        return self.merged_tokens / self.seconds

    @property
    def share(self) -> float:
        return self.tokens_per_second / self.ideal_tokens_per_second


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks speeds")
    parser.add_argument("--small", action="store_true", help="two peers, two rounds")
    parser.add_argument("--out", type=Path, help="folder for speeds.json and speeds.png")
    arguments = parser.parse_args()
    plan = SMALL if arguments.small else FULL
    print(HEADER, flush=True)
    results = []
    for result in measure(plan):
        results.append(result)
        print(line(result), flush=True)
    middle = statistics.median(result.share for result in results)
    print(f"\nmedian: {middle:.1%} of the ideal, with speeds {plan.speeds}; aim: {_AIM:.0%}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = {"plan": asdict(plan), "results": [asdict(result) for result in results]}
        (arguments.out / "speeds.json").write_text(json.dumps(found, indent=2) + "\n")
        draw(plan, results, arguments.out / "speeds.png")


def measure(plan: Plan) -> Iterator[Result]:
    """All repetitions, each a run and peers of its own."""
    runs = [_run(plan, number) for number in range(plan.repetitions)]
    with benchmark_home() as home, paced_swarm(home, runs) as swarm:
        for spec in runs:
            with running(_peers(swarm, plan, spec.run_id)) as peers:
                yield _measured(swarm, plan, peers)


def _run(plan: Plan, number: int) -> RunSpec:
    return run_of(
        f"speeds-{number}",
        target_tokens=round(plan.steps_a_round * sum(plan.speeds) * TOKENS_PER_STEP),
        min_seconds=plan.steps_a_round * plan.step_seconds / 4,
        max_seconds=plan.steps_a_round * plan.step_seconds * 4,
        exchange_seconds=10,
        min_peers=len(plan.speeds),
    )


def _peers(swarm: PacedSwarm, plan: Plan, run_id: str) -> list[PacedPeer]:
    return [
        swarm.peer(run_id, index, plan.values, plan.step_seconds / speed)
        for index, speed in enumerate(plan.speeds)
    ]


def _measured(swarm: PacedSwarm, plan: Plan, peers: Sequence[PacedPeer]) -> Result:
    """From the cut of the second round that all are in, so many rounds further."""
    run_id, names = peers[0].run_id, [peer.name for peer in peers]
    deadline = time.monotonic() + _START_SECONDS
    deadline += plan.rounds * plan.steps_a_round * plan.step_seconds * 4
    while True:
        for peer in peers:
            if not peer.alive or time.monotonic() > deadline:
                raise SystemExit(f"{peer.name} has ended, or there was no round:\n{peer.told()}")
        told = swarm.rounds(run_id)
        whole = whole_rounds(told, len(peers))
        if len(whole) > plan.rounds:
            break
        time.sleep(_POLL_SECONDS)
    numbers = sorted(whole)[: plan.rounds + 1]
    measured = [whole[number] for number in numbers[1:]]
    # each round's work is that between two cuts, so the time is that between two cuts as well
    cuts = [min(it.finished_at - it.seconds for it in whole[number]) for number in numbers]
    merged = dict.fromkeys(names, 0)
    for its in measured:
        for it in its:
            merged[it.peer] += it.own_tokens
    ideal = sum(TOKENS_PER_STEP / peer.pace.step_seconds for peer in peers)
    void = {it.finished_at for it in told if not it.committed and it.finished_at > cuts[0]}
    return Result(
        len(measured), len(void), cuts[-1] - cuts[0], sum(merged.values()),
        tuple(merged[name] for name in names), ideal,
    )  # fmt: skip


# ---- what is shown ---------------------------------------------------------------------

HEADER = (
    "| rounds | void tries | seconds | merged tokens/s | ideal | share | merged by each peer |\n"
    "|---|---|---|---|---|---|---|"
)


def line(result: Result) -> str:
    each = ", ".join(f"{tokens:,}" for tokens in result.merged_per_peer)
    return (
        f"| {result.rounds} | {result.void} | {result.seconds:.1f} "
        f"| {result.tokens_per_second:,.0f} | {result.ideal_tokens_per_second:,.0f} "
        f"| {result.share:.1%} | {each} |"
    )


def draw(plan: Plan, results: Sequence[Result], path: Path) -> None:
    """What each peer merged of what it could have trained."""
    made, (axes,) = figure(1, "Merged by each peer of a swarm of fast and slow ones")
    for index, speed in enumerate(plan.speeds):
        ideal = TOKENS_PER_STEP * speed / plan.step_seconds
        shares = [100 * it.merged_per_peer[index] / it.seconds / ideal for it in results]
        axes.plot([index] * len(shares), shares, "o", color=PALETTE[0])
    axes.axhline(100 * _AIM, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(plan.speeds)), [f"speed {speed:g}" for speed in plan.speeds])
    axes.set_ylabel("% of what its trainer could do alone")
    axes.set_ylim(0, 105)
    save(made, path)
