"""Real coordinator and peers with paced trainers, at sites of a shaped network or on loopback."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil

from coordinator.config import ServeSettings
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from peer.averaging.state import GlobalState
from peer.checkpoint import Checkpoint
from peer.checkpoint_keeper import FoundCheckpoints
from swarmpb.endpoints import Endpoint
from swarmpb.signing import SigningKey
from swarmpb.spec import RoundSpec, RunSpec, preset
from swarmpb.v1 import coordinator_pb2
from tests.benchmarks.namespaces import Site
from tests.benchmarks.nursery import die_with_parent
from tests.benchmarks.paced_trainer import Account, Pace
from tests.e2e.processes import COORDINATOR, Home, Lines, PeerProcess, Server

REPOSITORY = Path(__file__).parents[2]
TOKENS_PER_STEP = 1024
"""Of the demo's batches, which paced runs keep."""
CODECS = tuple(name for name in get_args(RoundSpec.model_fields["codec"].annotation))
NEVER = 10**13
"""Tokens that no benchmark reaches."""


def share_of(accounts: Sequence[Account], begin: float, end: float, step_seconds: float) -> float:
    """Inner steps done between two moments (unix seconds), of those that they allow."""
    within = [it for it in accounts if begin <= it.at <= end]
    if len(within) < 2:
        raise SystemExit("the time measured is too short for a share")
    steps = within[-1].inner_steps - within[0].inner_steps
    return steps * step_seconds / (within[-1].at - within[0].at)


@dataclass(frozen=True)
class Round:
    """A committed round or a void try, as one peer has it in its journal."""

    peer: str
    round: int
    committed: bool
    reason: str
    digest: bytes
    seconds: float
    """From the call for the cut to the decision."""
    own_tokens: int
    bytes_sent: int
    members: int
    finished_at: float
    """Unix seconds."""


def run_of(run_id: str, **round_: Any) -> RunSpec:
    """A run that does not end by itself; `round_` replaces keys of the demo's rounds."""
    values = preset("demo").model_dump()
    values["run_id"] = run_id
    values["round"] |= round_
    values["stop"] = {"tokens": NEVER}
    return RunSpec.model_validate(values, strict=None)


class PacedPeer(PeerProcess):
    """A `peer join` with a paced trainer, at a site or on this machine's loopback."""

    MODULE = "tests.benchmarks.paced_peer"

    def __init__(
        self, home: Home, name: str, coordinator: str, run_id: str, pace: Pace, site: Site | None
    ) -> None:
        super().__init__(home, name, coordinator, run_id)
        self.pace = pace
        self._site = site

    @property
    def arguments(self) -> tuple[str, ...]:
        host = self._site.address if self._site else "127.0.0.1"
        return (*super().arguments, "--host", host)  # the last one counts

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        return self.home.environment() | self.pace.environment() | {"PYTHONPATH": path}

    def start(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", self.MODULE, *self.arguments, *arguments]
        self.process = subprocess.Popen(
            self._site.command(command) if self._site else command,
            start_new_session=True,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.home.started.append(self.process)
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def end(self) -> None:
        """Kill its processes, and wait until they are gone."""
        if self.alive:
            self.kill()

    def processor_seconds(self) -> float:
        """That its daemon and p2pd have used so far; the trainer's are its own."""
        daemon = psutil.Process(self.pid)
        used = [daemon, *(it for it in daemon.children() if it.name() == "p2pd")]
        return sum(sum(it.cpu_times()[:2]) for it in used)

    def accounts(self) -> list[Account]:
        """Where its trainer's time went, from the start on."""
        path = Path(self.pace.log)
        lines = path.read_text().splitlines() if path.exists() else []
        return [Account(**json.loads(line)) for line in lines if line.endswith("}")]


class PacedSwarm:
    """A coordinator and the peers of one run. Made by `paced_swarm`."""

    def __init__(self, home: Home, server: Server, sites: Sequence[Site]) -> None:
        self.home = home
        self.server = server
        self._sites = sites
        host = sites[-1].address if sites else "127.0.0.1"
        port = int(server.address.rpartition(":")[2])
        self._coordinator = str(Endpoint(host, port, server.link.endpoint.pin))

    def peer(self, run_id: str, index: int, values: int, step_seconds: float) -> PacedPeer:
        """A peer at the site `index`, not started."""
        name = f"{run_id}-{index}"
        pace = Pace(values, step_seconds, str(self.home.path / f"{name}.jsonl"))
        site = self._sites[index] if self._sites else None
        return PacedPeer(self.home, name, self._coordinator, run_id, pace, site)

    def give_state(self, peers: Sequence[PacedPeer]) -> None:
        """A checkpoint for each, all the same: nobody has to download what the run begins with."""
        values = peers[0].pace.values
        parameters = np.random.default_rng(0).standard_normal(values, np.float32)
        state = GlobalState(0, 0, parameters, np.zeros(values, np.float32))
        for peer in peers:
            peer.folder.mkdir(parents=True)
            FoundCheckpoints(peer.folder).store.begin().keep(Checkpoint(state))

    def rounds(self, run_id: str) -> list[Round]:
        """All that the peers have noted of their rounds, in the order in which those ended."""
        journals = self.home.path.glob(f"*/runs/{run_id}/journal.sqlite")
        told = [it for path in journals for it in _noted(path, path.parents[2].name)]
        return sorted(told, key=lambda it: it.finished_at)


def _noted(journal: Path, peer: str) -> list[Round]:
    with closing(sqlite3.connect(journal)) as database:
        if not database.execute("select 1 from sqlite_master where name = 'told'").fetchall():
            return []  # its peer is about to make it
        rows = database.execute("select content from told where sort = 0").fetchall()
    outcomes = [coordinator_pb2.RoundOutcome.FromString(content) for (content,) in rows]
    return [
        Round(
            peer=peer,
            round=it.round,
            committed=it.committed,
            reason=it.reason,
            digest=it.digest,
            seconds=it.seconds,
            own_tokens=it.own_tokens,
            bytes_sent=it.bytes_sent,
            members=it.members,
            finished_at=it.finished_at_ms / 1000,
        )
        for it in outcomes
    ]


def whole_rounds(told: Sequence[Round], peers: int) -> dict[int, list[Round]]:
    """By number, the committed rounds of which all peers have told."""
    found: dict[int, list[Round]] = {}
    for it in told:
        if it.committed:
            found.setdefault(it.round, []).append(it)
    return {number: its for number, its in found.items() if len(its) == peers}


@contextmanager
def running(peers: list[PacedPeer]) -> Iterator[list[PacedPeer]]:
    """Start these peers, and end them whatever happens."""
    try:
        for peer in peers:
            peer.start()
        yield peers
    finally:
        for peer in peers:
            peer.end()


@contextmanager
def benchmark_home() -> Iterator[Home]:
    """Folders that go in the end, with all processes that were started from there."""
    with tempfile.TemporaryDirectory(prefix="mb-") as folder:
        home = Home(Path(folder))
        try:
            yield home
        finally:
            home.end_strays()
            for process in home.started:
                process.wait()


@contextmanager
def paced_swarm(
    home: Home, runs: Sequence[RunSpec], sites: Sequence[Site] = ()
) -> Iterator[PacedSwarm]:
    """A coordinator of `runs` at the last of `sites`, on loopback without any."""
    _register(home, runs)
    host = "0.0.0.0" if sites else "127.0.0.1"  # noqa: S104  of its own namespace
    ports = ("--grpc-port", "0", "--p2p-port", "0", "--http-port", "0")
    command = [str(COORDINATOR), "serve", "--host", host, *ports]
    process = subprocess.Popen(
        sites[-1].command(command) if sites else command,
        env=home.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # before the first thread of this process
    )
    home.started.append(process)
    try:
        yield PacedSwarm(home, Server(process), sites)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:  # a test may have read it to its end
                stream.close()


def _register(home: Home, runs: Sequence[RunSpec]) -> None:
    """As `coordinator run create` does, but before the coordinator starts, and in no time."""
    home.state.mkdir(parents=True)
    store = Store.open(ServeSettings(home.state, home.path / "owner.key").database)
    try:
        service, key = CoordinatorService(store), SigningKey.load_or_create(home.path / "owner.key")
        for spec in runs:
            service.register(sign(spec, key))
    finally:
        store.close()
