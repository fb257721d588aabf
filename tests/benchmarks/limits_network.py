"""Upload and download on the wire: rounds without a pause, one peer of three limited."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from peer.limits.units import rate_text
from swarmpb.spec import RunSpec
from tests.benchmarks.limits_report import Row
from tests.benchmarks.namespaces import Sites, sites
from tests.benchmarks.paced_swarm import (
    PacedPeer,
    PacedSwarm,
    benchmark_home,
    paced_swarm,
    run_of,
    whole_rounds,
)

PEERS = 3
WINDOW_SECONDS = 10.0
POLL_SECONDS = 0.25
PAUSE_SHARE = 0.3
"""Of the limit: when less is carried, there is nothing but words."""
LONGEST_PAUSE = 0.5
"""Seconds of a window."""
_AT_ONCE = {"target_tokens": 1024, "min_seconds": 0.1, "min_peers": PEERS}
"""Rounds follow each other without a pause."""


@dataclass(frozen=True)
class Measured:
    """Rates over all windows of ten seconds in which there was always something to carry.

    Between two rounds there is not: windows with such a pause say only that no more was carried.
    """

    least: float
    most: float
    mean: float
    windows: int
    most_of_all: float
    """Also of windows with a pause in them."""

    def text(self) -> str:
        return f"{rate_text(self.mean)}, {rate_text(self.least)} to {rate_text(self.most)}"


def windows(seen: list[tuple[float, int]], limit: float) -> Measured:
    """From (seconds, bytes by then), in the order of time; limit: bits per second."""
    rates, all_rates = [], []
    paused = [0.0]  # seconds of pauses by then
    for (begin, before), (end, after) in pairwise(seen):
        idle = 8 * (after - before) < PAUSE_SHARE * limit * (end - begin)
        paused.append(paused[-1] + idle * (end - begin))
    for start, (begin, before) in enumerate(seen):
        within = [it for it in seen[start:] if it[0] <= begin + WINDOW_SECONDS + POLL_SECONDS / 2]
        end, after = within[-1]
        if end - begin < WINDOW_SECONDS - POLL_SECONDS:
            break
        all_rates.append(8 * (after - before) / (end - begin))
        if paused[start + len(within) - 1] - paused[start] <= LONGEST_PAUSE:
            rates.append(all_rates[-1])
    if not rates:
        raise SystemExit("there was always a pause")
    mean = sum(rates) / len(rates)
    return Measured(min(rates), max(rates), mean, len(rates), max(all_rates))


def upload_rows(small: bool) -> Iterator[Row]:
    """Bytes that a limited peer's interface sends."""
    for rate in (2e6,) if small else (1e6, 2e6, 10e6):
        found = measure("upload", rate, 20.0 if small else 60.0)
        how = f"{found.windows} windows of 10 s, interface counter"
        yield Row("upload", rate_text(rate), found.text(), how)


def download_rows(small: bool) -> Iterator[Row]:
    """Bytes that it receives."""
    for rate in (2e6,) if small else (1e6, 2e6, 10e6):
        found = measure("download", rate, 20.0 if small else 60.0)
        how = f"{found.windows} windows of 10 s, interface counter"
        yield Row("download", rate_text(rate), found.text(), how)


def merging_rows(small: bool) -> Iterator[Row]:
    """Rounds of the demo's model with a peer that has a quarter of a megabit each way."""
    rate, rounds = 256e3, 2 if small else 4
    spec = run_of("merging", max_seconds=0.2, exchange_seconds=90, **_AT_ONCE)
    limits = ("--upload", "256kbit/s", "--download", "256kbit/s")
    with limited_swarm(spec, 1_060_000, limits) as (_, swarm, peers):
        while len(whole := whole_rounds(swarm.rounds(spec.run_id), PEERS)) < rounds:
            require_alive(peers)
            time.sleep(POLL_SECONDS)
    told = [it for number in sorted(whole)[:rounds] for it in whole[number]]
    merged = [it for it in told if it.peer == peers[0].name and it.own_tokens and not it.reason]
    seconds = max(it.seconds for it in told)
    measured = f"{len(merged)} of {rounds} rounds have its work, {seconds:.0f} s at most"
    how = "1.06 million values in int4, three peers; agreed in all"
    assert len({(it.round, it.digest) for it in told}) == rounds, "they do not agree"
    yield Row("upload, download", f"{rate_text(rate)} each", measured, how)


def measure(direction: str, rate: float, seconds: float) -> Measured:
    """Rounds that follow each other without a pause, one peer limited in one direction."""
    # as much as the limit carries in twelve seconds: rounds follow each other at once
    values = int(rate / 8 * 12)
    spec = run_of(
        f"limited-{direction}", codec="int8", max_seconds=0.2, exchange_seconds=60, **_AT_ONCE
    )
    limit = (f"--{direction}", rate_text(rate).replace(" ", ""))
    with limited_swarm(spec, values, limit) as (net, swarm, peers):
        site = net[0]
        count = site.bytes_sent if direction == "upload" else site.bytes_received
        while not swarm.rounds(spec.run_id):
            require_alive(peers)
            time.sleep(POLL_SECONDS)
        seen: list[tuple[float, int]] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            require_alive(peers)
            seen.append((time.monotonic(), count()))
            time.sleep(POLL_SECONDS)
        return windows(seen, rate)


@contextmanager
def limited_swarm(
    spec: RunSpec, values: int, limits: Sequence[str]
) -> Iterator[tuple[Sites, PacedSwarm, list[PacedPeer]]]:
    """Three peers at sites of their own; the first is limited by these options of `join`."""
    with (
        sites(PEERS + 1) as net,
        benchmark_home() as home,
        paced_swarm(home, [spec], net.places) as swarm,
    ):
        peers = [swarm.peer(spec.run_id, index, values, 0.1) for index in range(PEERS)]
        swarm.give_state(peers)
        try:
            for index, peer in enumerate(peers):
                peer.start(*(limits if not index else ()))
            yield net, swarm, peers
        finally:
            for peer in peers:
                peer.end()


def require_alive(peers: Sequence[PacedPeer]) -> None:
    """Say what its peers have said, if one of them has ended."""
    if not all(peer.alive for peer in peers):
        raise SystemExit("\n".join(peer.told() for peer in peers))
