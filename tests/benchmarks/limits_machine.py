"""Processor, memory and disk on a real peer that trains beside another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from peer.limits.settings import processors_here
from peer.limits.units import bytes_text, parse_bytes
from peer.local_runs import disk_bytes
from peer.training.resident import resident, together
from tests.benchmarks.limits_report import Row
from tests.e2e.processes import PeerProcess, create_run, home_in, start_server
from tests.tiny import tiny_config, tiny_spec

WINDOW_SECONDS = 10.0
POLL_SECONDS = 0.5
_MODEL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}
_SPEC: dict[str, Any] = {
    "model": {"architecture": "LlamaForCausalLM", "config": tiny_config(**_MODEL)},
    "inner": {"batch_size": 32},
    "data": {"sequence_length": 64},
    "round": {"target_tokens": 40_000, "min_seconds": 4, "max_seconds": 8},
    "stop": {"tokens": 10**12},
}


def processor_rows(small: bool) -> Iterator[Row]:
    """Processor time of daemon, trainer and p2pd, rounds included."""
    there = processors_here()
    for processors in (1.0,) if small else (0.25, 0.5, 1.0, 1.5):
        if processors > there:
            continue
        set_to = f"{processors:g} processor{'s' if processors > 1 else ''}"
        options = ("--processor", set_to, "--threads", str(there), "--niceness", "0")
        with limited(*options) as peer:
            found = _windows(peer, 30.0 if small else 60.0)
        mean = sum(found) / len(found)
        measured = f"{mean:.2f}, {min(found):.2f} to {max(found):.2f} processors"
        how = f"{len(found)} windows of 10 s, all processes of the peer, of {there} processors"
        yield Row("processor", set_to, measured, how)


def memory_rows(small: bool) -> Iterator[Row]:
    """The most that daemon, trainer and p2pd have taken at once."""
    free = _most_memory("64 GB", 20.0)
    yield Row("memory", "none", bytes_text(free), "private memory at the most, a whole batch")
    # what the processes take without a model is most of it here; the activations are what bends
    for share in (0.95,) if small else (0.97, 0.95, 0.92):
        limit = bytes_text(free * share)
        found = _most_memory(limit, 30.0)
        over = found / parse_bytes(limit) - 1
        how = f"{over:+.0%} of the limit, after smaller micro-batches"
        yield Row("memory", limit, bytes_text(found), how)


def disk_rows(small: bool) -> Iterator[Row]:
    """The run's folder after checkpoints of many rounds."""
    for limit in ("8 MB",) if small else ("none", "16 MB", "8 MB", "2 MB"):
        options = () if limit == "none" else ("--disk", limit)
        with limited(*options) as peer:
            most = 0
            ends = time.monotonic() + (70 if small else 130)
            while time.monotonic() < ends:
                most = max(most, disk_bytes(peer.folder))
                time.sleep(POLL_SECONDS)
            kept = len(list((peer.folder / "checkpoints").iterdir()))
        yield Row("disk", limit, bytes_text(most), f"the most in the run's folder; kept: {kept}")


@contextmanager
def limited(*options: str) -> Iterator[PeerProcess]:
    """A peer with these limits that has been in a round, beside one without."""
    with TemporaryDirectory() as place, home_in(Path(place)) as home:
        server = start_server(home)
        create_run(home, server.address, tiny_spec(**_SPEC))
        held, free = (PeerProcess(home, it, server.address, "tiny") for it in ("held", "free"))
        try:
            held.start(*options)
            free.start("--processor", "30%")
            held.until(lambda it: it.round > 0 and it.tokens > 0, 180, "a round")
            yield held
        finally:
            for peer in (held, free):
                if peer.alive:
                    peer.send(15)
                    peer.wait(15)
            server.stop()


def _windows(peer: PeerProcess, seconds: float) -> list[float]:
    """Processors in use in every window of ten seconds."""
    seen = [(time.monotonic(), _spent(peer.pid))]
    while seen[-1][0] < seen[0][0] + seconds:
        time.sleep(POLL_SECONDS)
        seen.append((time.monotonic(), _spent(peer.pid)))
    found = []
    for begin, before in seen:
        ends = [it for it in seen if it[0] >= begin + WINDOW_SECONDS]
        if ends:
            end, after = ends[0]
            found.append((after - before) / (end - begin))
    return found


def _family(pid: int) -> list[psutil.Process]:
    daemon = psutil.Process(pid)
    return [daemon, *daemon.children(recursive=True)]


def _spent(pid: int) -> float:
    return sum(times.user + times.system for times in (it.cpu_times() for it in _family(pid)))


def _most_memory(limit: str, seconds: float) -> float:
    with limited("--memory", limit) as peer:
        time.sleep(seconds / 2)  # what is too much is noticed, and mended
        most, ends = 0, time.monotonic() + seconds
        while time.monotonic() < ends:
            most = max(most, together([resident(it.pid) for it in _family(peer.pid)]))
            time.sleep(POLL_SECONDS)
        return most
