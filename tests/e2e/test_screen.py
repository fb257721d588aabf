"""What a volunteer sees: a screen that goes on, the same one beside it, a terminal given back."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator, Sequence

import psutil
import pytest

from swarmpb.exits import Exit
from tests.e2e.pretend_terminal import PretendTerminal
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    PEER,
    Home,
    PeerProcess,
    create_run,
    home_in,
    serving,
)
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(300)

CTRL_C, CTRL_Z = "\x03", "\x1a"
ROUND = {"target_tokens": 4000, "min_seconds": 0.5, "max_seconds": 3, "min_peers": 1}
SHOWN_SECONDS = 30.0
"""From something that happens to the frame that shows it, on a machine that has other work."""
QUIET_SECONDS = 0.6
"""Of processor time; it takes half of that where nothing else runs."""


class Volunteer:
    """A home with a coordinator's run, and terminals in it."""

    def __init__(self, home: Home, coordinator: str) -> None:
        self.home = home
        self.peer = PeerProcess(home, "anna", coordinator, "tiny")

    def environment(self, **more: str) -> dict[str, str]:
        """Of a terminal with colours whose size is its own."""
        usual = self.home.environment()
        return {it: usual[it] for it in usual if it not in ("NO_COLOR", "COLUMNS", "LINES")} | {
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "PEER_STATE_DIR": str(self.peer.state_dir),
            **more,
        }

    def join(self, terminal: PretendTerminal, **environment: str) -> subprocess.Popen[bytes]:
        return self.start(terminal, [str(PEER), *self.peer.arguments], **environment)

    def leave(self) -> None:
        if self.peer.alive:
            assert self.peer.leave() == 0

    def watch(self, terminal: PretendTerminal) -> subprocess.Popen[bytes]:
        return self.start(terminal, [str(PEER), "status", "--watch"])

    def status(self, option: str) -> subprocess.CompletedProcess[str]:
        return self.home.peer("status", option, "--state-dir", str(self.peer.state_dir))

    def start(
        self, terminal: PretendTerminal, command: Sequence[str], **environment: str
    ) -> subprocess.Popen[bytes]:
        process = terminal.start(command, self.environment(**environment))
        self.home.started.append(process)
        return process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volunteer]:
    with home_in(tmp_path_factory.mktemp("home")) as home, serving(home) as server:
        spec = tiny_spec(round=ROUND, stop={"tokens": 10**12})
        create_run(home, server.address, spec)
        volunteer = Volunteer(home, server.address)
        yield volunteer
        volunteer.leave()
        assert server.stop() == (0, "")


@pytest.fixture
def volunteer(shared: Volunteer) -> Volunteer:
    """No peer runs yet."""
    shared.leave()
    return shared


@pytest.fixture
def with_peer(shared: Volunteer) -> Volunteer:
    """A peer trains without a terminal."""
    if not shared.peer.alive:
        shared.peer.start()
    shared.peer.out.wait_for("training", JOIN_SECONDS)
    return shared


def is_given_back(terminal: PretendTerminal, modes: list[object]) -> None:
    """The user's own screen, with a cursor and an echo."""
    assert not terminal.shows_another_screen
    assert terminal.cursor_is_visible
    assert terminal.modes == modes


def test_a_screen_goes_on_fits_its_terminal_and_is_gone_after_ctrl_c(volunteer: Volunteer) -> None:
    with PretendTerminal(80, 24) as terminal, PretendTerminal(60, 20) as beside:
        modes = terminal.modes
        process = volunteer.join(terminal)
        terminal.wait_for(r"training: round [2-9]", JOIN_SECONDS)
        assert terminal.shows_another_screen
        assert terminal.modes != modes  # what is typed is not echoed into the screen
        text = "\n".join(terminal.wait_for(r"loss \d\.\d{3}[\s\S]*[\u2801-\u28ff]", SHOWN_SECONDS))
        for fact in ("run tiny as anna", "tokens/s", "1 live", "merged", "limits", "Ctrl-C leaves"):
            assert fact in text
        assert re.search(r"round \d+ .*(cut (in|now)|being averaged)", text)

        watching = volunteer.watch(beside)
        beside.wait_for(r"run tiny as anna[\s\S]*q ends this view", SHOWN_SECONDS)
        beside.press("q")
        assert watching.wait(SHOWN_SECONDS) == 0
        is_given_back(beside, modes)

        terminal.resize(40, 12)
        lines = terminal.wait_for(r"run tiny as anna +up [\s\S]*peer finish$", SHOWN_SECONDS)
        assert all(len(line) <= 40 for line in lines)
        assert any("tokens/s" in line for line in lines)

        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        terminal.press("typed into the screen\n")
        terminal.press(CTRL_C)
        assert process.wait(LEAVE_SECONDS) == 0
        text = "\n".join(terminal.wait_for(r"stopped: ", SHOWN_SECONDS))
        assert "leaving; once more to stop at once" in text
        assert "typed" not in text
        is_given_back(terminal, modes)
        assert psutil.wait_procs(children, timeout=1)[1] == []


def test_the_terminal_is_given_back_to_who_cannot_wait(volunteer: Volunteer) -> None:
    with PretendTerminal() as terminal:
        modes = terminal.modes
        process = volunteer.join(terminal)
        terminal.wait_for(r"run tiny as anna", JOIN_SECONDS)
        os.kill(process.pid, signal.SIGTERM)
        terminal.wait_for(r"leaving; once more", SHOWN_SECONDS)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(LEAVE_SECONDS) in (Exit.INTERRUPTED, 0)  # 0: it was faster
        terminal.wait_until(lambda: not terminal.shows_another_screen, SHOWN_SECONDS, "the shell's")
        is_given_back(terminal, modes)


def test_a_peer_that_pauses_shows_its_screen_again_and_leaves_from_there(
    volunteer: Volunteer,
) -> None:
    """It begins anew with the same terminal, which it has to find as it first did."""
    with PretendTerminal() as terminal:
        modes = terminal.modes
        process = volunteer.join(terminal)
        terminal.wait_for("training: ", JOIN_SECONDS)
        paused = volunteer.home.peer("pause", "--state-dir", str(volunteer.peer.state_dir))
        assert paused.returncode == 0, paused.stderr
        text = "\n".join(terminal.wait_for(r"^paused: [\s\S]*peer resume", SHOWN_SECONDS))
        assert "tokens/s" not in text
        volunteer.home.peer("resume", "--state-dir", str(volunteer.peer.state_dir))
        terminal.wait_for("^(starting|training): ", JOIN_SECONDS)
        terminal.press(CTRL_C)
        assert process.wait(LEAVE_SECONDS) == 0
        terminal.wait_for("stopped: ", SHOWN_SECONDS)
        is_given_back(terminal, modes)


def test_watching_outlives_the_peer_and_goes_on_with_the_next_one(with_peer: Volunteer) -> None:
    peer = with_peer.peer
    with PretendTerminal() as terminal:
        modes = terminal.modes
        watching = with_peer.watch(terminal)
        terminal.wait_for(r"training: ", SHOWN_SECONDS)
        peer.kill()
        terminal.wait_for(r"no peer runs here now[\s\S]*below is what it said", SHOWN_SECONDS)
        peer.start()
        terminal.wait_until(
            lambda: not re.search("below is what it said", "\n".join(terminal.lines())),
            JOIN_SECONDS,
            "the peer that runs again",
        )
        terminal.press(CTRL_C)
        assert watching.wait(SHOWN_SECONDS) == 0
        is_given_back(terminal, modes)
        assert peer.alive


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again(with_peer: Volunteer) -> None:
    with PretendTerminal() as terminal:
        shell = with_peer.start(
            terminal,
            ["/bin/bash", "--norc", "--noprofile", "-i"],
            PS1="ready> ",
            PATH=f"{PEER.parent}:{os.environ['PATH']}",
        )
        terminal.wait_for("ready>$", SHOWN_SECONDS)
        terminal.press("peer status --watch\n")
        terminal.wait_for("run tiny as anna", SHOWN_SECONDS)
        terminal.press(CTRL_Z)
        terminal.wait_for(r"Stopped .*peer status[\s\S]*ready>$", SHOWN_SECONDS)
        assert not terminal.shows_another_screen
        terminal.press("fg\n")
        terminal.wait_for("run tiny as anna", SHOWN_SECONDS)
        terminal.press("q")
        terminal.wait_until(lambda: not terminal.shows_another_screen, SHOWN_SECONDS, "the shell's")
        terminal.press("exit\n")
        assert shell.wait(SHOWN_SECONDS) == 0


def test_a_health_check_says_nothing_and_is_quick(with_peer: Volunteer) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    healthy = with_peer.status("--quiet")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < QUIET_SECONDS


def test_without_a_terminal_lines_come_when_something_changes(with_peer: Volunteer) -> None:
    """Not a control character in them."""
    with_peer.peer.out.wait_for("training: round [2-9]", JOIN_SECONDS)
    with_peer.leave()
    lines = with_peer.peer.out.to_the_end()
    assert all(line.isprintable() for line in lines)
    assert all(re.match(r"\d\d:\d\d:\d\d \w+: ", line) for line in lines[:-1])
    assert len({line[9:] for line in lines}) == len(lines)


def test_a_dumb_terminal_gets_the_same_lines(volunteer: Volunteer) -> None:
    with PretendTerminal(200, 24) as terminal:
        process = volunteer.join(terminal, TERM="dumb")
        terminal.wait_for(r"\d\d:\d\d:\d\d \w+: ", JOIN_SECONDS)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(LEAVE_SECONDS) == 0
        assert b"\x1b" not in terminal.written


def test_where_no_peer_runs_that_is_said_or_told_by_an_exit_code(volunteer: Volunteer) -> None:
    for option in ("--watch", "--json"):
        nobody = volunteer.status(option)
        assert (nobody.returncode, nobody.stdout) == (Exit.NOT_RUNNING, "")
        assert "no peer is running" in nobody.stderr
    quiet = volunteer.status("--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (Exit.NOT_RUNNING, "", "")
