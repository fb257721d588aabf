"""Upload and download on the wire: rounds without a pause, one peer of three limited."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from peer.limits.units import rate_text
from tests.benchmarks.limits_report import Row
from tests.benchmarks.namespaces import Site, sites
from tests.benchmarks.paced_swarm import PacedPeer, PacedSwarm, benchmark_home, paced_swarm, run_of

PEERS = 3
WINDOW_SECONDS = 10.0
SETTLE_SECONDS = 12.0
"""Joining and the first rounds: the rate holds then, too, but there may be too little to carry."""
POLL_SECONDS = 0.25
BUSY_SECONDS = 3.0
"""A window with a longer pause of the wire had nothing to carry for that time."""


@dataclass(frozen=True)
class Measured:
    """Rates over all windows of ten seconds in which there was always something to carry."""

    least: float
    most: float
    mean: float
    windows: int

    def text(self) -> str:
        return f"{rate_text(self.mean)}, {rate_text(self.least)} to {rate_text(self.most)}"


def windows(seen: list[tuple[float, int]]) -> Measured:
    """From (seconds, bytes by then), in the order of time."""
    rates = []
    for start, (begin, before) in enumerate(seen):
        within = [it for it in seen[start:] if it[0] <= begin + WINDOW_SECONDS + POLL_SECONDS / 2]
        end, after = within[-1]
        if end - begin < WINDOW_SECONDS - POLL_SECONDS:
            break
        rates.append(8 * (after - before) / (end - begin))
    if not rates:
        raise SystemExit("nothing was measured")
    return Measured(min(rates), max(rates), sum(rates) / len(rates), len(rates))


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


def measure(direction: str, rate: float, seconds: float) -> Measured:
    """Rounds that follow each other without a pause, one peer limited in one direction."""
    # as much as the limit carries in twelve seconds: rounds follow each other at once
    values = int(rate / 8 * 12)
    spec = run_of(
        f"limited-{direction}",
        codec="int8",
        target_tokens=1024,
        min_seconds=0.1,
        max_seconds=0.2,
        exchange_seconds=60,
        min_peers=PEERS,
    )
    with (
        sites(PEERS + 1) as net,
        benchmark_home() as home,
        paced_swarm(home, [spec], net.places) as swarm,
    ):
        peers = [swarm.peer(spec.run_id, index, values, 0.1) for index in range(PEERS)]
        swarm.give_state(peers)
        try:
            for index, peer in enumerate(peers):
                limit = (f"--{direction}", rate_text(rate).replace(" ", "")) if not index else ()
                peer.start(*limit)
            return _watch(swarm, peers, net[0], direction, seconds)
        finally:
            for peer in peers:
                peer.end()


def _watch(
    swarm: PacedSwarm, peers: list[PacedPeer], site: Site, direction: str, seconds: float
) -> Measured:
    count = site.bytes_sent if direction == "upload" else site.bytes_received
    while not swarm.rounds(peers[0].run_id):
        if not all(peer.alive for peer in peers):
            raise SystemExit("\n".join(peer.told() for peer in peers))
        time.sleep(POLL_SECONDS)
    seen: list[tuple[float, int]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen.append((time.monotonic(), count()))
        time.sleep(POLL_SECONDS)
    return windows(seen)
