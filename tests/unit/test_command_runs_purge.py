"""`peer runs` and `peer purge`: what there is of us on a machine, and that all of it can go."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import click
import pytest
from click.testing import CliRunner

from peer.checkpoint_manifest import CheckpointManifest, Pending
from peer.cli import cli
from peer.control import serve_control
from peer.identity_files import IDENTITY
from peer.resting.pause_file import save_pause
from peer.resting.rest import Pause
from peer.runtime import RuntimeFolder
from peer.service import installing
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import control_pb2


class Machine:
    """A volunteer's machine: what is ours on it, and what is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state" / "murmuration"
        self.config = path / "config" / "murmuration" / "peer.toml"
        self.temporary = path / "tmp"
        self.photos = path / "photos"

    def run(self, name: str) -> Path:
        return self.state / "runs" / name

    def everything(self) -> set[Path]:
        return set(self.path.rglob("*"))

    def private_folder(self, name: str, age: float = 3600) -> Path:
        folder = self.temporary / name
        folder.mkdir()
        os.utime(folder, (time.time() - age, time.time() - age))
        return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One that nobody has joined anything on."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(path / "cache"))
    monkeypatch.delenv("PEER_COORDINATOR", raising=False)
    machine = Machine(path)
    monkeypatch.setenv("PEER_STATE_DIR", str(machine.state))
    monkeypatch.setenv("PEER_CONFIG", str(machine.config))
    machine.temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(machine.temporary))
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", path / "no systemd")
    machine.photos.mkdir()
    (machine.photos / "cat.jpg").write_bytes(b"miau")
    return machine


@pytest.fixture(scope="module")
def identity() -> PeerIdentity:
    return PeerIdentity.generate()


def joined(machine: Machine, name: str, identity: PeerIdentity) -> Path:
    """A run that was joined once."""
    folder = machine.run(name)
    generation = folder / "checkpoints" / "7-3"
    generation.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / IDENTITY).write_bytes(identity.to_bytes())
    (folder / "data").mkdir()
    (folder / "data" / "text").write_bytes(b"x" * 100_000)
    (folder / "peer.log").write_text("2026-11-22 INFO hello\n")
    manifest = CheckpointManifest(
        round=7,
        tokens=9000,
        digest="0" * 64,
        parents=[],
        merged_tokens=1234,
        pending=Pending(),
        written_at=0.0,
        files={},
    )
    (generation / "manifest.json").write_bytes(manifest.encode())
    # two checkpoints share a file
    (generation / "global.safetensors").write_bytes(b"y" * 1_000_000)
    other = folder / "checkpoints" / "6-2"
    other.mkdir()
    os.link(generation / "global.safetensors", other / "global.safetensors")
    machine.config.parent.mkdir(parents=True, exist_ok=True)
    machine.config.write_text('name = "Anna"\n')
    return folder


def peer(*arguments: str) -> str:
    """What a command says; a refusal is raised as it is."""
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


# ---- runs ------------------------------------------------------------------------------


def test_a_machine_that_joined_nothing_says_how_to(machine: Machine) -> None:
    assert "join one with `peer join LINK`" in peer("runs")
    assert json.loads(peer("runs", "--json")) == []


def test_a_run_without_a_peer_is_known_by_what_it_left(
    machine: Machine, identity: PeerIdentity
) -> None:
    folder = joined(machine, "demo", identity)
    os.utime(folder / "lock", (0, 0))
    os.utime(folder / "peer.log", (time.time() - 7200,) * 2)
    told = peer("runs")
    assert told.startswith("demo: not running for 2 h\n  at round 7, 1,234 tokens merged\n")
    (facts,) = json.loads(peer("runs", "--json"))
    assert facts["peer_id"] == identity.peer_id
    assert 1_000_000 <= facts["sizes"]["checkpoints"] < 1_100_000, "a shared file counts once"
    assert facts["sizes"]["data"] >= 100_000
    assert facts["bytes"] == sum(facts["sizes"].values())
    save_pause(folder, Pause(None))
    assert "not running" in peer("runs")
    assert "paused by you" in peer("runs")


class Peer:
    """A peer's side of the control socket."""

    def __init__(self, leave: Callable[[], None] = lambda: None, **status: Any) -> None:
        self._status = status
        self._leave = leave

    def status(self) -> control_pb2.StatusReply:
        return control_pb2.StatusReply(**self._status)

    def pause(self, seconds: float) -> str:
        raise NotImplementedError

    def resume(self) -> str:
        raise NotImplementedError

    def finish(self, within_seconds: float) -> str:
        raise NotImplementedError

    def leave(self) -> str:
        self._leave()
        return "leaving"

    def reload(self) -> control_pb2.ReloadReply:
        raise NotImplementedError


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("phase", "state", "round_"),
    [("training", "running", 9), ("resting", "resting", 7), ("paused", "paused", 7)],
)
async def test_a_peer_on_a_run_is_asked_and_one_that_rests_has_its_checkpoint(
    machine: Machine, identity: PeerIdentity, phase: str, state: str, round_: int
) -> None:
    runtime = RuntimeFolder.claim(joined(machine, "demo", identity), "a test")
    status = Peer(phase=phase, reason="because", round=9, tokens=55, uptime_seconds=60.0)
    async with serve_control(runtime.path, status):
        told = await anyio.to_thread.run_sync(lambda: peer("runs", "--json"))
    runtime.close()
    (facts,) = json.loads(told)
    assert (facts["state"], facts["reason"], facts["round"]) == (state, "because", round_)
    assert facts["since"] == pytest.approx(time.time() - 60, abs=30)


# ---- purge -----------------------------------------------------------------------------


def test_everything_of_ours_goes_and_nothing_else(machine: Machine, identity: PeerIdentity) -> None:
    before = machine.everything()
    joined(machine, "demo", identity)
    joined(machine, "second", identity)
    (machine.state / "usage.sqlite").write_bytes(b"z")
    peer("service", "install", "murmuration://there.example:7700/demo/invite=" + "5ecre7" * 6)
    machine.private_folder("murmuration-0123abcd")
    told = peer("purge", "--yes")
    for expected in ("run demo", "run second", "settings", "data and energy", "service", "killed"):
        assert expected in told
    assert "stays: models that you exported" in told
    folders = {"config", "state", "systemd", "user"}  # those of the system's own layout
    assert {it.name for it in machine.everything() - before} <= folders
    assert (machine.photos / "cat.jpg").read_bytes() == b"miau"
    assert "nothing of ours is on this machine" in peer("purge", "--yes")


def test_a_look_removes_nothing(machine: Machine, identity: PeerIdentity) -> None:
    joined(machine, "demo", identity)
    before = machine.everything()
    assert " MB  in all" in peer("purge", "--dry-run")
    assert machine.everything() == before
    with pytest.raises(click.UsageError, match="nobody can be asked"):
        peer("purge")
    assert machine.everything() == before


def test_one_run_goes_and_the_others_stay(machine: Machine, identity: PeerIdentity) -> None:
    joined(machine, "demo", identity)
    second = joined(machine, "second", identity)
    peer("purge", "--run", "demo", "--yes")
    assert not machine.run("demo").exists()
    assert (second / IDENTITY).exists()
    assert machine.config.exists()


def test_links_go_and_what_they_lead_to_stays(machine: Machine, identity: PeerIdentity) -> None:
    folder = joined(machine, "demo", identity)
    (folder / "album").symlink_to(machine.photos)
    (folder / "data" / "cat").symlink_to(machine.photos / "cat.jpg")
    big = machine.path / "big disk"
    joined(machine, "far", identity).rename(big)
    machine.run("far").symlink_to(big)
    assert f"what it leads to stays: {big}" in peer("purge", "--yes")
    assert not (machine.state / "runs").exists()
    assert (machine.photos / "cat.jpg").read_bytes() == b"miau"
    assert (big / IDENTITY).exists()


def test_a_state_folder_among_other_things_keeps_them(
    machine: Machine, identity: PeerIdentity
) -> None:
    """Somebody named their home as the state folder, and has folders that look like ours."""
    joined(machine, "demo", identity)
    strange = [
        machine.state / "letters.tmp",
        machine.run("marathon") / "2026.gpx",
        machine.state / "coordinator" / "coordinator.sqlite",
        machine.config.with_name("owner.key"),
    ]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (machine.state / "runs" / "album").symlink_to(machine.photos)
    told = peer("purge", "--yes")
    assert f"stays: this machine's coordinator, with its keys and runs: {machine.state}" in told
    assert f"stays: the key with which you own runs: {strange[-1]}" in told
    assert all(path.read_text() == "mine" for path in strange)
    assert (machine.state / "runs" / "album").is_symlink()
    assert not machine.run("demo").exists()


def test_a_peer_that_runs_is_not_purged(machine: Machine, identity: PeerIdentity) -> None:
    joined(machine, "demo", identity)
    runtime = RuntimeFolder.claim(joined(machine, "second", identity), "a test")
    before = machine.everything()
    with pytest.raises(UserError) as caught:
        peer("purge", "--yes")
    assert caught.value.code is Exit.ALREADY_RUNNING
    assert "`peer leave --run second` first, or say --leave" in str(caught.value)
    assert machine.everything() == before
    runtime.close()


@pytest.mark.anyio
async def test_if_asked_it_leaves_first(machine: Machine, identity: PeerIdentity) -> None:
    runtime = RuntimeFolder.claim(joined(machine, "demo", identity), "a test")
    async with serve_control(runtime.path, Peer(leave=runtime.close)):
        told = await anyio.to_thread.run_sync(lambda: peer("purge", "--yes", "--leave"))
    assert "run demo: leaving" in told
    assert not machine.state.exists()


def test_only_folders_that_nobody_uses_are_swept_from_the_temporary_folder(
    machine: Machine, identity: PeerIdentity
) -> None:
    stale = machine.private_folder("murmuration-00000001")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale / "control.sock"))
    used = machine.private_folder("murmuration-00000002")
    young = machine.private_folder("murmuration-00000003", age=0)
    others = [machine.private_folder(name) for name in ("murmuration-photos", "murmuration-xyz")]
    link = machine.temporary / "murmuration-00000004"
    link.symlink_to(machine.photos)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(used / "control.sock"))
        alive.listen()
        peer("purge", "--yes")
    assert not stale.exists()
    assert all(it.exists() for it in (used, young, *others, link))
