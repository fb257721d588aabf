"""Does training with rare, lossy, late exchanges end where data parallel training does?

`python -m tests.benchmarks quality [--small] [--seeds 1 2 3] [--steps 200] [--out FOLDER]`. Each
condition is trained with each seed, in the simulation of `quality_sim.py`, the most important
ones first. `quality.json` in the folder gets each result at once; what is in it already is not
done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from tests.benchmarks.quality_conditions import CONDITIONS
from tests.benchmarks.quality_report import Result, draw, table, verdicts
from tests.benchmarks.quality_sim import Setting, Swarm

WORKERS = 2
SEEDS = (1, 2, 3)
INNER_STEPS = 200


@dataclass(frozen=True)
class Job:
    """A condition to train with one seed."""

    condition: str
    setting: Setting

    def run(self, compiled: bool) -> Result:
        """Train; `compiled`: with kernels made for the model."""
        began = time.monotonic()
        swarm = Swarm(self.setting, compiled)
        loss = swarm.train()
        return Result(
            self.condition,
            self.setting.seed,
            loss,
            swarm.rounds,
            swarm.size,
            round(time.monotonic() - began),
            asdict(self.setting),
        )

    @property
    def key(self) -> str:
        return key(self.condition, asdict(self.setting))

    def __str__(self) -> str:
        return f"{self.condition}, seed {self.setting.seed}"


def key(condition: str, setting: dict[str, object]) -> str:
    """The same for a job and what came of it, also after a way through JSON."""
    return json.dumps([condition, setting])


class Log:
    """The results in a JSON file, which is whole after each of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self._results = [Result(**one) for one in found]

    def of(self, wanted: Sequence[Job]) -> list[Result]:
        """Those that there are, in the order in which they are wanted."""
        found = {key(it.condition, it.setting): it for it in self._results}
        return [found[it.key] for it in wanted if it.key in found]

    def add(self, result: Result) -> None:
        self._results.append(result)
        unfinished = self._path.with_suffix(".part")
        everything = [asdict(it) for it in self._results]
        unfinished.write_text(json.dumps(everything, indent=1), encoding="utf-8")
        unfinished.replace(self._path)


def jobs(seeds: Sequence[int], inner_steps: int) -> list[Job]:
    """All seeds of the most important condition first."""
    return [
        Job(it.name, replace(it.setting, seed=seed, inner_steps=inner_steps))
        for it in CONDITIONS
        for seed in (seeds if it.repeated else seeds[:1])
    ]


def small_jobs() -> list[Job]:
    """Of seconds, with a tiny model."""
    return [
        replace(job, setting=replace(job.setting, hidden_size=16, layers=1))
        for job in jobs(SEEDS[:1], 10)
    ]


def run(left: Sequence[Job], log: Log, compiled: bool) -> None:
    """Do the jobs in their order, as many at a time as there are workers."""
    with _workers() as pool:
        under_way = {pool.submit(job.run, compiled): job for job in left}
        for done in as_completed(under_way):
            job = under_way[done]
            if error := done.exception():  # the others may still say something
                print(f"  {job}: {type(error).__name__}: {error}", flush=True)
                continue
            result = done.result()
            log.add(result)
            print(f"  {job}: {result.loss:.4f} after {result.seconds} s", flush=True)


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each, which end with the block even in the middle of a job."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    pool = ProcessPoolExecutor(WORKERS, context, torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


def report(results: Sequence[Result], folder: Path) -> None:
    """Print the tables; write them and the plot to `folder`."""
    tables = f"{table(results)}\n\n{verdicts(results)}\n"
    print(f"\n{tables}")
    (folder / "quality.md").write_text(tables, encoding="utf-8")
    if find_spec("matplotlib"):  # of the extra `benchmarks`
        draw(results, folder / "quality.png")
    print(f"results are in {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="quality", description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of an hour")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, default=INNER_STEPS, help="inner steps of a peer")
    parser.add_argument("--out", type=Path, help="folder for results; default: a new one")
    given = parser.parse_args()
    folder = given.out or Path(tempfile.mkdtemp(prefix="quality-"))
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "quality.json")
    todo = small_jobs() if given.small else jobs(given.seeds, given.steps)
    done = {key(it.condition, it.setting) for it in log.of(todo)}
    try:
        run([job for job in todo if job.key not in done], log, compiled=not given.small)
    finally:
        report(log.of(todo), folder)


if __name__ == "__main__":
    main()
