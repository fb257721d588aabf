"""Does the coordinator stay light, and lose nothing, under the load of a large swarm?

`python -m tests.benchmarks coordinator [--peers 10000] [--seconds 600] [--dashboards 200]
[--small] [--out FOLDER]`. A real `coordinator serve` has one processor; simulated peers and
dashboards have the others. Peers report signed envelopes every ten seconds, each when it is due,
and each round of a minute. After the given time the coordinator is killed (SIGKILL) under the same
load and started again; what it had acknowledged is compared with what is on its disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks import coordinator_dashboards, coordinator_peers
from tests.benchmarks.coordinator_identities import identities
from tests.benchmarks.coordinator_report import (
    DASHBOARDS,
    PEERS,
    Found,
    draw,
    found_in,
    judge,
    plain,
    table,
)
from tests.benchmarks.coordinator_served import Look, Served
from tests.benchmarks.paced_swarm import benchmark_home, run_of
from tests.e2e.processes import Home, create_run

RUN_ID = "load"
_GET_READY_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_END_SECONDS = 30.0
"""A call takes 5 s at most."""


@dataclass(frozen=True)
class Plan:
    """How much load, and for how long."""

    peers: int = 10_000
    interval: float = 10.0
    """Seconds between a peer's reports."""
    round_seconds: float = 60.0
    dashboards: int = 200
    every: float = 5.0
    """Seconds between a dashboard's looks at the participants."""
    seconds: float = 600.0
    after: float = 60.0
    """Seconds of load after the coordinator is back."""
    channels: int = 32
    """gRPC connections that the peers share."""


SMALL = Plan(200, 1.0, 2.0, 4, 1.0, 4.0, 4.0, 4)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks coordinator")
    parser.add_argument("--peers", type=int, default=Plan.peers)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--after", type=float, default=Plan.after)
    parser.add_argument("--round-seconds", type=float, default=Plan.round_seconds)
    parser.add_argument("--dashboards", type=int, default=Plan.dashboards)
    parser.add_argument("--small", action="store_true", help="200 peers, a few seconds")
    parser.add_argument("--out", type=Path, help="folder for coordinator.json and coordinator.png")
    arguments = parser.parse_args()
    plan = SMALL
    if not arguments.small:
        plan = Plan(
            peers=arguments.peers,
            round_seconds=arguments.round_seconds,
            seconds=arguments.seconds,
            after=arguments.after,
            dashboards=arguments.dashboards,
        )
    keys = identities(plan.peers)
    with benchmark_home() as home:
        found = measure(plan, keys, home)
    print(table(found))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "coordinator.json").write_text(json.dumps(plain(found), indent=2) + "\n")
        draw(found, arguments.out / "coordinator.png")
    problems = judge(found, full=not arguments.small)
    if problems:
        raise SystemExit("\n".join(problems))


def measure(plan: Plan, keys: list[Path], home: Home) -> Found:
    """Put the load on a coordinator, kill it, let it come back, and count."""
    cores = sorted(os.sched_getaffinity(0))
    alone = len(cores) > 1
    served = Served(home, cores[-1] if alone else None, "--log-level", "warning")
    try:
        create_run(home, served.server.address, run_of(RUN_ID))
        begin_at = (
            time.monotonic() + _GET_READY_SECONDS + plan.peers / 2000
        )  # keys are read meanwhile
        if alone:
            os.sched_setaffinity(0, cores[:-1])
        with _load(plan, keys, home, served, begin_at) as ended:
            looks = list(_looks(served, begin_at + plan.seconds))
            killed_at = time.monotonic()
            served.kill()
            snapshot = served.copy_database(home.path / "killed")
            served.come_back()
            back_at = time.monotonic()
            looks += _looks(served, back_at + plan.after)
            ended()
        served.stop()
    finally:
        os.sched_setaffinity(0, cores)
        if served.server.process.poll() is None:
            served.kill()
    return found_in(
        home.path, snapshot, served.database, keys, asdict(plan), looks,
        (begin_at, killed_at, back_at), served.told(),
    )  # fmt: skip


def _looks(served: Served, until: float) -> Iterator[Look]:
    while time.monotonic() < until:
        yield served.look()
        time.sleep(max(0.0, min(_LOOK_SECONDS, until - time.monotonic())))


@contextmanager
def _load(
    plan: Plan, keys: list[Path], home: Home, served: Served, begin_at: float
) -> Iterator[Callable[[], None]]:
    """Peers and dashboards at work; what is given waits for their end."""
    peers = coordinator_peers.Order(
        address=served.server.address,
        run_id=RUN_ID,
        identities=[str(path) for path in keys],
        peers=plan.peers,
        interval=plan.interval,
        round_seconds=plan.round_seconds,
        begin_at=begin_at,
        channels=plan.channels,
        out=str(home.path / PEERS),
    )
    started = [_started(home, coordinator_peers.__name__, coordinator_peers.order_text(peers))]
    if plan.dashboards:
        host, port = served.dashboard
        dashboards = coordinator_dashboards.Order(
            host=host,
            port=port,
            run_id=RUN_ID,
            dashboards=plan.dashboards,
            every=plan.every,
            begin_at=begin_at,
            out=str(home.path / DASHBOARDS),
        )
        order = coordinator_dashboards.order_text(dashboards)
        started.append(_started(home, coordinator_dashboards.__name__, order))

    def ended() -> None:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        for process in started:
            try:
                code = process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                raise RuntimeError("the load does not end: it is overloaded itself") from None
            if code != 0:
                raise RuntimeError(f"a process of the load ended with {code}")

    try:
        yield ended
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()


def _started(home: Home, module: str, order: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, order], env=home.environment(), stdin=subprocess.PIPE
    )
