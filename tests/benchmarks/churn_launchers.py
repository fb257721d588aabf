"""What the processes of the churn benchmark are: peers of this project, or of a blocking loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.churn_swarm import ChurnPeer
from tests.benchmarks.namespaces import Sites
from tests.benchmarks.paced_swarm import PacedSwarm

PACE = "MURMURATION_PACE_SECONDS"
"""Environment: how long an inner step takes."""
STEPS = "MURMURATION_STEPS"
"""Environment: the file that takes a line for each inner step: its beginning and its end."""
WITNESS = "MURMURATION_WITNESS"
_CONNECT_SECONDS = 60.0


@dataclass(frozen=True)
class OurPeers:
    """Peers of this project, see `faulty_peer.py`."""

    swarm: PacedSwarm
    sites: Sites | None
    run_id: str
    pace: float

    module = "tests.faults.faulty_peer"

    def order(self, peer: ChurnPeer, up: list[ChurnPeer], faults: list[str]) -> dict[str, Any]:
        process = self.swarm.peer(self.run_id, peer.number, 1, self.pace)
        site = self.sites[peer.number] if self.sites else None
        own = {WITNESS: str(peer.witness), STEPS: str(peer.steps), PACE: str(self.pace)}
        return {
            "arguments": process.arguments,
            "environment": process.environment() | own,
            "site": [site.name, site.address] if site else None,
            "faults": faults,
        }


@dataclass(frozen=True)
class RivalPeers:
    """How peers of the loop are started, see `churn_swarm.Launcher`."""

    folder: Path
    sites: Sites | None
    peers: int
    values: int
    inner_steps: int
    """Between two averagings."""
    tokens_per_step: int
    pace: float

    module = "tests.benchmarks.churn_rival"

    def order(self, peer: ChurnPeer, up: list[ChurnPeer], faults: list[str]) -> dict[str, Any]:
        others = [it for it in up if it is not peer]
        site = self.sites[peer.number] if self.sites else None
        runtime = self.folder / f"p{peer.number}-{len(peer.starts)}"
        runtime.mkdir()
        return {
            "environment": {
                WITNESS: str(peer.witness), STEPS: str(peer.steps), PACE: str(self.pace),
                "TMPDIR": str(runtime),
            },
            "site": [site.name, site.address] if site else None,
            "initial_peers": _addresses(others),
            "runtime": str(runtime),
            "faults": faults,
            "peers": self.peers,
            "values": self.values,
            "inner_steps": self.inner_steps,
            "tokens_per_step": self.tokens_per_step,
        }  # fmt: skip


def _addresses(others: list[ChurnPeer]) -> list[str]:
    """Of all that are up; waits for the first."""
    deadline = time.monotonic() + _CONNECT_SECONDS
    while others and time.monotonic() < deadline:
        for it in others:
            it.read()
        found = [it.notes_of("connected")[-1]["address"] for it in others if it.connected]
        if found:
            return found
        time.sleep(0.1)
    return []
