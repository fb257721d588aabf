"""Real peers that are held to what their users allow, and still take part in rounds."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from swarmpb.spec import RunSpec
from swarmpb.v1 import control_pb2
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    Home,
    PeerProcess,
    create_run,
    eventually,
    home_in,
    start_server,
)
from tests.tiny import tiny_config, tiny_spec

pytestmark = pytest.mark.timeout(300)
WINDOW_SECONDS = 10.0
PROCESSORS = 0.3


def spec() -> RunSpec:
    """Small, and a trainer alone would still use all of a processor."""
    config = tiny_config(hidden_size=64, intermediate_size=128, num_hidden_layers=2)
    return tiny_spec(
        model={"architecture": "LlamaForCausalLM", "config": config},
        inner={"batch_size": 8},
        data={"sequence_length": 64},
        round={"target_tokens": 12_000, "min_seconds": 3, "max_seconds": 5},
        stop={"tokens": 10**12},
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PeerProcess, PeerProcess]]:
    """A peer with limits and one without."""
    with home_in(tmp_path_factory.mktemp("limits")) as home:
        server = start_server(home)
        create_run(home, server.address, spec())
        held, free = (PeerProcess(home, it, server.address, "tiny") for it in ("held", "free"))
        write_limits(home, f'processor = "{PROCESSORS} processors"\nniceness = 0\n')
        held.manners = ()  # its file says it, until the file says something else
        held.start(PEER_CONFIG=str(config_of(home)))
        free.start()
        yield held, free
        for peer in (it for it in (held, free) if it.alive):
            peer.send(signal.SIGTERM)
            assert peer.wait(LEAVE_SECONDS) == 0
        assert server.stop()[0] == 0


def config_of(home: Home) -> Path:
    return home.path / "held.toml"


def write_limits(home: Home, lines: str) -> None:
    config_of(home).write_text(f"[limits]\n{lines}")


def acting(status: control_pb2.StatusReply) -> dict[str, str]:
    return {it.name: it.words for it in status.acting}


def processor_seconds(pid: int) -> float:
    """Of a process and its children."""
    daemon, spent = psutil.Process(pid), 0.0
    for process in (daemon, *daemon.children(recursive=True)):
        times = process.cpu_times()
        spent += times.user + times.system
    return spent


def used(peer: PeerProcess) -> float:
    """Processors in use over ten seconds."""
    began, before = time.monotonic(), processor_seconds(peer.pid)
    time.sleep(WINDOW_SECONDS)
    return (processor_seconds(peer.pid) - before) / (time.monotonic() - began)


def in_rounds(peer: PeerProcess, more: int = 1) -> control_pb2.StatusReply:
    """Once it has been credited with so many inner steps more."""
    status = peer.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    then = status.round + more
    return peer.until(lambda it: it.round >= then, JOIN_SECONDS, f"round {then}")


def test_daemon_trainer_and_p2pd_together_use_what_is_allowed_and_make_rounds(
    pair: tuple[PeerProcess, PeerProcess],
) -> None:
    held, _ = pair
    in_rounds(held)
    before = held.until(lambda it: "processor" in acting(it), 120, "the limit is shown")
    assert acting(before)["processor"].startswith(f"held at {PROCESSORS} of")
    measured = used(held)
    assert measured < PROCESSORS * 1.1
    after = held.status()
    assert after is not None
    assert after.round > before.round
    assert after.tokens > before.tokens, "it does fewer inner steps, and they count"


def test_a_limit_changes_while_the_peer_runs(pair: tuple[PeerProcess, PeerProcess]) -> None:
    held, _ = pair
    in_rounds(held, 0)
    trainer = held.until(lambda it: it.trainer_pid > 0, JOIN_SECONDS, "a trainer").trainer_pid
    environment = {"PEER_CONFIG": str(config_of(held.home))}
    folder = ("--state-dir", str(held.state_dir))
    for key, value in (("niceness", "12"), ("processor", "15%"), ("memory", "30 MB")):
        told = held.home.peer("config", "set", f"limits.{key}", value, *folder, **environment)
        assert told.returncode == 0, told.stderr
    assert eventually(lambda: psutil.Process(trainer).nice() == 12, 10, "a nicer trainer")
    status = held.until(
        lambda it: "1 of 8 sequences at a time" in acting(it).get("memory", ""), 30, "the limit"
    )
    assert "30 MB" in acting(status)["memory"]
    line = held.err.wait_for("limits.memory", 60)
    assert "with one sequence at a time: raise limits.memory" in line
    assert held.wait(LEAVE_SECONDS) == 18
