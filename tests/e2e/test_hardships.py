"""Frozen, slow, cut off, out of disk, at another time of day: a peer comes back by itself.

One swarm of three for all stories. Its clocks are set at the start and stay wrong; the others must
lose no more than what the peer in trouble would have done.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.namespaces import NoNamespacesError, Sites, sites
from tests.benchmarks.paced_swarm import PacedPeer, PacedSwarm, paced_swarm, run_of
from tests.e2e import hasty_peer
from tests.e2e.processes import (
    DEATH_SECONDS,
    JOIN_SECONDS,
    LEAVE_SECONDS,
    SOON_SECONDS,
    Home,
    alive_after,
    eventually,
    home_in,
    rounds_go_on,
    start_server,
)

pytestmark = pytest.mark.timeout(300)

log = logging.getLogger(__name__)

RUN = run_of(
    "hardships", target_tokens=2048, min_seconds=0.3, max_seconds=1.5, exchange_seconds=4,
    min_peers=2,
)  # fmt: skip
VALUES = 20_000
STEP_SECONDS = 0.05
HOUR = 3600
DISK_BYTES = 8 << 20
GAP_SECONDS = 30.0
"""No pause between two rounds of those that are well comes near it, on however busy a machine."""


class HastyPeer(PacedPeer):
    """With a clock of its own and little patience."""

    MODULE = "tests.e2e.hasty_peer"

    @property
    def clock(self) -> Path:
        return self.home.path / f"{self.name}.clock"

    def environment(self) -> dict[str, str]:
        return super().environment() | {hasty_peer.CLOCK: str(self.clock)}

    def set_clock(self, seconds: float) -> None:
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    @property
    def p2pd(self) -> psutil.Process:
        (process,) = [it for it in self.children() if it.name() == "p2pd"]
        return process

    @property
    def trainer(self) -> psutil.Process:
        return psutil.Process(
            self.until(lambda it: it.trainer_pid > 0, SOON_SECONDS, "it").trainer_pid
        )

    def merges_again(self, seconds: float = JOIN_SECONDS) -> None:
        """Wait until another round has merged its work."""
        began = time.monotonic()
        before = self.until(lambda it: True, seconds, "an answer").tokens
        self.until(lambda it: it.tokens > before, seconds, "a round with its work")
        log.info("%s merges again after %.1f s", self.name, time.monotonic() - began)


class Hardships:
    """Three peers that train; what befalls them."""

    def __init__(self, swarm: PacedSwarm, places: Sites | None) -> None:
        self.places = places
        self.home = swarm.home
        self.swarm = swarm
        self.peers = [self._peer(index) for index in range(3)]

    def _peer(self, index: int) -> HastyPeer:
        peer = self.swarm.peer(RUN.run_id, index, VALUES, STEP_SECONDS)
        site = self.places[index] if self.places else None
        return HastyPeer(self.home, peer.name, peer.coordinator, RUN.run_id, peer.pace, site)

    @contextmanager
    def nobody_else_suffers(self, victim: HastyPeer) -> Iterator[None]:
        """The others' rounds go on meanwhile, without a long pause."""
        others = [peer for peer in self.peers if peer is not victim]
        began = time.time()
        yield
        rounds_go_on(others)
        told = self.swarm.rounds(RUN.run_id)
        names = {peer.name for peer in others}
        at = sorted(it.finished_at for it in told if it.committed and it.peer in names)
        gaps = [after - before for before, after in pairwise(at) if after > began]
        log.info("without %s, the longest pause is %.1f s", victim.name, max(gaps, default=0))
        assert max(gaps, default=0) < GAP_SECONDS


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardships]:
    with ExitStack() as held:
        try:
            places: Sites | None = held.enter_context(sites(4))
        except NoNamespacesError:
            places = None  # one story is skipped
        home = held.enter_context(home_in(tmp_path_factory.mktemp("hard")))
        swarm = held.enter_context(paced_swarm(home, [RUN], places.places if places else ()))
        hard = Hardships(swarm, places)
        held.enter_context(small_disk(hard.peers[0].folder))
        keep_none_of_the_disk_free(home)
        for peer in hard.peers:
            peer.start()
        for peer in hard.peers:
            peer.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
        hard.peers[1].set_clock(+HOUR)
        hard.peers[2].set_clock(-HOUR)
        yield hard
        for peer in hard.peers:
            peer.send(signal.SIGTERM)
        for peer in hard.peers:
            assert peer.wait(LEAVE_SECONDS) == 0, peer.told()
        for peer in hard.peers:
            assert not said(peer, "Traceback"), "\n".join(peer.err.to_the_end())
        if swarm.server.process.poll() is None:
            swarm.server.stop()


def keep_none_of_the_disk_free(home: Home) -> None:
    """A gigabyte by default: more than the small disk has."""
    home.config.mkdir(parents=True)
    (home.config / "peer.toml").write_text('[limits]\ndisk_free = "0 B"\n')


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own at `folder`, where the user may have one."""
    folder.mkdir(parents=True)
    mounted = os.geteuid() == 0 and _run(
        "mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)
    )
    try:
        yield
    finally:
        if mounted:
            assert _run("umount", "-l", str(folder))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def said(peer: HastyPeer, what: str) -> int:
    return sum(what in line for line in peer.err.all())


def test_peers_whose_clocks_are_set_an_hour_off_stay_in_every_round(hard: Hardships) -> None:
    _, ahead, back = hard.peers
    ahead.err.wait_for(
        r"clock was set 3,[56]\d\d s ahead; going on with the swarm's time", SOON_SECONDS
    )
    back.err.wait_for(
        r"clock was set 3,[56]\d\d s back; going on with the swarm's time", SOON_SECONDS
    )
    # longer than any record lives
    began = time.monotonic()
    while time.monotonic() - began < hasty_peer.RECORD_SECONDS + 1:
        rounds_go_on(hard.peers)
    for peer in hard.peers:
        assert peer.until(lambda it: it.peers == 3, SOON_SECONDS, "all in its view").peers == 3
        peer.merges_again()
    assert said(ahead, "clock") == said(back, "clock") == 1


def test_a_trainer_that_stands_still_costs_the_others_nothing_and_goes_on(hard: Hardships) -> None:
    victim = hard.peers[2]
    trainer = victim.trainer
    with hard.nobody_else_suffers(victim):
        trainer.suspend()
        try:
            silent = "the trainer has not answered for"
            victim.until(lambda it: silent in it.reason, SOON_SECONDS, "why it takes no part")
            rounds_go_on(hard.peers[:2])
        finally:
            trainer.resume()
    victim.merges_again()
    assert victim.trainer.pid == trainer.pid


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_p2pd_that_is_dead_or_stands_still_is_replaced(hard: Hardships, number: int) -> None:
    victim = hard.peers[1]
    before, old = victim.until(lambda it: True, SOON_SECONDS, "an answer"), victim.p2pd
    descriptors = psutil.Process(victim.pid).num_fds()
    lines = len(victim.err.all())
    with hard.nobody_else_suffers(victim):
        old.send_signal(number)
        victim.err.wait_for("joining the swarm again: p2pd", SOON_SECONDS, after=lines)
        victim.err.wait_for("the network is there again", SOON_SECONDS, after=lines)
    victim.merges_again()
    assert not old.is_running()
    assert victim.until(lambda it: True, SOON_SECONDS, "an answer").peer_id == before.peer_id
    sockets = [it for folder in hard.home.runtime_folders() for it in folder.glob("p2p*")]
    assert len(sockets) == 2 * 4, "of each living p2pd, the coordinator's too"
    eventually(
        lambda: psutil.Process(victim.pid).num_fds() <= descriptors + 5, 10, "closed sockets"
    )


@pytest.mark.parametrize("whole", [True, False], ids=["the whole peer", "its daemon"])
def test_a_peer_that_stood_still_says_so_and_catches_up(hard: Hardships, whole: bool) -> None:
    victim = hard.peers[0]
    frozen = [psutil.Process(victim.pid), *(victim.children() if whole else ())]
    lines = len(victim.err.all())
    with hard.nobody_else_suffers(victim):
        for process in frozen:
            process.suspend()
        try:
            gone(hard.peers[1], "out of its view")
            rounds_go_on(hard.peers[1:], rounds=1)
        finally:
            for process in frozen:
                process.resume()
    victim.err.wait_for(
        r"this machine stood still for \d+ s; catching up", SOON_SECONDS, after=lines
    )
    victim.merges_again()
    shown = victim.until(lambda it: True, SOON_SECONDS, "an answer").notices
    assert any("stood still" in line for line in shown)


def test_a_full_disk_is_said_once_and_stops_nothing(hard: Hardships) -> None:
    victim = hard.peers[0]
    if not victim.folder.is_mount():
        pytest.skip("no file system of its own can be mounted here")
    filler = victim.folder / "filler"
    with hard.nobody_else_suffers(victim):
        # again and again, as each checkpoint makes the room of an older one free
        def no_room_is_left() -> bool:
            fill(filler)
            return said(victim, "no checkpoint can be written") > 0

        eventually(no_room_is_left, SOON_SECONDS, "that no checkpoint can be written", victim.told)
        shown = victim.until(lambda it: bool(it.notices), SOON_SECONDS, "a notice").notices
        assert any("No space left" in line for line in shown)
        for _ in range(2):
            victim.merges_again()
        filler.unlink()
        victim.err.wait_for("checkpoints are written again", SOON_SECONDS)
    assert said(victim, "no checkpoint can be written") == 1
    victim.merges_again()


def test_a_peer_whose_network_was_down_is_back_soon_after(hard: Hardships) -> None:
    if hard.places is None:
        pytest.skip("no network namespaces here")
    victim, place = hard.peers[2], hard.places[2].name
    lines = len(victim.err.all())
    with hard.nobody_else_suffers(victim):
        link(place, "down")
        try:
            # p2pd was begun anew, and nobody is in view
            victim.err.wait_for("no known peer has answered", SOON_SECONDS, after=lines)
            gone(hard.peers[0], "the lost one out of its view")
        finally:
            link(place, "up")
        victim.err.wait_for("other peers answer again", SOON_SECONDS, after=lines)
    victim.merges_again()


def gone(witness: HastyPeer, what: str) -> None:
    witness.until(lambda it: it.peers == 2, SOON_SECONDS, what)


def link(place: str, state: str) -> None:
    assert _run("ip", "-n", place, "link", "set", "eth0", state)


def test_whoever_is_killed_while_starting_or_leaving_takes_all_along(hard: Hardships) -> None:
    victim = hard.peers[2]
    victim.set_clock(0)  # nobody joins with a wrong one
    victim.send(signal.SIGTERM)
    victim.err.wait_for("leaving", LEAVE_SECONDS)
    victim.kill()
    folders = set(hard.home.runtime_folders())
    moments: list[Callable[[], bool]] = [
        lambda: bool(set(hard.home.runtime_folders()) - folders),
        lambda: any(it.name() == "p2pd" for it in victim.children()),
    ]
    for moment in moments:
        victim.start()
        eventually(moment, JOIN_SECONDS, "that moment", victim.told)
        victim.kill()
    victim.start()
    victim.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    assert len(hard.home.runtime_folders()) == 4, "those of the killed are gone"


def test_a_killed_coordinator_takes_its_p2pd_along(hard: Hardships) -> None:
    server = hard.swarm.server
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert [it.name() for it in children] == ["p2pd"]
    os.kill(server.process.pid, signal.SIGKILL)
    assert alive_after(DEATH_SECONDS, children) == []
    server.process.communicate()
    rounds_go_on(hard.peers, rounds=1)
    assert start_server(hard.home).stop() == (0, ""), "and the next one tidies up"
