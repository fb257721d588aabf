"""`peer config`: settings are changed one at a time, and nothing wrong gets into the file."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import pytest
from click.testing import CliRunner

from peer.cli import cli
from peer.config import known_keys, load_config
from peer.control import serve_control
from peer.runtime import RuntimeFolder
from peer.settings_file import _has_unit, near, with_value, without_value
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import control_pb2

MINE = """\
# what my room-mates allow
name = "Annas cat"  # she sleeps on it

[limits]
# the line is slow in the evening
upload = "2 Mbit/s"
threads = 2
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a volunteer."""
    path = tmp_path / "config" / "peer.toml"
    monkeypatch.setenv("PEER_CONFIG", str(path))
    monkeypatch.setenv("PEER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("PEER_COORDINATOR", raising=False)
    return path


def peer(*arguments: str) -> str:
    """What a command says; a refusal is raised as it is."""
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        peer(*arguments)
    assert caught.value.code is Exit.BAD_CONFIG
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(file: Path, text: str = MINE) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_a_first_setting_makes_the_file_for_its_owner_alone(file: Path) -> None:
    assert peer("config", "path").strip() == str(file)
    assert "limits.disk = 20 GB" in peer("config", "set", "limits.disk", "20 GB")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_config({}).limits.disk == 20e9


def test_comments_and_order_survive_a_change(file: Path) -> None:
    written(file)
    peer("config", "set", "limits.upload", "3", "Mbit/s")
    assert file.read_text() == MINE.replace("2 Mbit/s", "3 Mbit/s")
    peer("config", "set", "limits.upload", "2 Mbit/s")
    peer("config", "set", "device", "cpu")
    peer("config", "unset", "device")
    assert file.read_text() == MINE


def test_a_link_to_the_file_stays_a_link_and_its_mode_what_it_was(
    file: Path, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text(MINE)
    real.chmod(0o644)
    file.parent.mkdir()
    file.symlink_to(real)
    peer("config", "set", "device", "cpu")
    assert file.is_symlink()
    assert 'device = "cpu"' in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("key", "words", "stands"),
    [
        ("limits.threads", ["3"], "threads = 3"),
        ("limits.on_battery", ["yes"], "on_battery = true"),
        ("limits.max_temperature", ["80.5"], "max_temperature = 80.5"),
        ("limits.not_while", ["steam"], 'not_while = ["steam"]'),
        ("limits.not_while", ["steam", "my game"], 'not_while = ["steam", "my game"]'),
        ("limits.not_while", ["steam, blender"], 'not_while = ["steam", "blender"]'),
        ("limits.processor", ["50%"], 'processor = "50%"'),
        ("energy.price", ["0.31"], "price = 0.31"),
        ("name", ["5"], 'name = "5"'),
        ("name", ["true"], 'name = "true"'),
        ("p2p_port", ["4000"], "p2p_port = 4000"),
    ],
)
def test_words_of_a_command_line_become_what_the_setting_is(
    key: str, words: list[str], stands: str
) -> None:
    assert stands in with_value("", key, words, Path("peer.toml")).text.splitlines()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("limits.upload", "5", "expected a rate such as '2 Mbit/s'"),
        ("limits.disk", "20.5", "expected an amount of data such as '20 GB'"),
        ("limits.threads", "0", "greater than or equal to 1"),
        ("limits.max_temperature", "500", "less than or equal to 120"),
        ("limits.io", "fast", "'idle' or 'normal'"),
        ("coordinator", "nowhere", "expected HOST:PORT"),
        ("name", "a\x1b[31mb", "expected letters, digits"),
    ],
)
def test_a_wrong_value_is_refused_and_the_file_stays(
    file: Path, key: str, value: str, why: str
) -> None:
    written(file)
    assert why in refused("config", "set", key, value)
    assert file.read_text() == MINE


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("limits.uplod", "limits.upload"),
        ("upload", "limits.upload"),
        ("limit.thread", "limits.threads"),
        ("stat_dir", "state_dir"),
        ("prices", "energy.price"),
        ("xyzzy", "limits.upload"),  # like none: all are named
    ],
)
def test_an_unknown_key_names_those_it_may_be_meant_for(file: Path, typed: str, meant: str) -> None:
    assert meant in near(typed, known_keys())
    for command in (("set", typed, "1"), ("get", typed), ("unset", typed)):
        told = refused("config", *command)
        assert told.startswith(f"there is no setting '{typed}'; did you mean ")
        assert meant in told
    assert not file.exists()


def test_two_faults_are_mended_one_after_the_other(file: Path) -> None:
    """Neither stands in the way of the other's correction, and what is left is said."""
    written(file, 'threads = 2\n[limits]\nupload = "fast"\n')
    assert "still wrong" in peer("config", "set", "limits.upload", "2 Mbit/s")
    assert "still wrong" not in peer("config", "unset", "threads")
    assert load_config({}).limits.upload == 2e6


def test_a_file_that_is_no_toml_is_named_and_left_alone(file: Path) -> None:
    written(file, "threads 3\n")
    assert f"{file} is not valid TOML" in refused("config", "set", "name", "Anna")
    assert file.read_text() == "threads 3\n"


def test_what_holds_is_shown_with_its_unit_and_where_it_was_set(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(file)
    monkeypatch.setenv("PEER_COORDINATOR", "there:7700")
    lines = {line.split()[0]: line for line in peer("config", "get").splitlines()}
    assert set(lines) == set(known_keys())
    assert lines["limits.upload"].endswith(f"(file: {file})")
    assert "2 Mbit/s" in lines["limits.upload"]
    assert "no limit" in lines["limits.download"]
    assert "(default)" in lines["limits.download"]
    assert lines["coordinator"].endswith("(environment: PEER_COORDINATOR)")
    assert json.loads(peer("config", "get", "limits.upload", "--json")) == {
        "key": "limits.upload",
        "value": 2e6,
        "unit": "bit/s",
        "text": "2 Mbit/s",
        "origin": f"file: {file}",
    }


def test_every_amount_is_told_to_scripts_with_its_unit(file: Path) -> None:
    rows = {row["key"]: row for row in json.loads(peer("config", "get", "--json"))}
    amounts = {key for key in known_keys() if _has_unit(key)}
    assert {"limits.upload", "limits.disk", "limits.idle_after"} <= amounts
    assert all(rows[key]["unit"] for key in amounts)
    assert rows["limits.disk_free"]["text"] == "1 GB", "a default is told with its unit, too"


def test_a_variable_that_comes_first_is_pointed_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_COORDINATOR", "there:7700")
    told = peer("config", "set", "coordinator", "here:7700")
    assert "PEER_COORDINATOR is set, and comes before the file" in told


def test_what_is_not_set_needs_no_unsetting(file: Path) -> None:
    written(file)
    assert f"device is not set in {file}" in peer("config", "unset", "device")
    assert file.read_text() == MINE
    assert without_value("colour = 1\n", "colour", file) is not None, "an unknown key may go"


class Peer:
    """A peer's side of the control socket that reads its settings again."""

    def __init__(self, reload: Callable[[], control_pb2.ReloadReply]) -> None:
        self.reload = reload

    def status(self) -> control_pb2.StatusReply:
        return control_pb2.StatusReply()

    def pause(self, seconds: float) -> str:
        raise NotImplementedError

    def resume(self) -> str:
        raise NotImplementedError

    def finish(self, within_seconds: float) -> str:
        raise NotImplementedError

    def leave(self) -> str:
        raise NotImplementedError


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    runtime = RuntimeFolder.claim(folder, "a test")
    try:
        yield runtime.path
    finally:
        runtime.close()


def wrong() -> control_pb2.ReloadReply:
    raise UserError(Exit.BAD_CONFIG, "something else is wrong")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reload", "told"),
    [
        (lambda: control_pb2.ReloadReply(taken=["device"]), "run demo goes on with it"),
        (lambda: control_pb2.ReloadReply(at_next_start=["device"]), "run demo needs a restart"),
        (lambda: control_pb2.ReloadReply(), "run demo has it already"),
        (wrong, "run demo did not take it: something else is wrong"),
    ],
)
async def test_a_peer_that_runs_is_told_and_what_it_says_is_shown(
    file: Path, tmp_path: Path, reload: Callable[[], control_pb2.ReloadReply], told: str
) -> None:
    with claimed(tmp_path / "state" / "runs" / "demo") as private:
        async with serve_control(private, Peer(reload)):
            command = ("config", "set", "device", "cpu")
            assert told in await anyio.to_thread.run_sync(lambda: peer(*command))
