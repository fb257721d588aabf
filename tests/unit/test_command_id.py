"""`peer id`: identities belong to runs, are made by chance, and travel behind a passphrase."""

from __future__ import annotations

import ast
import json
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from peer import identity_export
from peer.cli import cli
from peer.identity_export import ExportError, export, read_export
from peer.identity_files import IDENTITY, identity_of
from peer.joining import _identity
from peer.runtime import RuntimeFolder
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity

ROOT = Path(__file__).resolve().parents[2]
WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase that is tested in a millisecond."""
    monkeypatch.setattr(identity_export.export, "__defaults__", (10,))


@pytest.fixture(scope="module")
def anna() -> PeerIdentity:
    return PeerIdentity.generate()


@pytest.fixture(scope="module")
def bert() -> PeerIdentity:
    return PeerIdentity.generate()


@pytest.fixture
def state(tmp_path: Path, anna: PeerIdentity, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a machine that is `anna` in run demo."""
    folder = tmp_path / "state" / "runs" / "demo"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / IDENTITY).write_bytes(anna.to_bytes())
    monkeypatch.setenv("PEER_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "words").write_text(f"{WORDS}\n")
    return tmp_path / "state"


def peer_id(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["id", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def usage(*arguments: object) -> str:
    """What is wrong with a command line."""
    result = CliRunner().invoke(cli, ["id", *map(str, arguments)], standalone_mode=False)
    assert isinstance(result.exception, click.ClickException)
    return result.exception.message


def test_each_run_has_a_peer_of_its_own(state: Path, anna: PeerIdentity) -> None:
    second = state / "runs" / "second"
    second.mkdir()
    (second / "lock").touch()
    assert peer_id("--run", "demo").strip() == anna.peer_id
    assert peer_id().splitlines()[0] == f"demo  {anna.peer_id}"
    assert "second  none yet" in peer_id()
    assert json.loads(peer_id("--json"))[1] == {"run": "second", "peer_id": None}


def test_the_same_machine_is_another_peer_in_every_run_and_folder(tmp_path: Path) -> None:
    found = {_identity(tmp_path / name / IDENTITY).peer_id for name in ("a", "b")}
    assert len(found) == 2
    assert {_identity(tmp_path / name / IDENTITY).peer_id for name in ("a", "b")} == found


def test_nothing_asks_the_machine_who_it_is() -> None:
    """Neither its name, nor its network cards, nor the identity that its system gave it."""
    telling = {"getnode", "uuid1", "gethostid", "gethostname", "getfqdn", "node", "uname"}
    allowed = {ROOT / "peer" / "support" / "gathering.py"}  # it has to know what to hide
    for folder in ("peer", "proto/swarmpb"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path in allowed:
                continue
            text = path.read_text(encoding="utf-8")
            assert "machine-id" not in text, path
            for call in (it for it in ast.walk(ast.parse(text)) if isinstance(it, ast.Call)):
                called = call.func
                name = called.attr if isinstance(called, ast.Attribute) else ""
                owner = ast.unparse(called.value) if isinstance(called, ast.Attribute) else ""
                asks = name in telling and owner in ("socket", "platform", "os", "uuid")
                assert not asks, f"{path} asks {owner}.{name}"


def test_an_identity_travels_behind_a_passphrase(
    state: Path, tmp_path: Path, anna: PeerIdentity
) -> None:
    file, words = tmp_path / "anna.json", tmp_path / "words"
    assert anna.peer_id in peer_id("export", file, "--passphrase-file", words)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert anna.to_bytes() not in file.read_bytes()
    other = tmp_path / "other machine"
    told = peer_id("import", file, "--passphrase-file", words, "--state-dir", other)
    assert f"this machine is {anna.peer_id} in run demo" in told
    key = other / "runs" / "demo" / IDENTITY
    assert key.read_bytes() == anna.to_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_without_a_passphrase_it_is_said_what_that_means(state: Path, tmp_path: Path) -> None:
    told = peer_id("export", tmp_path / "plain.json", "--plain")
    assert "whoever reads it can be this peer" in told
    assert stat.S_IMODE((tmp_path / "plain.json").stat().st_mode) == 0o600
    peer_id("import", tmp_path / "plain.json", "--state-dir", tmp_path / "other")


def test_nothing_is_ever_overwritten(state: Path, tmp_path: Path) -> None:
    (tmp_path / "photo").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("photo", "link"):
        assert "exists already" in usage("export", tmp_path / name, "--plain")
    assert (tmp_path / "photo").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("words", ["", "short"])
def test_a_passphrase_that_is_none_is_refused(state: Path, tmp_path: Path, words: str) -> None:
    (tmp_path / "words").write_text(words)
    file = tmp_path / "anna.json"
    assert "needs 8 letters" in usage("export", file, "--passphrase-file", tmp_path / "words")
    assert not file.exists()


def test_where_nobody_can_be_asked_the_option_is_named(state: Path, tmp_path: Path) -> None:
    assert "--passphrase-file" in usage("export", tmp_path / "anna.json")


def test_a_peer_that_runs_keeps_its_identity(
    state: Path, tmp_path: Path, anna: PeerIdentity, bert: PeerIdentity
) -> None:
    (tmp_path / "bert.json").write_bytes(export(bert, "demo", None))
    runtime = RuntimeFolder.claim(state / "runs" / "demo", "a test")
    try:
        with pytest.raises(UserError) as caught:
            peer_id("import", tmp_path / "bert.json")
    finally:
        runtime.close()
    assert caught.value.code is Exit.ALREADY_RUNNING
    found = identity_of(state / "runs" / "demo")
    assert found is not None
    assert found.peer_id == anna.peer_id


def test_the_identity_before_is_kept_aside_with_what_speaks_for_it(
    state: Path, tmp_path: Path, anna: PeerIdentity, bert: PeerIdentity
) -> None:
    folder = state / "runs" / "demo"
    (folder / "certificate.bin").write_bytes(b"annas")
    (folder / "run.json").write_bytes(b"the run's")
    (tmp_path / "bert.json").write_bytes(export(bert, "demo", None))
    told = peer_id("import", tmp_path / "bert.json")
    (aside,) = folder.glob("before-*")
    assert str(aside) in told
    assert (aside / IDENTITY).read_bytes() == anna.to_bytes()
    assert (aside / "certificate.bin").read_bytes() == b"annas"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert not (folder / "certificate.bin").exists()
    assert (folder / "run.json").exists()


@pytest.mark.parametrize("run_id", ["../../etc", "/etc", "a/b", "", "..", "A", "x" * 64])
def test_a_file_cannot_name_a_folder_elsewhere(anna: PeerIdentity, run_id: str) -> None:
    data = json.loads(export(anna, "demo", None))
    with pytest.raises(ExportError, match="run_id"):
        read_export(json.dumps(data | {"run_id": run_id}).encode())


def test_a_wrong_passphrase_or_a_changed_file_is_found_out(
    anna: PeerIdentity, bert: PeerIdentity
) -> None:
    data = json.loads(export(anna, "demo", WORDS))
    assert read_export(json.dumps(data).encode()).open(WORDS).peer_id == anna.peer_id
    with pytest.raises(ExportError, match="wrong passphrase"):
        read_export(json.dumps(data).encode()).open("incorrect horse")
    for change in ({"run_id": "other"}, {"peer_id": bert.peer_id}):
        with pytest.raises(ExportError, match="was changed"):
            read_export(json.dumps(data | change).encode()).open(WORDS)
    plain = json.loads(export(anna, "demo", None))
    with pytest.raises(ExportError, match="and holds"):
        read_export(json.dumps(plain | {"peer_id": bert.peer_id}).encode()).open("")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"x" * 20_000,
        b'{"what": "the identity of a murmuration peer", "run_id": "demo"}',
    ],
)
def test_what_is_no_identity_is_refused(state: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError) as caught:
        peer_id("import", tmp_path / "file")
    assert "no exported identity" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cannot_ask_for_hours_of_work(anna: PeerIdentity) -> None:
    data = json.loads(export(anna, "demo", WORDS))
    data["encryption"]["cost"] = 30
    with pytest.raises(ExportError, match="cost"):
        read_export(json.dumps(data).encode())
