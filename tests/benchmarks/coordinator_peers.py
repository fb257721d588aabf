"""Simulated peers of a coordinator under load: a process of its own, told what to do in JSON.

`python -m tests.benchmarks.coordinator_peers ORDER`, until standard input closes. Each peer has an
identity, a journal and a moment in the interval at which it reports, whatever became of its last
report (*open loop*): a coordinator that stalls is not spared, and latency counts from the moment
at which the report was due, so that what waits in this process counts too. Reports are built and
signed shortly before. A round ends for all peers at once, and each tells it with its next report,
as `peer.reporter` does.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, swarm_pb2
from tests.benchmarks.coordinator_identities import load

AHEAD_SECONDS = 0.1
"""A report is signed so long before it is due."""
CALL_SECONDS = 5.0
"""As of a real peer."""
_ROWS_A_REPORT = 256
_MEMBERS = 4096
"""The most that a report may name."""


@dataclass(frozen=True)
class Order:
    """What a process of peers is to do. JSON carries it."""

    address: str
    run_id: str
    identities: list[str]
    peers: int
    interval: float
    round_seconds: float
    begin_at: float
    """Seconds of the monotonic clock, which all processes share; so all times here."""
    channels: int
    out: str
    """A file without its ending: `.npz` and `.json` are written."""
    seed: int = 1


@dataclass
class Peer:
    """One of them."""

    index: int
    identity: PeerIdentity
    taken_row: int = 0
    sequence: int = 0


@dataclass
class Log:
    """What happened, in columns."""

    due: array[float] = field(default_factory=lambda: array("d"))
    late: array[float] = field(default_factory=lambda: array("d"))
    """Seconds from when a report was due to when it was sent,"""
    latency: array[float] = field(default_factory=lambda: array("d"))
    """and to its answer; NaN: there was none."""
    failed: array[float] = field(default_factory=lambda: array("d"))
    """When each call that failed did."""
    peer: array[int] = field(default_factory=lambda: array("l"))
    """Answers:"""
    answered: array[float] = field(default_factory=lambda: array("d"))
    sequence: array[int] = field(default_factory=lambda: array("q"))
    row: array[int] = field(default_factory=lambda: array("q"))
    failures: Counter[str] = field(default_factory=Counter)
    taken_back: int = 0
    """Answers that took an acknowledgement back: the coordinator had lost what it had taken."""
    rows_told: int = 0
    bytes_sent: int = 0
    report_seconds: Counter[float] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def save(self, out: str) -> None:
        columns = ("due", "late", "latency", "failed", "peer", "answered", "sequence", "row")
        found: dict[str, Any] = {name: np.array(getattr(self, name)) for name in columns}
        np.savez(f"{out}.npz", **found)
        told = {
            "failures": self.failures,
            "taken_back": self.taken_back,
            "rows_told": self.rows_told,
            "bytes_sent": self.bytes_sent,
            "report_seconds": self.report_seconds,
            "cpu_seconds": time.process_time(),
            "wall_seconds": time.monotonic() - self.started,
        }
        Path(f"{out}.json").write_text(json.dumps(told))


class Peers:
    """All peers of this process, and their channels."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._log = Log()
        files = [Path(path) for path in order.identities]
        self._peers = [Peer(at, it) for at, it in enumerate(load(files, order.peers))]
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 5000))
        self._channels = [
            grpc.aio.insecure_channel(order.address, options=options) for _ in range(order.channels)
        ]
        self._stubs: list[coordinator_pb2_grpc.CoordinatorAsyncStub] = [
            coordinator_pb2_grpc.CoordinatorStub(channel) for channel in self._channels
        ]
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> Log:
        """Report until told to stop."""
        for number, (due, peer) in enumerate(_plan(self._order, self._peers)):
            if stop.is_set():
                break
            wait = due - AHEAD_SECONDS - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % 4 == 0:
                await asyncio.sleep(0)  # signing must not keep answers from being read
            task = asyncio.create_task(self._report(peer, due, *self._sealed(peer, due)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if self._under_way:
            await asyncio.wait(self._under_way)
        for channel in self._channels:
            await channel.close()
        return self._log

    async def _report(
        self, peer: Peer, due: float, sequence: int, last_row: int, envelope: swarm_pb2.Envelope
    ) -> None:
        log = self._log
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late = time.monotonic() - due
        stub = self._stubs[peer.index % len(self._stubs)]
        try:
            reply = await stub.Report(envelope, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            latency = float("nan")
            log.failures[error.code().name] += 1
            log.failed.append(time.monotonic())
        else:
            now = time.monotonic()
            latency = now - due
            log.peer.append(peer.index)
            log.answered.append(now)
            log.sequence.append(sequence)
            log.row.append(reply.taken_row)
            log.taken_back += reply.taken_row < peer.taken_row
            log.rows_told += max(0, min(last_row, reply.taken_row) - peer.taken_row)
            peer.taken_row = reply.taken_row
            # the field is newer than this file on some branches
            log.report_seconds[getattr(reply, "report_seconds", 0.0)] += 1
        log.due.append(due)
        log.late.append(late)
        log.latency.append(latency)

    def _sealed(self, peer: Peer, due: float) -> tuple[int, int, swarm_pb2.Envelope]:
        """Its sequence, its last row of the journal, and the signed report."""
        peer.sequence = max(peer.sequence + 1, int(time.time() * 1000))
        ended = int((due - self._order.begin_at) // self._order.round_seconds)
        report = _report(self._order, peer, ended)
        envelope = peer.identity.seal("report", report.SerializeToString())
        self._log.bytes_sent += envelope.ByteSize()
        return peer.sequence, report.last_row, envelope


def _plan(order: Order, peers: list[Peer]) -> Iterator[tuple[float, Peer]]:
    """When which peer reports: each at a moment of its own in the interval, drawn once."""
    chance = random.Random(order.seed)
    firsts = sorted((chance.random() * order.interval, peer.index) for peer in peers)
    turn = 0
    while True:
        for offset, index in firsts:
            yield order.begin_at + turn * order.interval + offset, peers[index]
        turn += 1


def _report(order: Order, peer: Peer, ended: int) -> coordinator_pb2.ProgressReport:
    """What a peer of a run with so many rounds says now: every field that a real one fills."""
    peer_id, taken = peer.identity.peer_id, peer.taken_row
    last = min(ended, taken + _ROWS_A_REPORT)
    report = coordinator_pb2.ProgressReport(
        run_id=order.run_id,
        peer_id=peer_id,
        sequence=peer.sequence,
        written_at_ms=int(time.time() * 1000),
        phase="training",
        reason=f"round {ended + 1}: {peer.index % 60} s until it is due",
        round=ended,
        digest=digest_of(ended),
        tokens=1000 * ended,
        pending_tokens=500,
        tokens_per_second=50.0 + peer.index % 100,
        train_loss=2.0 + 0.001 * (peer.index % 100),
        name=f"volunteer-{peer.index}",
        version="0.1.0",
        journal=peer_id[-16:].encode(),
        addresses=[f"/ip4/10.{peer.index >> 8 & 255}.{peer.index & 255}.1/tcp/4001/p2p/{peer_id}"],
        coverage=coordinator_pb2.Coverage(
            round=ended, pass_chunks=10**9, merged_once=order.peers * ended
        ),
        hardware=coordinator_pb2.Hardware(
            processor="Ryzen 7 7840U", cores=8, memory_bytes=32 << 30, system="Linux"
        ),
        link=swarm_pb2.Link(upload=2_000_000, download=10_000_000),
        reach="direct",
    )
    if ended > taken:
        report.after_row, report.last_row = taken, last
        report.rounds.extend(_outcome(order, number) for number in range(taken + 1, last + 1))
    return report


def _outcome(order: Order, number: int) -> coordinator_pb2.RoundOutcome:
    return coordinator_pb2.RoundOutcome(
        round=number,
        attempt=digest_of(-number),
        committed=True,
        digest=digest_of(number),
        run_tokens=1000 * order.peers * number,
        own_tokens=1000,
        bytes_sent=4_000_000,
        bytes_received=4_000_000,
        seconds=4.2,
        members=min(order.peers, _MEMBERS),
        finished_at_ms=int(time.time() * 1000),
        train_loss=2.0,
        included=True,
        round_seconds=order.round_seconds,
    )


def digest_of(number: int) -> bytes:
    """A name of 32 bytes."""
    return hashlib.sha256(str(number).encode()).digest()


def order_text(order: Order) -> str:
    """As `main` reads it."""
    return json.dumps(asdict(order))


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    uvloop.install()
    log = asyncio.run(_run(order))
    log.save(order.out)


async def _run(order: Order) -> Log:
    peers = Peers(order)
    # a collection of a generation with 10,000 peers in it would be taken for the coordinator's
    gc.freeze()
    return await peers.run(until_stdin_closes())


def until_stdin_closes() -> asyncio.Event:
    """Set once whoever started this process has closed its end, or is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def closed() -> None:
        stop.set()
        loop.remove_reader(sys.stdin)

    loop.add_reader(sys.stdin, closed)
    return stop


if __name__ == "__main__":
    main()
