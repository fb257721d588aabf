"""State download over real libp2p on loopback: `python -m tests.benchmarks state_download`.

Each donor is a process with its own p2pd. What a trainer loses is what donor and p2pd take from it:
their processor time over that of the whole machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from peer.averaging.state import GlobalState
from peer.membership import Position
from peer.swarm.libp2p import Libp2pNetwork
from peer.transfer.donor import Donor
from peer.transfer.download import download
from peer.transfer.pace import serving_rate
from swarmpb.signing import PeerIdentity

VALUES = 50_000_000
SMALL = 1_000_000
CORES = os.cpu_count() or 1


def the_state(values: int) -> GlobalState:
    random = np.random.default_rng(1)
    parameters, momentum = (random.standard_normal(values, np.float32) for _ in range(2))
    return GlobalState(7, 1000, parameters, momentum)


async def _network(folder: Path, known: list[str]) -> Libp2pNetwork:
    (folder / "id").write_bytes(PeerIdentity.generate().to_bytes())
    return await Libp2pNetwork.start(folder / "id", folder, "127.0.0.1", 0, known)


async def donate(folder: Path, values: int, rate: float) -> None:
    """Serve until standard input ends."""
    network = await _network(folder, [])
    state = the_state(values)
    await network.serve(Donor(lambda: [state], lambda: rate).handlers())
    hello = {
        "address": network.addresses[0],
        "peer_id": network.peer_id,
        "digest": state.digest.hex(),
    }
    print(json.dumps(hello), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await network.close()


@contextmanager
def a_donor(values: int, rate: float) -> Iterator[tuple[dict[str, Any], psutil.Process]]:
    """A donor's process; what it says of itself."""
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:
        command = [sys.executable, "-m", __spec__.name, "donate", folder, str(values), str(rate)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all below it."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(it.cpu_times()[:2]) for it in family)


async def measure(values: int, donors: int, rate: float) -> dict[str, float]:
    with ExitStack() as stack:
        started = [stack.enter_context(a_donor(values, rate)) for _ in range(donors)]
        said = [hello for hello, _ in started]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mt-")))
        network = await _network(folder, [it["address"] for it in said])
        try:
            at = Position(7, bytes.fromhex(said[0]["digest"]))
            before = sum(cpu_seconds(process) for _, process in started)
            own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            began = time.monotonic()
            state = await download(network, [it["peer_id"] for it in said], at, values)
            took = time.monotonic() - began
            used = sum(cpu_seconds(process) for _, process in started) - before
            own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - own
            assert state.digest == at.digest
        finally:
            await network.close()
    gigabytes = 8 * values / 1e9
    return {
        "seconds": round(took, 2),
        "MB/s": round(1000 * gigabytes / took, 1),
        "donors' CPU s/GB": round(used / gigabytes, 2),
        "joiner's CPU s/GB (without p2pd)": round(own / gigabytes, 2),
        "of a donor's machine, %": round(100 * used / donors / took / CORES, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a state of 8 MB")
    arguments = parser.parse_args()
    values = SMALL if arguments.small else VALUES
    capped = serving_rate(0, CORES)
    for donors, rate in [(1, math.inf), (3, math.inf), (1, capped), (3, capped)]:
        cap = "no cap" if math.isinf(rate) else f"cap of {rate / 1e6:.0f} MB/s"
        print(f"{donors} donors, {cap}:", asyncio.run(measure(values, donors, rate)), flush=True)


if __name__ == "__main__":
    asyncio.run(donate(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
