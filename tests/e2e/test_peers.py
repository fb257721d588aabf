"""A swarm of real peers: what they do together, and what happens when one of them is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoModelForCausalLM, ByT5Tokenizer

from swarmpb.exits import Exit
from swarmpb.spec import RunSpec
from swarmpb.v1 import coordinator_pb2
from tests.e2e.processes import (
    DEATH_SECONDS,
    JOIN_SECONDS,
    LEAVE_SECONDS,
    SOON_SECONDS,
    Home,
    PeerProcess,
    alive_after,
    create_run,
    eventually,
    home_in,
    rounds_go_on,
    serving,
    start_server,
)
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(300)

ROUND: dict[str, Any] = {"target_tokens": 6000, "min_seconds": 0.3, "max_seconds": 2}
"""About a round in a second, and hardly less on a machine that is busy with something else."""
NAMES = ("anna", "bert", "cleo")
NICENESS = 5
RECORD_GONE_SECONDS = 20.0
"""A silent peer's last record has expired by then, and rounds no longer wait for it."""
REPORT_SECONDS = 60.0
OUTAGE_TOLD_SECONDS = 120.0
"""Pauses between tries to reach a coordinator that is away grow to 20 s."""


class Swarm:
    """A coordinator and three peers of the run `tiny`."""

    def __init__(self, home: Home, spec: RunSpec) -> None:
        self.home = home
        self.spec = spec
        self.server = start_server(home)
        create_run(home, self.server.address, spec)
        self.peers = [self.peer(name) for name in NAMES]

    def peer(self, name: str) -> PeerProcess:
        return PeerProcess(self.home, name, self.server.address, self.spec.run_id)

    def restart_server(self) -> None:
        self.server = start_server(self.home, *self.server.same_ports)

    def make_whole(self, wanted: Sequence[str] = ()) -> None:
        """All train, or those that are wanted, whatever the test before did."""
        if self.server.process.poll() is not None:
            self.restart_server()
        peers = [peer for peer in self.peers if not wanted or peer.name in wanted]
        for peer in peers:
            if not peer.alive:
                peer.start()
        for peer in peers:
            status = peer.until(
                lambda it: it.tokens > 0 and it.trainer_pid > 0,
                JOIN_SECONDS,
                "a trainer, and a round with its work",
            )
            # whoever joins later shall not have to wait for a processor
            psutil.Process(status.trainer_pid).nice(NICENESS)

    def progress(self) -> coordinator_pb2.RunProgress:
        return self.server.progress(self.spec.run_id)

    def reported(self, name: str) -> coordinator_pb2.PeerProgress:
        """What the coordinator shows of a peer."""
        (facts,) = [it for it in self.progress().peers if it.name == name]
        return facts

    def end(self) -> None:
        alive = [peer for peer in self.peers if peer.alive]
        for peer in alive:
            peer.send(signal.SIGTERM)
        codes = {peer.name: peer.wait(LEAVE_SECONDS) for peer in alive}
        assert set(codes.values()) <= {0}, codes
        assert self.server.stop() == (0, "")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with home_in(tmp_path_factory.mktemp("swarm")) as home:
        swarm = Swarm(home, tiny_spec(round=ROUND, stop={"tokens": 10**12}))
        yield swarm
        swarm.end()


@pytest.fixture
def swarm(shared: Swarm) -> Iterator[Swarm]:
    """Three peers that train, and whose digests agreed in every round when the test is over."""
    shared.make_whole()
    yield shared
    if shared.server.process.poll() is None:
        assert shared.progress().digests_agree


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_in(tmp_path_factory.mktemp("home")) as home:
        yield home


# ---- a run from its first to its last token --------------------------------------------


def test_two_peers_train_a_run_to_its_target_and_leave_a_model(home: Home) -> None:
    spec = tiny_spec(round=ROUND, stop={"tokens": 60_000})
    model = home.path / "model"
    with serving(home) as server:
        create_run(home, server.address, spec)
        anna, bert = (PeerProcess(home, name, server.address, "tiny") for name in ("anna", "bert"))

        anna.start("--export", str(model))
        bert.start()
        digests = digests_until_the_end([anna, bert])
        for peer in (anna, bert):
            assert peer.wait(0) == 0, peer.told()
            assert peer.out.to_the_end()[-1] == "stopped: the run has reached its target"
            assert peer.err.to_the_end() == []
        both = set(digests["anna"]) & set(digests["bert"])
        assert len(both) >= 2
        assert all(digests["anna"][it] == digests["bert"][it] for it in both)

        progress = server.progress("tiny")
        assert progress.digests_agree
        assert progress.rounds_committed == progress.round >= 2
        assert progress.tokens >= spec.stop.tokens
        assert [it.finished_by for it in progress.rounds if it.committed] == [2] * progress.round
        assert progress.validation_loss < progress.first_validation_loss

        # its peers are gone: the coordinator has kept the model
        kept = home.path / "kept"
        done = home.run("run", "export", "tiny", str(kept), "--coordinator", server.address)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"the model is in {kept}")
        weights = [(it / "model.safetensors").read_bytes() for it in (model, kept)]
        assert weights[0] == weights[1]
        assert server.stop() == (0, "")
    assert_it_writes(model)


def digests_until_the_end(peers: list[PeerProcess]) -> dict[str, dict[int, str]]:
    """By peer and round, what `peer status` shows until all have ended."""
    seen: dict[str, dict[int, str]] = {peer.name: {} for peer in peers}

    def all_ended() -> bool:
        for peer in peers:
            status = peer.status() if peer.alive else None
            if status is not None and status.digest:
                seen[peer.name][status.round] = status.digest.hex()
        return not any(peer.alive for peer in peers)

    eventually(all_ended, 2 * JOIN_SECONDS, "the run's end", peers[0].told)
    return seen


def assert_it_writes(folder: Path) -> None:
    """The exported folder loads by transformers alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = ByT5Tokenizer.from_pretrained(folder)
    prompt = tokenizer("def main(", return_tensors="pt", add_special_tokens=False)
    written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(written[0]).startswith("def main(")


# ---- coming and going ------------------------------------------------------------------


def test_a_lone_peer_trains_and_says_whom_it_needs(shared: Swarm) -> None:
    anna, *others = shared.peers
    for peer in others:
        if peer.alive:
            peer.leave()
    if not anna.alive:
        anna.start()
    anna.out.wait_for("1 of 2 peers needed to average; invite another: peer join", JOIN_SECONDS)
    alone = anna.until(lambda it: it.inner_steps > 0, SOON_SECONDS, "inner steps")
    assert f"peer join murmuration://{shared.server.address}/tiny" in alone.reason
    enough = alone.inner_steps + 3 * ROUND["target_tokens"] // 32
    later = anna.until(
        lambda it: it.inner_steps > enough, SOON_SECONDS, "inner steps for three rounds"
    )
    assert (later.round, later.digest, later.tokens) == (alone.round, alone.digest, alone.tokens)
    assert later.pending_tokens > alone.pending_tokens


def test_an_owner_takes_the_model_while_the_run_goes_on(swarm: Swarm) -> None:
    before = swarm.progress().round
    model = swarm.home.path / "taken"
    done = swarm.home.run(
        "run", "export", "tiny", str(model), "--coordinator", swarm.server.address, "--json"
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["round"] >= before
    assert facts["holders"] >= 2, "the state is that of most peers"
    assert (model / "model.safetensors").stat().st_size > 4 * facts["parameters"]
    assert {it.name for it in swarm.progress().peers} == {it.name for it in swarm.peers}, (
        "who fetches the model is no peer of the run"
    )


def test_a_volunteer_sees_what_others_say_that_the_machine_has_done(swarm: Swarm) -> None:
    anna, *_ = swarm.peers
    where = ("--run", "tiny", "--coordinator", swarm.server.address)

    def told_by_others() -> list[dict[str, Any]]:
        shown = swarm.home.peer("receipts", *where, "--state-dir", str(anna.state_dir), "--json")
        assert (shown.returncode, shown.stderr) == (0, "")
        return [it for it in json.loads(shown.stdout) if it["observed"] and it["merged_tokens"]]

    newest, *_ = eventually(told_by_others, REPORT_SECONDS, "a round that others told of")
    assert newest["merged_tokens"] == newest["claimed_tokens"]
    assert newest["witnesses"] >= 2
    (row,) = (it for it in swarm.progress().peers if it.name == "anna")
    assert 0 < row.observed_tokens <= row.tokens


def test_a_peer_that_leaves_and_comes_back_disturbs_nobody(swarm: Swarm) -> None:
    anna, bert, cleo = swarm.peers
    before = cleo.until(lambda it: it.peers == 3, SOON_SECONDS, "three peers")
    assert cleo.leave(signal.SIGINT) == 0
    assert "leaving; once more to stop at once" in cleo.err.to_the_end()
    for peer in (anna, bert):
        peer.until(lambda it: it.peers == 2, LEAVE_SECONDS, "cleo gone from its view")
    assert len(swarm.home.runtime_folders()) == 3  # anna's, bert's and the coordinator's
    rounds_go_on([anna, bert])
    assert swarm.reported("cleo").phase == "stopped"

    # back without its state, it downloads what the others hold, and works with them
    shutil.rmtree(cleo.folder / "checkpoints")
    cleo.start()
    first = cleo.until(lambda it: it.digest != b"", JOIN_SECONDS, "a state")
    assert first.round > before.round
    after = cleo.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    assert after.peer_id == before.peer_id
    rounds_go_on([anna, bert, cleo])
    shown = swarm.home.peer("status", "--json", "--state-dir", str(cleo.state_dir))
    assert json.loads(shown.stdout)["round"] >= after.round, shown.stderr


# ---- what kills ------------------------------------------------------------------------


def test_a_killed_peer_takes_its_children_along_and_comes_back(swarm: Swarm) -> None:
    anna, bert, cleo = swarm.peers
    before = cleo.until(lambda it: it.digest != b"", SOON_SECONDS, "a state")
    folders = set(swarm.home.runtime_folders())
    cleo.kill()
    assert set(swarm.home.runtime_folders()) == folders  # a killed one cannot tidy up
    rounds_go_on([anna, bert])

    cleo.restart()
    (fresh,) = set(swarm.home.runtime_folders()) - folders
    assert len(swarm.home.runtime_folders()) == len(folders)  # the stale one is gone
    assert fresh.stat().st_mode & 0o777 == 0o700
    resumed = cleo.until(lambda it: it.digest != b"", JOIN_SECONDS, "its checkpoint")
    assert resumed.peer_id == before.peer_id
    # rounds of before that had its work may be credited while it catches up
    cleo.until(
        lambda it: it.tokens > resumed.tokens and it.round > before.round,
        JOIN_SECONDS,
        "a round with its work",
    )
    rounds_go_on([anna, bert, cleo])


def test_a_killed_trainer_is_replaced_and_its_peer_stays(swarm: Swarm) -> None:
    _, _, cleo = swarm.peers
    before = cleo.until(lambda it: it.trainer_pid > 0, SOON_SECONDS, "a trainer")
    psutil.Process(before.trainer_pid).kill()
    log = cleo.folder / "peer.log"
    eventually(
        lambda: "killed by signal 9" in log.read_text(),
        SOON_SECONDS,
        "its end in the log",
        cleo.told,
    )
    after = cleo.until(
        lambda it: it.trainer_pid not in (0, before.trainer_pid) and it.tokens > before.tokens,
        JOIN_SECONDS,
        "a round with the new trainer's work",
    )
    assert (after.pid, after.peer_id) == (before.pid, before.peer_id)
    rounds_go_on(swarm.peers)


def test_nobody_needs_the_coordinator_once_the_run_is_known(swarm: Swarm) -> None:
    anna, bert, cleo = swarm.peers
    swarm.server.kill()
    away = rounds_go_on([anna, bert])
    told = anna.until(
        lambda it: "unreachable" in it.coordinator_state, SOON_SECONDS, "what it lacks"
    )
    assert "reports are kept" in told.coordinator_state

    # who was here before comes back by what it has kept; who was not is told what to do
    assert cleo.leave(signal.SIGTERM) == 0
    cleo.start()
    stranger = swarm.peer("dora")
    stranger.start()
    assert stranger.wait(SOON_SECONDS) == Exit.COORDINATOR_UNREACHABLE
    (line,) = stranger.err.to_the_end()
    assert f"no coordinator answers at {swarm.server.address}" in line
    cleo.err.wait_for("through the peers known here", SOON_SECONDS)
    cleo.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    away |= rounds_go_on([anna, bert, cleo])

    swarm.restart_server()

    def all_are_told() -> bool:
        # committed rounds are counted once each: as many as the newest's number is all of them
        progress = swarm.progress()
        return max(away) <= progress.rounds_committed == progress.round

    eventually(
        all_are_told,
        OUTAGE_TOLD_SECONDS,
        "the reports of the outage, without a gap",
        lambda: str(swarm.progress()),
    )
    eventually(lambda: swarm.progress().peers_live == 3, REPORT_SECONDS, "a word from each")
    assert swarm.progress().digests_agree
    shown = swarm.home.run("run", "show", "tiny", "--coordinator", swarm.server.address)
    assert "under way: 3 peers live" in shown.stdout
    assert "digests agree in every round" in shown.stdout
    anna.until(
        lambda it: it.coordinator_state == "reachable", SOON_SECONDS, "the coordinator again"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_counts_before_the_daemon_listens_for_it(home: Home, number: int) -> None:
    peer = PeerProcess(home, "anna", "127.0.0.1:1", "tiny")
    peer.start(PYTHONPROFILEIMPORTTIME="1")
    peer.err.wait_for("pydantic", JOIN_SECONDS)  # in the middle of its imports
    peer.send(number)
    assert peer.wait(LEAVE_SECONDS) == Exit.INTERRUPTED


def test_a_second_ctrl_c_ends_at_once(swarm: Swarm) -> None:
    anna, bert, cleo = swarm.peers
    children = cleo.children()
    cleo.send(signal.SIGINT)
    cleo.err.wait_for("once more to stop at once", LEAVE_SECONDS)
    cleo.send(signal.SIGINT)
    assert cleo.wait(DEATH_SECONDS) == Exit.INTERRUPTED  # who leaves in order ends with 0
    assert alive_after(DEATH_SECONDS, children) == []
    assert len(swarm.home.runtime_folders()) == 3
    rounds_go_on([anna, bert], seconds=JOIN_SECONDS + RECORD_GONE_SECONDS)


# ---- a swarm that was empty ------------------------------------------------------------


def test_a_signal_to_the_whole_process_group_ends_a_peer_too(shared: Swarm) -> None:
    """As `timeout`, a service manager or a terminal sends it: p2pd is hit as well."""
    shared.make_whole(["anna", "bert"])
    anna, bert, _ = shared.peers
    for peer, number in ((bert, signal.SIGTERM), (anna, signal.SIGINT)):
        os.killpg(peer.pid, number)
        assert peer.wait(LEAVE_SECONDS) == 0
        assert "p2p-daemon" not in "".join(peer.err.to_the_end())  # p2pd's word on its own end


def test_a_run_that_everybody_left_goes_on_from_a_checkpoint(shared: Swarm) -> None:
    anna = shared.peers[0]
    if not anna.folder.exists():  # nobody was here before
        shared.make_whole(["anna", "bert"])
    last = [peer for peer in shared.peers if peer.alive]
    for peer in last:
        peer.send(signal.SIGTERM)
    assert {peer.wait(LEAVE_SECONDS) for peer in last} <= {0}
    left_at = shared.progress().round
    assert {shared.reported(name).phase for name in ("anna", "bert")} == {"stopped"}

    # a newcomer must not begin the run a second time
    newcomer = shared.peer("emil")
    shared.peers[2] = newcomer
    newcomer.start()
    newcomer.out.wait_for(rf"the run stands at round {left_at}, but no peer that", JOIN_SECONDS)

    anna.start()
    resumed = anna.until(lambda it: it.digest != b"", JOIN_SECONDS, "its checkpoint")
    assert resumed.round >= left_at
    newcomer.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    rounds_go_on([anna, newcomer])
    assert shared.progress().round > left_at
