"""`peer support-bundle`: what helps is in it; who somebody is, where, and their keys are not."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import socket
import stat
import tarfile
from pathlib import Path

import anyio
import click
import pytest
from click.testing import CliRunner

from peer.cli import cli
from peer.journal import Journal
from peer.local_runs import run_folder
from peer.run_log import kept_log
from swarmpb.signing import PeerIdentity, SigningKey
from swarmpb.v1 import coordinator_pb2

log = logging.getLogger("peer.test")

INVITE = "5ecre7c0ffee" * 3
USER, MACHINE, COORDINATOR = "karoline", "karolines-nas", "coordinator.secret-lab.example"
ADDRESS, ADDRESS6 = "203.0.113.77", "2001:db8::77:1"


@pytest.fixture(scope="module")
def identity() -> PeerIdentity:
    return PeerIdentity.generate()


@pytest.fixture
def home(tmp_path: Path, identity: PeerIdentity, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody with much to hide, who has joined run demo."""
    home = tmp_path / USER
    state = home / "state"
    folder = run_folder(state, "demo")
    folder.mkdir(parents=True)
    for name, value in (("HOME", home), ("PEER_STATE_DIR", state), ("PEER_CONFIG", home / "c")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("PEER_COORDINATOR", raising=False)
    monkeypatch.setenv("LOGNAME", USER)
    monkeypatch.setattr(socket, "gethostname", lambda: MACHINE)
    link = f"murmuration://{COORDINATOR}:7700/demo/invite={INVITE}"
    (home / "c").write_text(f'coordinator = "{link}"\nname = "a cat"\n')
    (folder / "lock").touch()
    (folder / "identity.key").write_bytes(identity.to_bytes())
    (folder / "identity.key").chmod(0o600)
    (folder / "link").write_text(link)
    (folder / "link").chmod(0o644)
    initial = [f"/ip4/{ADDRESS}/tcp/4001/p2p/{identity.peer_id}", "/dns4/karo-box/tcp/1/p2p/x"]
    (folder / "run.json").write_text(json.dumps({"initial_peers": initial}))
    return home


def bundle(tmp_path: Path) -> dict[str, str]:
    """The files of a bundle made now, by name."""
    path = tmp_path / "bundle.tar.gz"
    result = CliRunner().invoke(cli, ["support-bundle", str(path)])
    if result.exception is not None:
        raise result.exception
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "look through it" in result.output
    found = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            assert (entry.uname, entry.gname, entry.uid, entry.mode) == ("", "", 0, 0o600)
            file = archive.extractfile(entry)
            assert file is not None
            name = entry.name.removeprefix("murmuration-support/")
            assert name in result.output
            found[name] = file.read().decode()
    assert USER not in gzip.decompress(path.read_bytes()).decode(errors="replace")
    return found


def test_nobody_is_told_who_where_or_with_which_keys(
    home: Path, tmp_path: Path, identity: PeerIdentity
) -> None:
    key = identity.to_bytes()
    signing = SigningKey.generate().to_bytes()
    smuggled = [
        f"cannot reach {COORDINATOR}:7700 ({ADDRESS}), nor [{ADDRESS6}]:4001",
        f"dial /ip6/{ADDRESS6}/tcp/4001 and /dns4/karo-box/tcp/1",
        f"{home}/state is full, says {USER}@{MACHINE}",
        f"invite={INVITE} was refused; so was {INVITE}",
        f"key {key.hex()}",
        f"key {base64.b64encode(key).decode()}",
        f"signs with {signing.hex()} or {base64.urlsafe_b64encode(signing).decode()}",
        f"karo-box says: peer join murmuration://{COORDINATOR}:7700/demo/invite={INVITE}",
    ]
    with kept_log(run_folder(home / "state", "demo")):
        for line in smuggled:
            log.warning(line)
    files = bundle(tmp_path)
    everything = "\n".join([*files, *files.values()])
    for secret in (
        *(USER, MACHINE, COORDINATOR, "secret-lab", "karo-box", str(home)),
        *(ADDRESS, ADDRESS6, INVITE, signing.hex(), signing.hex()[:16]),
        *(base64.urlsafe_b64encode(signing).decode()[:16],),
        *(key.hex()[40:72], base64.b64encode(key).decode()[40:60]),
    ):
        assert secret not in everything, secret
    assert identity.peer_id in everything, "others know it, and it helps"


def test_what_helps_is_in_it(home: Path, tmp_path: Path) -> None:
    async def some_rounds() -> None:
        journal = Journal(run_folder(home / "state", "demo") / "journal.sqlite")
        await journal.open()
        journal.add(coordinator_pb2.RoundOutcome(round=7, reason=f"no answer from {ADDRESS}"))
        await journal.close()

    anyio.run(some_rounds)
    before = sorted(home.rglob("*"))
    files = bundle(tmp_path)
    assert sorted(home.rglob("*")) == before, "looking leaves nothing"
    journal = json.loads(files["demo/journal.json"])
    assert journal["rows"] == 1
    assert (journal["newest"][0]["round"], ADDRESS in journal["newest"][0]["reason"]) == (7, False)
    settings = {row["key"]: row for row in json.loads(files["settings.json"])}
    assert settings["name"]["value"] == "a cat"
    assert "limits.upload" in settings
    checks = {it["check"]: it["ok"] for it in json.loads(files["checks.json"])}
    assert checks["demo/identity.key is private"]
    assert not checks["demo/link is private"], "somebody opened it to others"
    assert json.loads(files["versions.json"])["torch"]
    assert {it["name"] for it in json.loads(files["demo/files.json"])} >= {"lock", "identity.key"}
    assert "sent nowhere" in " ".join(files["about.txt"].split())


def test_wrong_settings_are_a_reason_for_a_bundle_not_against_one(
    home: Path, tmp_path: Path
) -> None:
    (home / "c").write_text("threads = nonsense")
    assert "is not valid TOML" in json.loads(bundle(tmp_path)["settings.json"])["wrong"]


def test_what_cannot_be_read_is_said_in_its_place(home: Path, tmp_path: Path) -> None:
    (run_folder(home / "state", "demo") / "journal.sqlite").write_bytes(b"no database" * 100)
    assert "cannot be read" in json.loads(bundle(tmp_path)["demo/journal.json"])["not to be had"]


def test_no_file_is_overwritten(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.tar.gz").write_text("mine")
    result = CliRunner().invoke(
        cli, ["support-bundle", str(tmp_path / "bundle.tar.gz")], standalone_mode=False
    )
    assert isinstance(result.exception, click.BadParameter)
    assert (tmp_path / "bundle.tar.gz").read_text() == "mine"
