"""How soon `peer pause` gives the machine back, and how soon `peer resume` trains again.

`python -m tests.benchmarks pausing [--small]`. Two real peers of a run, one trainer thread each, on
loopback; one of them is paused, mid-round or not as it happens. Memory is the proportional set size
(PSS) of daemon, trainer and p2pd together: pages that they share count once. It is *back* when less
than a quarter of it is left.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from peer import control
from swarmpb.spec import RunSpec, preset
from tests.benchmarks.peer_figures import peers_of, steps_of, tokens_of, wait
from tests.e2e.processes import PeerProcess, home_in, serving

LOOK_SECONDS = 0.01
LEFT = 0.25
"""Of the memory; less than that is back."""
MIB = 2**20


@dataclass(frozen=True)
class Pause:
    """One of them, in seconds and bytes."""

    answered: float
    gone: float
    """Until trainer and p2pd had ended."""
    back: float
    """Until the memory was."""
    before: int
    after: int
    """When the small process answered."""
    again: float
    """From `peer resume` to the next inner step."""


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks pausing")
    parser.add_argument("--small", action="store_true", help="One pause of the small model.")
    small = parser.parse_args().small
    print("| model | pauses | answered s | memory back s, median (most) | MiB before | after |"
          " training again s |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, width, layers in (("one", 128, 5), ("thirty", 512, 8))[: 1 if small else 2]:
        print(row(measured(spec_of(name, width, layers), 1 if small else 5)), flush=True)


def spec_of(name: str, width: int, layers: int) -> RunSpec:
    """The demo with another model, in a run that does not end by itself."""
    values = preset("demo").model_dump()
    values["run_id"] = name
    values["model"]["config"] |= {
        "hidden_size": width, "intermediate_size": 43 * width // 16, "num_hidden_layers": layers,
    }  # fmt: skip
    values["stop"] = {"tokens": 10**12}
    return RunSpec.model_validate(values, strict=None)


def measured(spec: RunSpec, pauses: int) -> tuple[str, list[Pause]]:
    """What each of so many pauses of a peer took."""
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as folder,
        home_in(Path(folder)) as home,
        serving(home) as server,
    ):
        with peers_of(home, server, spec, "one", "two") as (one, two):
            one.start()
            two.start()
            seen = []
            for _ in range(pauses):
                before = tokens_of(one)
                wait(lambda before=before: tokens_of(one) > before and steps_of(one) > 0)  # type: ignore[misc]  # a default binds the loop's variable
                seen.append(pause(one))
        server.stop()
    return spec.run_id, seen


def pause(peer: PeerProcess) -> Pause:
    """Pause a peer that trains, and resume it."""
    family = [psutil.Process(peer.pid), *peer.children()]
    before = memory(family)
    began = time.monotonic()
    control.pause(peer.folder, 0)
    answered = time.monotonic() - began
    back = gone = 0.0
    while not (back and gone):
        if not back and memory(family) < LEFT * before:
            back = time.monotonic() - began
        if not gone and not any(lives(it) for it in family[1:]):
            gone = time.monotonic() - began
        time.sleep(LOOK_SECONDS)
    wait(lambda: rests(peer))
    after = memory(family[:1])
    resumed = time.monotonic()
    control.resume(peer.folder)
    wait(lambda: steps_of(peer) > 0)
    again = time.monotonic() - resumed
    return Pause(answered, gone, back, before, after, again)


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def rests(peer: PeerProcess) -> bool:
    status = peer.status()
    return status is not None and status.phase == "paused"


def memory(family: Iterable[psutil.Process]) -> int:
    """Bytes; those that are gone have none."""
    total = 0
    for process in family:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def row(found: tuple[str, list[Pause]]) -> str:
    name, seen = found
    backs = [max(it.back, it.gone) for it in seen]
    return (
        f"| {name} | {len(seen)} | {statistics.median(it.answered for it in seen):.2f} "
        f"| {statistics.median(backs):.2f} ({max(backs):.2f}) "
        f"| {statistics.median(it.before for it in seen) / MIB:.0f} "
        f"| {statistics.median(it.after for it in seen) / MIB:.0f} "
        f"| {statistics.median(it.again for it in seen):.1f} |"
    )
