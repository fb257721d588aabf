"""Real peers under a plan of faults: starts them, follows their rounds, lets the plan happen.

What hits a peer at a point of its protocol it does itself (`faulty_peer.py`); what comes from
outside (SIGKILL, SIGSTOP, SIGTERM, starts, a split network) is done here, by rounds as the peers
write them down.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.benchmarks.namespaces import Sites
from tests.benchmarks.processes import BenchmarkProcess, Nursery
from tests.faults.plan import Fault, Freeze, Join, Kill, Leave, Plan, Return, Split, parse

_SILENCE_SECONDS = 90.0
_POLL_SECONDS = 0.05


@dataclass
class Event:
    """Something of the plan that has happened."""

    at: float
    """Unix seconds."""
    fault: str
    """Its line in the plan."""
    over: float = 0.0
    """When a peer could go on: it was woken, started, or the network healed. 0: not at all."""


@dataclass
class Life:
    """One process of a peer, from its start to whatever ended it."""

    process: BenchmarkProcess
    held: ExitStack
    started: float


@dataclass
class ChurnPeer:
    """A peer of the plan, over all its lives."""

    number: int
    name: str
    folder: Path
    notes: list[dict[str, Any]] = field(default_factory=list)
    """What it wrote down, see `witnessed_peer`."""
    life: Life | None = None
    starts: list[float] = field(default_factory=list)
    _read: int = 0

    @property
    def witness(self) -> Path:
        return self.folder / f"{self.name}.witness.jsonl"

    @property
    def steps(self) -> Path:
        return self.folder / f"{self.name}.steps.jsonl"

    @property
    def round(self) -> int:
        """The last one that it has written down in this life."""
        since = self.starts[-1] if self.starts else 0.0
        states = (it for it in self.notes if "round" in it and it["at"] >= since)
        return max((it["round"] for it in states), default=-1)

    def notes_of(self, how: str) -> list[dict[str, Any]]:
        """Of one kind, in this life."""
        return [it for it in self.notes if it["how"] == how and it["at"] >= self.starts[-1]]

    @property
    def connected(self) -> bool:
        return bool(self.notes_of("connected"))

    def read(self) -> list[dict[str, Any]]:
        """Take the new lines of its file."""
        fresh: list[dict[str, Any]] = []
        if self.witness.exists():
            with self.witness.open() as file:
                file.seek(self._read)
                for line in iter(file.readline, ""):
                    if not line.endswith("\n"):
                        break
                    fresh.append(json.loads(line))
                    self._read += len(line)
        self.notes += fresh
        return fresh

    def inner_steps(self) -> list[tuple[float, float]]:
        """Beginning and end of each inner step, unix seconds, over all lives."""
        if not self.steps.exists():
            return []
        lines = self.steps.read_text().splitlines()
        return [tuple(json.loads(line)) for line in lines if line.endswith("]")]


class Launcher(Protocol):
    """What the processes of a swarm are."""

    @property
    def module(self) -> str:
        """Its `run` is the process, forked by `nursery.py`."""

    def order(self, peer: ChurnPeer, up: list[ChurnPeer], faults: list[str]) -> dict[str, Any]:
        """What a process is told: it joins those that are up, and meets these faults itself."""


class ChurnSwarm:
    """Peers and the plan that they meet. Made by `churn_swarm`."""

    def __init__(self, launcher: Launcher, forks: Nursery, sites: Sites | None, plan: Plan) -> None:
        self.peers: dict[int, ChurnPeer] = {}
        self.events: list[Event] = []
        self.ended: list[str] = []
        """Peers that nothing had hit, and their last words."""
        self.plan = plan
        self._launcher = launcher
        self._forks = forks
        self._sites = sites
        self._outside = plan.from_outside()
        self._to_wake: list[tuple[float, ChurnPeer, Event]] = []
        self._split: tuple[Split, Event] | None = None

    # ---- a peer's lives ----------------------------------------------------------------

    def start(self, peer: ChurnPeer) -> None:
        happened = {it.fault for it in self.events}
        points = (str(it) for it in self.plan.at_points(peer.number))
        order = self._launcher.order(peer, self.up, [it for it in points if it not in happened])
        held = ExitStack()
        null = os.open(os.devnull, os.O_RDONLY)
        held.callback(os.close, null)
        module = self._launcher.module
        (process,) = held.enter_context(self._forks.processes(1, module, "run", null))
        peer.life = Life(process, held, time.time())
        peer.starts.append(peer.life.started)
        process.tell(**order)

    def _end(self, peer: ChurnPeer) -> None:
        """What is left of a life goes."""
        if peer.life is not None:
            peer.life.held.close()
            peer.life = None

    def end(self) -> None:
        for peer in self.peers.values():
            self._end(peer)

    @property
    def up(self) -> list[ChurnPeer]:
        return [peer for peer in self.peers.values() if peer.life is not None]

    @property
    def round(self) -> int:
        return max((peer.round for peer in self.up), default=-1)

    # ---- the plan ----------------------------------------------------------------------

    def play(self, rounds: int, seconds: float) -> bool:
        """Until all that are up have made so many rounds; False if that takes too long.

        `SystemExit` if no round comes any more.
        """
        deadline = time.monotonic() + seconds
        best, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            self._look()
            if self._done(rounds):
                return True
            if self.round > best:
                best, since = self.round, time.monotonic()
            if time.monotonic() - since > _SILENCE_SECONDS or not self.up:
                raise SystemExit(f"stuck at round {best}:\n{self.told()}")
            time.sleep(_POLL_SECONDS)
        return False

    def _done(self, rounds: int) -> bool:
        return not self._to_wake and self._split is None and bool(self.up) and all(
            any(it["how"] == "merged" and it["round"] >= rounds for it in peer.notes)
            for peer in self.up
        )  # fmt: skip

    def _look(self) -> None:
        """Read what is new, and let happen what is due."""
        for peer in self.peers.values():
            for note in peer.read():
                if note["how"] == "struck":
                    self._struck(peer, note)
        for peer in self.up:
            if peer.life is not None and not _runs(peer.life.process.pid):
                self.ended.append(f"{peer.name} ended by itself: {peer.life.process.told()}")
                self._end(peer)
        now = time.time()
        for entry in [it for it in self._to_wake if it[0] <= now]:
            self._to_wake.remove(entry)
            self._wake(*entry[1:])
        if self._split and self.round >= self._split[0].round + self._split[0].rounds:
            self._heal()
        for fault in [it for it in self._outside if it.round <= self.round]:
            if isinstance(fault, Return) and self.peers[fault.peer].life is not None:
                continue  # it has not been killed yet
            self._outside.remove(fault)
            self._carry_out(fault)

    def _struck(self, peer: ChurnPeer, note: dict[str, Any]) -> None:
        """A peer has met its fault."""
        event = Event(note["at"], note["fault"])
        self.events.append(event)
        (fault,) = parse(note["fault"]).faults
        if isinstance(fault, Freeze):
            self._to_wake.append((event.at + fault.seconds, peer, event))
        else:
            self._end(peer)

    def _carry_out(self, fault: Fault) -> None:
        event = Event(time.time(), str(fault))
        self.events.append(event)
        if isinstance(fault, Split):
            self._cut_apart(fault, event)
            return
        peer = self.peers[fault.peer]
        if isinstance(fault, Join | Return):
            self.start(peer)
            event.over = time.time()
            return
        if peer.life is None:
            return  # it has ended by itself, which its figures show
        if isinstance(fault, Kill):
            os.kill(peer.life.process.pid, signal.SIGKILL)
            self._end(peer)
        elif isinstance(fault, Leave):
            os.kill(peer.life.process.pid, signal.SIGTERM)
            self._wait_for_the_end(peer)
        else:
            os.killpg(peer.life.process.pid, signal.SIGSTOP)
            self._to_wake.append((event.at + fault.seconds, peer, event))

    def _wait_for_the_end(self, peer: ChurnPeer) -> None:
        """Of one who leaves; it has ten seconds for it."""
        assert peer.life is not None
        gone = time.monotonic() + 12
        while time.monotonic() < gone and _runs(peer.life.process.pid):
            time.sleep(_POLL_SECONDS)
        self._end(peer)

    def _wake(self, peer: ChurnPeer, event: Event) -> None:
        if peer.life is not None:
            with suppress(ProcessLookupError):
                os.killpg(peer.life.process.pid, signal.SIGCONT)
            event.over = time.time()

    def _cut_apart(self, fault: Split, event: Event) -> None:
        if self._sites is None:
            raise SystemExit("a split needs network namespaces")
        sides = fault.all_sides(len(self.peers))
        self._split = fault, event
        # the coordinator and who is not named stay with the last side
        self._sites.split(sides[-1], *sides[:-1])

    def _heal(self) -> None:
        assert self._sites is not None
        assert self._split is not None
        self._sites.heal()
        self._split[1].over = time.time()
        self._split = None

    def told(self) -> str:
        """The last that is known, for whoever wonders why nothing goes on."""
        lines = [f"{it.name}: round {it.round}, {it.notes[-3:]}" for it in self.up]
        return "\n".join([*lines, *(str(it) for it in self.events[-6:]), *self.ended])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def churn_swarm(
    launcher: Launcher, forks: Nursery, sites: Sites | None, plan: Plan, names: Sequence[str]
) -> Iterator[ChurnSwarm]:
    """The peers of a plan, those that begin it started; all are ended on exit."""
    made = ChurnSwarm(launcher, forks, sites, plan)
    try:
        for number, name in enumerate(names):
            made.peers[number] = ChurnPeer(number, name, forks.folder)
        for number, peer in made.peers.items():
            if number not in plan.late:
                made.start(peer)
        yield made
    finally:
        made.end()
