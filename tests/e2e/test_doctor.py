"""`peer doctor` beside a real run: what it finds, that it takes no part, and leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from swarmpb.exits import Exit
from tests.benchmarks.paced_swarm import PacedPeer
from tests.benchmarks.paced_trainer import Pace
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    PEER,
    Home,
    PeerProcess,
    Server,
    create_run,
    eventually,
    home_in,
    serving,
)
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(240)

# a round now and then, and no more work for two processors than a second trainer leaves
RUN = tiny_spec(
    round={"min_peers": 1, "min_seconds": 2, "max_seconds": 4, "target_tokens": 10**9},
    stop={"tokens": 10**12},
)
SECONDS = 60


class Run:
    """A coordinator, and a peer that trains."""

    def __init__(self, home: Home, server: Server, peer: PeerProcess) -> None:
        self.home = home
        self.server = server
        self.peer = peer
        self.visitor = home.path / "visitor"
        """The state folder of the machine that asks."""

    def arguments(self, *command: str, **replaced: str) -> list[str]:
        options = {
            "run": RUN.run_id,
            "coordinator": self.server.address,
            "host": "127.0.0.1",
            "threads": "1",
            "device": "cpu",
            "state-dir": str(self.visitor),
        } | replaced
        return [*command, *(it for key, value in options.items() for it in (f"--{key}", value))]

    def asked(self, *command: str, **replaced: str) -> tuple[int, Any]:
        """Exit code and JSON document."""
        done = self.home.peer(*self.arguments("doctor", "--json", *command, **replaced))
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    def nothing_is_left(self) -> bool:
        return not self.visitor.exists() and not list(self.home.temporary.glob("*doctor*"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with home_in(tmp_path_factory.mktemp("d")) as home, serving(home) as server:
        create_run(home, server.address, RUN)
        # the processors are for the trainers that are measured
        pace = Pace(1000, 0.5, str(home.path / "anna.jsonl"))
        peer = PacedPeer(home, "anna", server.address, RUN.run_id, pace, None)
        peer.start()
        peer.until(lambda it: it.inner_steps > 0, JOIN_SECONDS, "inner steps")
        yield Run(home, server, peer)
        peer.send(signal.SIGTERM)
        assert peer.wait(LEAVE_SECONDS) == 0
        assert server.stop()[0] == 0


def test_a_machine_is_measured_and_dialled_back_and_the_run_never_hears_of_it(run: Run) -> None:
    code, told = run.asked()
    states = {it["name"]: it["state"] for it in told["checks"]}
    words = {it["name"]: it["words"] for it in told["checks"]}
    assert (code, told["helpful"]) == (0, True), told
    assert "1 peer, " in words["run"]
    assert "dialled by 2 peers on this machine" in words["reach"], "the coordinator, and anna"
    assert states["clock"] == states["memory"] == states["disk"] == states["speed"] == "ok"
    figures = told["figures"]
    assert figures["tokens_per_second"] > 0
    assert figures["parameters"] > 0
    assert figures["memory_bytes"] > 4 * figures["parameters"]
    assert figures["day_sent"] > figures["round_sent"] > 0

    assert run.nothing_is_left()
    (peer,) = run.server.progress(RUN.run_id).peers
    assert peer.name == "anna"
    status = run.peer.status()
    assert status is not None
    assert status.peers == 1


def test_the_machine_that_is_in_the_run_already_is_told_so_and_keeps_its_place(run: Run) -> None:
    before = sorted(it.name for it in run.peer.folder.iterdir())
    _, told = run.asked(**{"state-dir": str(run.peer.state_dir)})
    (it,) = [it for it in told["checks"] if it["name"] == "run"]
    assert it["state"] == "attention"
    assert "runs on this machine now" in it["words"]
    assert sorted(it.name for it in run.peer.folder.iterdir()) == before
    assert run.peer.alive


def test_a_dry_run_says_the_same_in_a_table_and_joins_nothing(run: Run) -> None:
    done = run.home.peer(*run.arguments("join", "--dry-run"), "--upload", "100 kbit/s")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("processor", "memory", "disk", "clock", "reach", "speed", "data", "link"):
        assert f" {name} " in done.stdout
    assert "limits.upload of 100 kbit/s" in " ".join(done.stdout.split())
    assert "this machine would help" in done.stdout
    assert run.nothing_is_left()


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"run": "nobody-knows-it"}, "knows no run named"),
        ({"coordinator": "127.0.0.1:1"}, "no coordinator answers at 127.0.0.1:1"),
    ],
    ids=["an unknown run", "no coordinator"],
)
def test_a_run_that_cannot_be_joined_has_an_exit_code_and_the_machine_is_looked_at_all_the_same(
    run: Run, replaced: dict[str, str], words: str
) -> None:
    code, told = run.asked(**replaced)
    assert code == Exit.NOT_HELPFUL
    assert words in told["verdict"]
    assert {"processor", "memory", "disk"} <= {it["name"] for it in told["checks"]}
    assert run.nothing_is_left()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["not-a-link"], "link"),
        (["--run", "No Such Name"], "no run can be named"),
        (["--run", "demo", "--upload", "fast"], "expected a rate"),
    ],
    ids=["no link", "no name", "no rate"],
)
def test_wrong_input_gets_one_clear_line(run: Run, arguments: list[str], words: str) -> None:
    done = run.home.peer("doctor", *arguments)
    assert done.returncode not in (0, 1)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(run: Run) -> None:
    process = subprocess.Popen(
        [PEER, *run.arguments("doctor")],
        env=run.home.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def trainer() -> psutil.Process | None:
        children = psutil.Process(process.pid).children()
        return next((it for it in children if "peer.training.process" in _command(it)), None)

    child = eventually(trainer, SECONDS, "a trainer")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (Exit.INTERRUPTED, "")
    assert psutil.wait_procs([child], timeout=SECONDS)[1] == []
    assert run.nothing_is_left()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
