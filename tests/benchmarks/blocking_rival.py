"""The loop of OpenDiLoCo with hivemind's own averager: train, then wait until it has averaged.

`python -m tests.benchmarks.blocking_rival JSON` is one peer of it; see `Rival` for the keys. It
prints its address first, and in the end one JSON object with where its time went. hivemind's
processes outlive their parent: run it in a namespace that is removed afterwards.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from tests.benchmarks.namespaces import Site
from tests.benchmarks.paced_swarm import REPOSITORY
from tests.e2e.processes import Home

_JOIN_SECONDS = 120.0


@dataclass(frozen=True)
class Rival:
    """One peer of the blocking loop."""

    index: int
    host: str
    initial_peers: tuple[str, ...]
    peers: int
    values: int
    codec: str
    """A key of `rivals.CODECS`."""
    rounds: int
    inner_steps: int
    """In each round."""
    step_seconds: float

    def arguments(self) -> list[str]:
        return ["-m", "tests.benchmarks.blocking_rival", json.dumps(asdict(self))]


@dataclass(frozen=True)
class Blocked:
    """What the loop cost; medians or means over rounds and peers."""

    blocked_seconds: float
    share: float
    sent_bytes: int
    """By one peer's interface in a round, headers included."""


def run_rivals(
    home: Home, places: Sequence[Site], rivals: Sequence[Rival], ready: Callable[[], None]
) -> Blocked:
    """One rival at each place, `ready` called before they average; all ended on return."""
    started: list[subprocess.Popen[str]] = []
    first: tuple[str, ...] = ()
    try:
        for place, rival in zip(places, rivals, strict=True):
            arguments = replace(rival, initial_peers=first).arguments()
            started.append(
                subprocess.Popen(
                    place.command([sys.executable, *arguments]),
                    cwd=REPOSITORY,
                    env=home.environment() | {"PYTHONWARNINGS": "ignore"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            first = first or (_line(started[0]),)
        for process in started[1:]:
            _line(process)
        ready()
        before = [place.bytes_sent() for place in places]
        _tell(started)
        told = [json.loads(_line(it)) for it in started]
        sent = [now.bytes_sent() - then for now, then in zip(places, before, strict=True)]
        _tell(started)
    finally:
        home.end_strays()
        for process in started:
            process.communicate()
    slowest = [max(it) for it in zip(*(one["blocked"] for one in told), strict=True)]
    return Blocked(
        statistics.median(slowest),
        statistics.mean(one["share"] for one in told),
        int(statistics.mean(sent) / (rivals[0].rounds + 1)),  # the first meeting's too
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit("a peer of hivemind's ended before it had averaged")
    return line


def _tell(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def main() -> None:
    rival = Rival(**json.loads(sys.argv[1]))
    import hivemind
    import torch

    from tests.benchmarks.rivals import CODECS

    dht = hivemind.DHT(
        host_maddrs=[f"/ip4/{rival.host}/tcp/0"],
        initial_peers=list(rival.initial_peers),
        start=True,
    )
    print(next(str(it) for it in dht.get_visible_maddrs() if rival.host in str(it)), flush=True)
    sys.stdin.readline()  # the others are there
    vector = torch.randn(rival.values, generator=torch.Generator().manual_seed(rival.index))
    averager = hivemind.DecentralizedAverager(
        [vector],
        dht,
        prefix="rival",
        target_group_size=rival.peers,
        min_group_size=rival.peers,
        min_matchmaking_time=3.0,
        request_timeout=1.0,
        bandwidth=1.0,  # the same for all: equal parts
        compression=CODECS[rival.codec](),
        start=True,
    )
    average = partial(averager.step, timeout=_JOIN_SECONDS, wait=True)
    average()  # the group's first meeting is not counted
    blocked: list[float] = []
    began = time.monotonic()
    for _ in range(rival.rounds):
        time.sleep(rival.inner_steps * rival.step_seconds)
        asked = time.monotonic()
        if average() is None:
            raise SystemExit("hivemind's averager gave up")
        blocked.append(time.monotonic() - asked)
    trained = rival.rounds * rival.inner_steps * rival.step_seconds
    share = trained / (time.monotonic() - began)
    print(json.dumps({"blocked": blocked, "share": share}), flush=True)
    sys.stdin.readline()  # the others are done
    os._exit(0)  # the namespace's end takes hivemind's processes


if __name__ == "__main__":
    main()
