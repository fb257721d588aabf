"""Figures of real peers on this machine: start-up, round time, cost of averaging, memory.

`python -m tests.benchmarks peer_figures`. The model is the demo's (one million parameters); each
peer trains on one thread. All processes listen on loopback and end with the benchmark.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmpb.spec import RunSpec, preset
from swarmpb.v1 import control_pb2
from tests.e2e.processes import Home, PeerProcess, Server, create_run, home_in, serving

POLL_SECONDS = 0.05
ROUNDS = 15
SPEED_SECONDS = 30.0
REPEATS = 3


def main() -> None:
    """Print the table's rows as they are measured; about ten minutes."""
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as folder,
        home_in(Path(folder)) as home,
        serving(home) as server,
    ):
        for codec in ("fp32", "int8"):
            rounds_of_three(home, server, codec)
        cost_of_averaging(home, server)
        server.stop()


def run_of(name: str, codec: str = "int8", min_peers: int = 2) -> RunSpec:
    """The demo's model in a run that does not end by itself."""
    spec = preset("demo").model_dump()
    spec["run_id"] = name
    spec["round"] |= {"codec": codec, "min_peers": min_peers}
    spec["stop"] = {"tokens": 10**12}
    return RunSpec.model_validate(spec, strict=None)


@contextmanager
def peers_of(home: Home, server: Server, spec: RunSpec, *names: str) -> Iterator[list[PeerProcess]]:
    """Peers of a new run, not started yet; those that run leave in the end."""
    create_run(home, server.address, spec)
    named = [f"{spec.run_id}-{name}" for name in names]
    peers = [PeerProcess(home, name, server.address, spec.run_id) for name in named]
    try:
        yield peers
    finally:
        for peer in peers:
            if peer.alive:
                peer.leave()


def rounds_of_three(home: Home, server: Server, codec: str) -> None:
    """Start-up of a first peer and of a late one; then rounds of three."""
    names = ("one", "two", "three", "late")
    with peers_of(home, server, run_of(codec, codec), *names) as peers:
        one, two, three, late = peers
        row(f"{codec}: join to first inner step, first peer of a run", start(one), "s")
        two.start()
        three.start()
        wait(lambda: all(round_of(peer) >= 2 for peer in peers[:3]))
        three.leave()
        row(f"{codec}: join to first inner step, two others training", start(late), "s")
        merged = wait(lambda: tokens_of(late) > 0)
        row(f"{codec}: from there to its first merged round", merged, "s")
        reached = round_of(one) + ROUNDS
        wait(lambda: round_of(one) >= reached)
        statuses = [status for peer in (one, two, late) if (status := peer.status())]
        row(f"{codec}: a round of three, cut to decision", seconds_of(statuses), "s")
        sent = server.progress(codec).bytes_sent_per_round
        row(f"{codec}: sent by a peer in a round", sent / 1e6, "MB")
        row(f"{codec}: daemon, resident", rss(statuses, "daemon_rss_bytes"), "MiB")
        row(f"{codec}: trainer, resident", rss(statuses, "trainer_rss_bytes"), "MiB")


def cost_of_averaging(home: Home, server: Server) -> None:
    """Tokens per second of two peers, with rounds and without, turn by turn."""
    speeds: dict[int, list[float]] = {2: [], 3: []}
    for repeat in range(REPEATS):
        for needed, measured in speeds.items():
            spec = run_of(f"speed-{repeat}-{needed}", min_peers=needed)
            with peers_of(home, server, spec, "one", "two") as peers:
                for peer in peers:
                    peer.start()
                wait(lambda peers=peers: all(steps_of(it) >= 20 for it in peers))  # type: ignore[misc]  # a default binds the loop's variable
                measured.append(speed_of(peers, spec))
    row("two trainers without averaging", statistics.median(speeds[3]), "tokens/s")
    row("the same with averaging", statistics.median(speeds[2]), "tokens/s")
    ratios = [on / off for on, off in zip(speeds[2], speeds[3], strict=True)]
    row("averaging on / off, median of ratios", statistics.median(ratios), "")


def speed_of(peers: list[PeerProcess], spec: RunSpec) -> float:
    before, began = sum(map(steps_of, peers)), time.monotonic()
    time.sleep(SPEED_SECONDS)
    done, took = sum(map(steps_of, peers)) - before, time.monotonic() - began
    return done * spec.inner.batch_size * spec.data.sequence_length / took


def start(peer: PeerProcess) -> float:
    """Seconds from the start of the process to its first inner step."""
    began = time.monotonic()
    peer.start()
    wait(lambda: steps_of(peer) > 0)
    return time.monotonic() - began


def wait(done: Callable[[], bool], seconds: float = 300.0) -> float:
    """Seconds until `done`."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"nothing happened for {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def steps_of(peer: PeerProcess) -> int:
    status = peer.status()
    return status.inner_steps if status else 0


def round_of(peer: PeerProcess) -> int:
    status = peer.status()
    return status.round if status else -1


def tokens_of(peer: PeerProcess) -> int:
    status = peer.status()
    return status.tokens if status else 0


def seconds_of(statuses: list[control_pb2.StatusReply]) -> float:
    return statistics.median(status.round_seconds for status in statuses)


def rss(statuses: list[control_pb2.StatusReply], name: str) -> float:
    return float(statistics.median(getattr(status, name) for status in statuses)) / 2**20


def row(what: str, value: float, unit: str) -> None:
    print(f"| {what} | {value:.4g} {unit} |", flush=True)


if __name__ == "__main__":
    main()
