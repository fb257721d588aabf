"""Real peers that rest by themselves: outside their hours, and while a listed program runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e import processes
from tests.e2e.processes import JOIN_SECONDS, Home, PeerProcess, create_run, home_in, serving
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
GAME = "a-game-of-2026"
SEEN_SECONDS = 3.0
"""A program is looked for every two seconds, and whether to rest is asked every second."""
REST_SECONDS = 3.0
"""From then on the machine is its user's again."""
LIGHT_BYTES = 100e6
"""Less than that is left of a peer that rests."""


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_in(tmp_path_factory.mktemp("resting")) as home:
        yield home


@pytest.fixture(autouse=True)
def _impatient_peer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `peer` command that waits for two seconds instead of a minute whether a program is gone."""
    path = home.path / "impatient-peer"
    path.write_text(
        f"#!{sys.executable}\n"
        "from peer import cli\nfrom peer.resting import due\n"
        "due.LINGER_SECONDS = 2.0\n"
        "cli.main()\n"
    )
    path.chmod(0o700)
    monkeypatch.setattr(processes, "PEER", path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "proto")]))


def zone_in_which_it_is(second: int) -> str:
    """A zone with odd seconds: there, so many of the present minute have passed."""
    ahead = (second - int(time.time())) % 60
    return f"TEST-0:00:{ahead:02}"


def minute_after(zone: str) -> str:
    """The hours from the next minute on, on the clock of that zone."""
    ahead = int(zone.rpartition(":")[2])
    begins = time.gmtime(time.time() + ahead + 60)
    ends = time.gmtime(time.time() + ahead - 60)
    return f"{time.strftime('%H:%M', begins)}-{time.strftime('%H:%M', ends)}"


@contextmanager
def playing(home: Home) -> Iterator[None]:
    """A program of a name of its own runs."""
    found = shutil.which("cat")
    assert found is not None
    game = subprocess.Popen([shutil.copy(found, home.path / GAME)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        game.communicate()


def test_a_peer_waits_for_its_hours_and_makes_room_for_a_game(home: Home) -> None:
    with serving(home) as server:
        create_run(home, server.address, tiny_spec(stop={"tokens": 10**12}))
        peer = PeerProcess(home, "anna", server.address, "tiny")
        zone = zone_in_which_it_is(second=45)
        hours = minute_after(zone)
        peer.start("--hours", hours, "--not-while", GAME.upper(), TZ=zone)

        begins = hours.partition("-")[0]
        said = f"outside the hours you allow .limits.hours = daily {hours}.; until {begins}"
        peer.out.wait_for(f"resting: {said}", 15)
        waiting = peer.until(lambda it: it.phase == "resting", 10, "its control socket")
        assert waiting.resting_until == pytest.approx(time.time(), abs=60)
        assert waiting.daemon_rss_bytes < LIGHT_BYTES
        assert peer.children() == []

        trained = peer.until(lambda it: it.pending_tokens > 500, JOIN_SECONDS, "inner work")
        assert time.time() >= waiting.resting_until, "not before its hours"
        assert trained.pid == waiting.pid
        children = peer.children()

        with playing(home):
            psutil.wait_procs(children, timeout=SEEN_SECONDS + REST_SECONDS)
            assert not any(it.is_running() for it in children), "trainer and p2pd are gone"
            resting = peer.until(lambda it: it.phase == "resting", JOIN_SECONDS, "a light process")
            assert resting.reason == f"{GAME.upper()} is running (limits.not_while)"
            assert list(resting.resting_reasons) == [resting.reason]
            assert resting.pid == trained.pid
            assert resting.daemon_rss_bytes < LIGHT_BYTES
        # what it resumes then is a matter of pausing
        back = ("joining", "syncing", "training")
        peer.until(lambda it: it.phase in back, JOIN_SECONDS, "taking part again by itself")
        assert peer.leave() == 0
        assert server.stop() == (0, "")
