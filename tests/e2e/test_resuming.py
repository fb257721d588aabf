"""Real peers that leave or are killed, and come back to what they had trained."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.checkpoint import CheckpointStore
from peer.checkpoint_keeper import CHECKPOINTS
from tests.e2e import processes
from tests.e2e.processes import (
    JOIN_SECONDS,
    SOON_SECONDS,
    Home,
    PeerProcess,
    Server,
    create_run,
    eventually,
    home_in,
    serving,
)
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(300)

SECONDS = 0.5
"""Between checkpoints."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_in(tmp_path_factory.mktemp("resuming")) as home:
        yield home


def lonely(home: Home, server: Server) -> PeerProcess:
    """A peer that nobody averages with."""
    create_run(home, server.address, tiny_spec(stop={"tokens": 10**12}))
    return PeerProcess(home, "anna", server.address, "tiny")


def hasty_peer(home: Home) -> Path:
    """A `peer` command that writes its checkpoints all the time."""
    path = home.path / "hasty-peer"
    path.write_text(
        f"#!{sys.executable}\n"
        "from peer import checkpoint_keeper, cli\n"
        f"checkpoint_keeper.CHECKPOINT_SECONDS = {SECONDS}\n"
        "cli.main()\n"
    )
    path.chmod(0o700)
    return path


def chunks_in_the_newest(peer: PeerProcess) -> list[int]:
    newest = CheckpointStore(peer.folder / CHECKPOINTS).newest()
    assert newest is not None
    return newest.pending.chunks


def test_who_leaves_alone_comes_back_to_all_it_had_trained(home: Home) -> None:
    with serving(home) as server:
        peer = lonely(home, server)
        peer.start()
        peer.until(lambda it: it.pending_tokens > 1000, JOIN_SECONDS, "some inner work")
        before = peer.status()
        assert before is not None
        assert peer.leave(signal.SIGTERM) == 0
        trained = chunks_in_the_newest(peer)
        assert 32 * len(trained) >= before.pending_tokens, "all of it is on the disk"
        assert len(set(trained)) == len(trained)

        peer.start()
        after = peer.until(lambda it: it.digest != b"", JOIN_SECONDS, "its checkpoint")
        assert after.pending_tokens >= 32 * len(trained)
        assert after.checkpoint_seconds >= 0
        peer.until(
            lambda it: it.pending_tokens > 32 * len(trained) + 500, JOIN_SECONDS, "more inner work"
        )
        assert "checkpoint" in home.peer("status", "--state-dir", str(peer.state_dir)).stdout
        assert peer.leave(signal.SIGTERM) == 0
        now = chunks_in_the_newest(peer)
        assert set(trained) < set(now), "none of them was begun anew, and all are claimed still"
        assert len(set(now)) == len(now)
        peer.err.wait_for("resumed round 0 and .* tokens of inner work, written", 1)
        assert server.stop() == (0, "")


def test_who_is_killed_loses_what_it_had_trained_since_its_checkpoint(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PEER", hasty_peer(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "proto")]))
    with serving(home) as server:
        peer = lonely(home, server)
        peer.start()
        peer.until(lambda it: it.pending_tokens > 1000, JOIN_SECONDS, "some inner work")
        folder = peer.folder / CHECKPOINTS

        def written() -> set[str]:
            return {it.name for it in folder.iterdir() if it.name[0].isdigit()}

        first = peer.status()
        assert first is not None
        seen = written()
        # the second new one was begun after the first was there, so after that status
        eventually(lambda: len(written() - seen) >= 2, SOON_SECONDS, "checkpoints", peer.told)
        peer.kill()
        saved = 32 * len(chunks_in_the_newest(peer))
        assert saved >= first.pending_tokens

        peer.start()
        after = peer.until(lambda it: it.digest != b"", JOIN_SECONDS, "its checkpoint")
        assert after.pending_tokens >= saved
        assert peer.leave(signal.SIGTERM) == 0
        assert server.stop() == (0, "")
