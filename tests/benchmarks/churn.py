"""Machines come and go: is anything lost, does anybody wait, does it train as well?

`python -m tests.benchmarks churn [--small] [--out FOLDER]`. Eight real peers with a small real
model make 60 rounds, each at a site of a network of its own: undisturbed, under a tape of faults
drawn from a seed, and a blocking loop of hivemind's under the same tape. Runs that lie in FOLDER
are not made again. Needs root, iproute2 and, for the rival, nothing more.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from swarmpb.spec import RunSpec, preset
from tests.benchmarks.churn_figures import Figures, figures
from tests.benchmarks.churn_launchers import OurPeers, RivalPeers
from tests.benchmarks.churn_report import HEADER, draw, line, summary
from tests.benchmarks.churn_rounds import Happened, Story
from tests.benchmarks.churn_swarm import ChurnSwarm, churn_swarm
from tests.benchmarks.namespaces import NoNamespacesError, Sites, sites
from tests.benchmarks.paced_swarm import NEVER, benchmark_home, paced_swarm
from tests.benchmarks.processes import nursery
from tests.faults.plan import Plan, Split, parse
from tests.faults.tapes import tape

STEP_SECONDS = 0.2
BATCH, LENGTH = 4, 64
PARAMETERS = 123_712
STATE_BYTES = 8 * PARAMETERS
JOINER_MEGABITS = 4.0
"""Each way, of the peers that join late: so that the state takes them two seconds."""
Measured = tuple[Figures, Sequence[Story]]
_RUN_SECONDS = 500.0
_RIVAL_SECONDS = 200.0
"""As long as ours take for all their rounds."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    peers: int
    rounds: int
    round_tokens: int
    seeds: tuple[int, ...]
    conditions: tuple[str, ...]
    plan: str = ""
    """The faults; empty: a tape from the seed."""

    def tape(self, seed: int) -> Plan:
        if self.plan:
            return parse(self.plan, self.peers)
        return tape(seed, self.peers, self.rounds)


FULL = Scale(8, 60, 20_480, (1, 2, 3), ("undisturbed", "tape", "hivemind"))
SMALL = Scale(
    4,
    8,
    6_144,
    (1,),
    ("tape",),
    """
    kill peer 1 at round 2 after sending half its parts
    return peer 1 at round 3
    freeze peer 2 at round 4 for 2 s
    join peer 3 at round 5
    """,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks churn")
    parser.add_argument("--small", action="store_true", help="4 peers, 8 rounds, 3 faults")
    parser.add_argument("--seed", type=int, action="append", help="only these tapes")
    parser.add_argument("--condition", action="append", choices=FULL.conditions, help="only these")
    parser.add_argument("--out", type=Path, help="folder for churn.json, churn.png and each run")
    arguments = parser.parse_args()
    scale = SMALL if arguments.small else FULL
    scale = replace(
        scale,
        seeds=tuple(arguments.seed or scale.seeds),
        conditions=tuple(arguments.condition or scale.conditions),
    )
    print(HEADER, flush=True)
    results = []
    for result in measure(scale, arguments.out):
        results.append(result)
        print(line(result), flush=True)
    print(summary(results))
    if arguments.out:
        text = json.dumps([asdict(result) for result in results], indent=2)
        (arguments.out / "churn.json").write_text(text + "\n")
        draw(results, arguments.out / "churn.png")
    for told in (said for result in results for said in result.ended):
        print(told)
    if any(result.disagreements for result in results):
        raise SystemExit("peers disagreed")


def measure(scale: Scale, folder: Path | None) -> Iterator[Figures]:
    """One result for each seed and condition, as they are measured or found in `folder`."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for seed in scale.seeds:
        for condition in scale.conditions:
            kept = folder / f"{condition}-{seed}.json" if folder else None
            if kept and kept.exists():
                yield Figures(**json.loads(kept.read_text()))
                continue
            result, stories = _measured(scale, condition, seed)
            if kept:
                notes = {it.number: list(it.notes) for it in stories}
                kept.with_suffix(".notes.json").write_text(json.dumps(notes))
                kept.write_text(json.dumps(asdict(result), indent=2) + "\n")
            yield result


def _measured(scale: Scale, condition: str, seed: int) -> Measured:
    plan = scale.tape(seed)
    if condition == "undisturbed":
        # the same peers from the beginning, and nothing happens
        plan = Plan()
    with _network(scale.peers + 1, plan) as net:
        if net:
            for number in plan.late:
                net.shape(number, JOINER_MEGABITS)
        measured = _rivals if condition == "hivemind" else _ours
        return measured(scale, condition, seed, plan, net)


@contextmanager
def _network(count: int, plan: Plan) -> Iterator[Sites | None]:
    """Sites for all, or loopback where there can be none and nothing needs them."""
    try:
        with sites(count) as net:
            yield net
    except NoNamespacesError:
        if any(isinstance(it, Split) for it in plan.faults):
            raise
        yield None


def churn_spec(run_id: str, seed: int, round_tokens: int) -> RunSpec:
    """A model of 124 thousand parameters on the demo's text, in rounds of some seconds."""
    values = preset("demo").model_dump()
    values |= {"run_id": run_id, "seed": seed, "stop": {"tokens": NEVER}}
    values["model"]["config"] |= {
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH,
    }
    values["data"]["sequence_length"] = LENGTH
    values["inner"] |= {"batch_size": BATCH, "cooldown_tokens": 0}
    values["round"] |= {"target_tokens": round_tokens, "max_seconds": 10.0, "min_peers": 2}
    return RunSpec.model_validate(values, strict=None)


def _ours(scale: Scale, condition: str, seed: int, plan: Plan, net: Sites | None) -> Measured:
    spec = churn_spec(f"{condition}-{seed}", seed, scale.round_tokens)
    names = [f"{spec.run_id}-{number}" for number in range(scale.peers)]
    with benchmark_home() as home:
        home.temporary.mkdir()
        with (
            paced_swarm(home, [spec], net.places if net else ()) as swarm,
            nursery(home.temporary, OurPeers.module) as forks,
            churn_swarm(
                OurPeers(swarm, net, spec.run_id, STEP_SECONDS), forks, net, plan, names
            ) as peers,
        ):  # fmt: skip
            if not peers.play(scale.rounds, _RUN_SECONDS):
                raise SystemExit(f"too slow:\n{peers.told()}")
            up = {peer.number for peer in peers.up}
        result, stories = _figures(scale, condition, seed, peers, up)
        result.losses = _validations(home.state / "coordinator.sqlite")
    return result, stories


def _rivals(scale: Scale, condition: str, seed: int, plan: Plan, net: Sites | None) -> Measured:
    names = [f"rival-{number}" for number in range(scale.peers)]
    steps = round(scale.round_tokens / (scale.peers * BATCH * LENGTH))
    with benchmark_home() as home:
        home.temporary.mkdir()
        launcher = RivalPeers(
            home.temporary, net, scale.peers, PARAMETERS, steps, BATCH * LENGTH, STEP_SECONDS
        )
        with (
            nursery(home.temporary, RivalPeers.module) as forks,
            churn_swarm(launcher, forks, net, plan, names) as peers,
        ):
            peers.play(scale.rounds, _RIVAL_SECONDS)  # as many as it makes
            up = {peer.number for peer in peers.up}
        return _figures(scale, condition, seed, peers, up)


def _figures(scale: Scale, condition: str, seed: int, peers: ChurnSwarm, up: set[int]) -> Measured:
    events = [Happened(it.at, it.fault, it.over) for it in peers.events]
    state_seconds = STATE_BYTES * 8 / (JOINER_MEGABITS * 1e6)
    stories = _stories(peers, up)
    result = figures(
        condition, seed, stories, events, BATCH * LENGTH, state_seconds, scale.rounds
    )  # fmt: skip
    happened = {it.fault for it in peers.events}
    result.not_happened = [str(it) for it in peers.plan.faults if str(it) not in happened]
    result.ended = peers.ended
    return result, stories


def _stories(peers: ChurnSwarm, up: set[int]) -> Sequence[Story]:
    return [
        Story(it.number, it.notes, it.inner_steps(), it.number in up - peers.plan.killed())
        for it in peers.peers.values()
    ]


def _validations(path: Path) -> list[tuple[int, float]]:
    """(merged tokens, loss) of all evaluations that the coordinator knows."""
    with closing(sqlite3.connect(path)) as database:
        rows: list[Any] = database.execute(
            "select run_tokens, loss from validations where loss is not null order by run_tokens"
        ).fetchall()
    return [(tokens, loss) for tokens, loss in rows]
