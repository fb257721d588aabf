"""A volunteer tells the peer on their machine what to do: pause, resume, finish, leave, detach."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from peer.runtime import running
from swarmpb.exits import Exit
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    PEER,
    PeerProcess,
    eventually,
    home_in,
    rounds_go_on,
)
from tests.e2e.test_peers import ROUND, Swarm
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(300)

REST_SECONDS = 15.0
"""A paused peer's new process answers by then, however busy this machine is."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with home_in(tmp_path_factory.mktemp("swarm")) as home:
        swarm = Swarm(home, tiny_spec(round=ROUND, stop={"tokens": 10**12}))
        yield swarm
        swarm.end()


@pytest.fixture
def swarm(shared: Swarm) -> Swarm:
    """Three peers that do rounds; two are enough for one."""
    shared.make_whole()
    return shared


def told(peer: PeerProcess, *command: str) -> str:
    """What a command says that is meant for this peer; it must succeed."""
    done = peer.home.peer(*command, "--run", peer.run_id, "--state-dir", str(peer.state_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rests(peer: PeerProcess) -> None:
    peer.until(lambda it: it.phase == "paused", REST_SECONDS, "it is paused")


def test_a_pause_gives_the_machine_back_and_keeps_the_place(swarm: Swarm) -> None:
    anna, *others = swarm.peers
    before = anna.until_it_merges()
    pid, helpers = anna.pid, anna.children()
    busy = sum(it.memory_info().rss for it in [psutil.Process(pid), *helpers])

    assert "`peer resume` ends it" in told(anna, "pause")
    rests(anna)
    assert psutil.wait_procs(helpers, timeout=1)[1] == [], "trainer and p2pd are gone"
    assert psutil.Process(pid).children() == []
    resting = psutil.Process(pid).memory_info().rss
    assert resting < busy / 4, f"{resting >> 20} of {busy >> 20} MiB are still taken"
    rounds_go_on(others, 2)
    assert stat.S_IMODE((anna.folder / "pause.json").stat().st_mode) == 0o600

    assert "resuming" in told(anna, "resume")
    after = anna.until(lambda it: it.tokens > before.tokens, JOIN_SECONDS, "it merges again")
    assert (after.peer_id, anna.pid) == (before.peer_id, pid), "the same peer in the same process"
    assert after.round > before.round


def test_a_pause_outlives_a_killed_machine_and_ends_by_itself(swarm: Swarm) -> None:
    anna = swarm.peers[0]
    anna.until_it_merges()
    told(anna, "pause", "--for", "1h")
    rests(anna)
    anna.send(signal.SIGKILL)
    anna.wait(LEAVE_SECONDS)
    anna.start()
    rests(anna)
    status = anna.status()
    assert status is not None
    assert "paused by you until" in status.reason

    told(anna, "pause", "--for", "2s")
    anna.until_it_merges()
    assert not (anna.folder / "pause.json").exists()


def test_whoever_finishes_hands_its_work_over_first(swarm: Swarm) -> None:
    anna, *others = swarm.peers
    before = anna.until_it_merges()
    assert "leaving after it, as you asked" in told(anna, "finish")
    assert anna.wait(JOIN_SECONDS) == 0
    anna.out.wait_for("stopped: finished with round", LEAVE_SECONDS)
    rounds_go_on(others, 1)

    anna.restart()
    back = anna.until(lambda it: it.tokens > 0 and it.round > before.round, JOIN_SECONDS, "back")
    assert back.tokens > before.tokens, "its last round is credited"


def test_a_command_makes_it_leave_as_ctrl_c_does(swarm: Swarm) -> None:
    anna = swarm.peers[0]
    anna.until_it_merges()
    helpers = anna.children()
    assert told(anna, "leave").split() == ["leaving", "gone"]
    assert anna.wait(LEAVE_SECONDS) == 0
    assert psutil.wait_procs(helpers, timeout=1)[1] == []
    refused = anna.home.peer("leave", "--run", anna.run_id, "--state-dir", str(anna.state_dir))
    assert refused.returncode == Exit.NOT_RUNNING
    assert refused.stderr.count("\n") == 1


def test_a_peer_in_the_background_is_its_users_alone(swarm: Swarm) -> None:
    anna = swarm.peers[0]
    assert anna.leave() == 0
    told_by = subprocess.run(
        [PEER, *anna.arguments, "--detach"],
        env=anna.home.environment(),
        capture_output=True,
        text=True,
        timeout=JOIN_SECONDS,
        check=False,
    )
    assert told_by.returncode == 0, told_by.stderr
    holder = running(anna.folder)
    assert holder is not None
    pid, private = holder
    assert f"process {pid}" in told_by.stdout
    assert os.getsid(pid) == pid, "a hang-up of the terminal is not for it"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "control.sock").stat().st_mode) == 0o600

    again = anna.home.peer(*anna.arguments, "--detach")
    assert again.returncode == Exit.ALREADY_RUNNING
    assert anna.status() is not None, "it answers before the command ends"
    told(anna, "leave")
    assert running(anna.folder) is None
    assert not private.exists()


def test_a_peer_that_cannot_start_in_the_background_says_why(swarm: Swarm, tmp_path: Path) -> None:
    refused = swarm.home.peer(
        *("join", "--run", "nope", "--coordinator", swarm.server.address, "--detach"),
        *("--state-dir", str(tmp_path)),
    )
    assert refused.returncode == Exit.UNKNOWN_RUN
    assert "knows no run named 'nope'" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_signal_before_it_has_joined_leaves_nothing_behind(swarm: Swarm) -> None:
    dora = swarm.peer("dora")
    dora.start()
    eventually(lambda: running(dora.folder) is not None, JOIN_SECONDS, "its folders are claimed")
    holder = running(dora.folder)
    assert holder is not None
    dora.send(signal.SIGTERM)
    assert dora.wait(LEAVE_SECONDS) in (0, Exit.INTERRUPTED)
    assert not holder[1].exists()


def test_a_closed_terminal_makes_it_leave_and_nohup_does_not(swarm: Swarm) -> None:
    anna = swarm.peers[0]
    assert anna.leave() == 0
    start_with_hang_ups(anna, signal.SIG_DFL)
    anna.until_it_merges()
    anna.send(signal.SIGHUP)
    assert anna.wait(LEAVE_SECONDS) == 0, "as Ctrl-C, with all that it had kept"

    start_with_hang_ups(anna, signal.SIG_IGN)
    anna.until_it_merges()
    anna.send(signal.SIGHUP)
    anna.until_it_merges()


def start_with_hang_ups(peer: PeerProcess, action: signal.Handlers) -> None:
    """What a shell does to a command that it starts, and what nohup does."""
    before = signal.signal(signal.SIGHUP, action)
    try:
        peer.start()
    finally:
        signal.signal(signal.SIGHUP, before)
