"""Do all peers hold the same bits after every round, while peers are killed and join?

`python -m tests.benchmarks agreement [--small] [--out FOLDER]`. For each lossy codec five real
peers on loopback (`witnessed_peer.py`) make 200 rounds. Every ten rounds one of them is ended
with SIGKILL, and five rounds later another joins. All digests of a round must be one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from peer.averaging.codec_names import codec_named
from tests.benchmarks.agreement_report import HEADER, Result, draw, line
from tests.benchmarks.paced_swarm import CODECS, PacedSwarm, benchmark_home, paced_swarm, run_of
from tests.benchmarks.processes import BenchmarkProcess, Nursery, nursery
from tests.benchmarks.witnessed_peer import WITNESS

PEERS = 5
CHANGE_ROUNDS = 10
"""A peer is killed in so many rounds, and one joins half as many later."""
VALUES = 20_000
STEP_SECONDS = 0.05
_SILENCE_SECONDS = 90.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    codecs: tuple[str, ...]
    rounds: int


FULL = Plan(tuple(name for name in CODECS if codec_named(name).lossy), 200)
SMALL = Plan(("int8",), 12)


@dataclass
class Witness:
    """A peer and what it has written down."""

    name: str
    process: BenchmarkProcess
    log: Path
    held: ExitStack
    started: float
    joined_late: bool
    notes: list[dict[str, Any]] = field(default_factory=list)
    killed: bool = False
    _read: int = 0

    def read(self) -> None:
        """Take the new lines of its log."""
        if not self.log.exists():
            return
        with self.log.open() as file:
            file.seek(self._read)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self.notes.append(json.loads(line))
                self._read += len(line)

    def states(self) -> Iterator[dict[str, Any]]:
        return (note for note in self.notes if "digest" in note)

    @property
    def round(self) -> int:
        return max((note["round"] for note in self.states()), default=-1)

    def until(self, *hows: str) -> float | None:
        """Seconds from its start to the first note of one of these kinds."""
        first = next((note["at"] for note in self.notes if note["how"] in hows), None)
        return None if first is None else first - self.started

    def kill(self) -> None:
        """SIGKILL to the daemon alone; trainer and p2pd notice."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.killed = True
        self.held.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks agreement")
    parser.add_argument("--small", action="store_true", help="12 rounds of int8")
    parser.add_argument("--out", type=Path, help="folder for agreement.json and agreement.png")
    arguments = parser.parse_args()
    plan = SMALL if arguments.small else FULL
    print(HEADER, flush=True)
    results = []
    for result in measure(plan):
        results.append(result)
        print(line(result), flush=True)
    for result in results:
        for told in (*result.disagreements, *result.void_reasons):
            print(f"{result.codec}: {told}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(result) for result in results], indent=2)
        (arguments.out / "agreement.json").write_text(text + "\n")
        draw(results, arguments.out / "agreement.png")
    if any(result.disagreements for result in results):
        raise SystemExit("peers disagreed")


def measure(plan: Plan) -> Iterator[Result]:
    """One result for each codec, as they are measured."""
    runs = {
        codec: run_of(
            f"agree-{codec}",
            codec=codec,
            target_tokens=1024,
            min_seconds=0.1,
            max_seconds=0.2,
            exchange_seconds=3,
            min_peers=3,
        )
        for codec in plan.codecs
    }
    with benchmark_home() as home:
        home.temporary.mkdir()
        with (
            paced_swarm(home, list(runs.values())) as swarm,
            nursery(home.temporary, "witnessed_peer") as forks,
        ):
            for codec, spec in runs.items():
                with _Swarm(swarm, forks, spec.run_id).open() as peers:
                    yield peers.measured(codec, plan.rounds)


class _Swarm:
    """The peers of one run, dead ones included."""

    def __init__(self, swarm: PacedSwarm, forks: Nursery, run_id: str) -> None:
        self.witnesses: list[Witness] = []
        self._swarm = swarm
        self._forks = forks
        self._run_id = run_id
        self._random = Random(run_id)

    @contextmanager
    def open(self) -> Iterator[_Swarm]:
        try:
            for _ in range(PEERS):
                self.join(late=False)
            yield self
        finally:
            for it in self.alive:
                it.held.close()

    @property
    def alive(self) -> list[Witness]:
        return [it for it in self.witnesses if not it.killed]

    def join(self, late: bool = True) -> None:
        peer = self._swarm.peer(self._run_id, len(self.witnesses), VALUES, STEP_SECONDS)
        log = self._swarm.home.path / f"{peer.name}.witness.jsonl"
        held = ExitStack()
        null = os.open(os.devnull, os.O_RDONLY)
        held.callback(os.close, null)
        (process,) = held.enter_context(self._forks.processes(1, "witnessed_peer", "run", null))
        environment = peer.environment() | {WITNESS: str(log)}
        process.tell(arguments=peer.arguments, environment=environment)
        self.witnesses.append(Witness(peer.name, process, log, held, time.time(), late))

    def kill(self) -> None:
        """One of those that have averaged, at random, wherever it is in its round."""
        working = [it for it in self.alive if it.until("merged") is not None]
        self._random.choice(working or self.alive).kill()

    def measured(self, codec: str, rounds: int) -> Result:
        """Make so many rounds, with deaths and joins between them."""
        self._wait_for(1)
        began = time.time()
        killed = 0
        for number in range(1, rounds // CHANGE_ROUNDS + 1):
            self._wait_for(number * CHANGE_ROUNDS - CHANGE_ROUNDS // 2)
            self.kill()
            killed += 1
            self._wait_for(number * CHANGE_ROUNDS)
            self.join()
        self._wait_for(rounds)
        ended = time.time()
        self._wait_for(rounds, all)
        self._wait_for_newcomers()
        return self._result(codec, rounds, killed, ended - began)

    def _wait_for(self, round_: int, who: Any = any) -> None:
        """Until one peer, or all, are at a round."""
        best, since = -1, time.monotonic()
        while not who(it.round >= round_ for it in self.alive):
            for it in self.alive:
                it.read()
            now = max(it.round for it in self.alive)
            if now > best:
                best, since = now, time.monotonic()
            if time.monotonic() - since > _SILENCE_SECONDS:
                raise SystemExit(f"no round for {_SILENCE_SECONDS:.0f} s at {best}: {self._told()}")
            time.sleep(_POLL_SECONDS)

    def _wait_for_newcomers(self) -> None:
        """Until the last that joined have averaged too."""
        deadline = time.monotonic() + _SILENCE_SECONDS
        while time.monotonic() < deadline:
            for it in self.alive:
                it.read()
            if all(it.until("merged") is not None for it in self.alive):
                return
            time.sleep(_POLL_SECONDS)

    def _told(self) -> str:
        return "\n".join(f"{it.name}: {it.notes[-3:]}" for it in self.alive)

    def _result(self, codec: str, rounds: int, killed: int, seconds: float) -> Result:
        for it in self.witnesses:
            it.read()
        digests: dict[int, dict[str, list[str]]] = {}
        voids: dict[str, str] = {}
        followed = states = 0
        for it in self.witnesses:
            for note in it.notes:
                if "digest" not in note:
                    voids.setdefault(note["attempt"], note["reason"])
                elif 1 <= note["round"] <= rounds:
                    holders = digests.setdefault(note["round"], {})
                    holders.setdefault(note["digest"], []).append(it.name)
                    states += 1
                    followed += note["how"] in ("followed", "began")
        committed = {note.get("attempt") for it in self.witnesses for note in it.states()}
        late = [it for it in self.witnesses if it.joined_late]
        return Result(
            codec=codec,
            rounds=rounds,
            agreed=sum(len(digests.get(number, {})) == 1 for number in range(1, rounds + 1)),
            states=states,
            followed=followed,
            killed=killed,
            join_seconds=_known(it.until("began", "followed") for it in late),
            merge_seconds=_known(it.until("merged") for it in late),
            void=len(voids.keys() - committed),
            void_reasons=tuple(sorted(set(voids.values()))),
            seconds=seconds,
            disagreements=tuple(
                f"round {number}: {holders}"
                for number, holders in sorted(digests.items())
                if len(holders) > 1
            ),
        )


def _known(values: Any) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)
