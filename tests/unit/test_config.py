"""A volunteer's settings: which source counts, and how wrong ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peer.config import TABLES, PeerConfig, load_config
from peer.limits.settings import default_threads
from peer.limits.units import parse_processors
from swarmpb.exits import Exit, UserError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEER_COORDINATOR", raising=False)
    monkeypatch.delenv("PEER_STATE_DIR", raising=False)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A settings file with nothing in it."""
    path = tmp_path / "peer.toml"
    path.write_text("")
    return path


def fault(options: dict[str, Any], path: Path) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as caught:
        load_config(options, path)
    assert caught.value.code == Exit.BAD_CONFIG
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_without_any_setting_there_are_defaults(tmp_path: Path) -> None:
    config = load_config({}, tmp_path / "none such" / "peer.toml")
    assert config.coordinator == "127.0.0.1:7700"
    assert config.limits.threads == default_threads() >= 1
    assert config.p2p_port == 0
    assert config.state_dir.is_absolute()


def test_flag_before_environment_before_file_before_default(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = {"coordinator": "flag:1"}
    assert load_config({"coordinator": None}, toml).coordinator == "127.0.0.1:7700"
    toml.write_text('coordinator = "file:1"')
    assert load_config({"coordinator": None}, toml).coordinator == "file:1"
    monkeypatch.setenv("PEER_COORDINATOR", "environment:1")
    assert load_config({"coordinator": None}, toml).coordinator == "environment:1"
    assert load_config(flag, toml).coordinator == "flag:1"


def test_an_empty_variable_is_as_good_as_none(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_COORDINATOR", "")
    assert load_config({}, toml).coordinator == "127.0.0.1:7700"


def test_every_key_can_be_set_in_the_file(toml: Path, tmp_path: Path) -> None:
    values = {
        "coordinator": "[::1]:7700",
        "state_dir": str(tmp_path),
        "name": "Annas cat",
        "device": "cpu",
        "host": "127.0.0.1",
        "p2p_port": 4000,
    }
    assert values.keys() | TABLES.keys() == PeerConfig.model_fields.keys(), (
        "a new key belongs into this test"
    )
    lines = (f"{key} = {value!r}" for key, value in values.items())
    toml.write_text("\n".join(lines))
    config = load_config({}, toml)
    assert config.model_dump(mode="json", exclude=set(TABLES)) == values


def test_the_home_folder_may_be_written_as_a_tilde(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    toml.write_text('state_dir = "~/murmuration"')
    assert load_config({}, toml).state_dir == Path("/home/anna/murmuration")


def test_every_wrong_key_is_named_with_where_it_was_set(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('colour = "blue"\nhost = "everywhere"\n[limits]\nthreads = 0\n')
    monkeypatch.setenv("PEER_COORDINATOR", "no port")
    line = fault({"p2p_port": 70000, "device": None}, toml)
    for expected in (
        f"limits.threads = 0 ({toml}): ",
        f"colour ({toml}): unknown key; known are coordinator, state_dir, name, device",
        f"host = 'everywhere' ({toml}): ",
        "coordinator = 'no port' (PEER_COORDINATOR): expected HOST:PORT",
        "p2p_port = 70000 (command line): ",
    ):
        assert expected in line
    assert line.count("; ") >= 4


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ('coordinator = "localhost"', "expected HOST:PORT"),
        ('coordinator = "http://localhost:7700"', "expected HOST:PORT"),
        ('coordinator = "::1:7700"', "expected HOST:PORT"),
        ('coordinator = "two words:7700"', "expected HOST:PORT"),
        ('coordinator = "localhost:0"', "the port is not between 1 and 65535"),
        ('coordinator = "localhost:99999"', "the port is not between 1 and 65535"),
        ("coordinator = 7700", "string"),
        ("state_dir = 5", "path"),
        ('name = "a\\u001b[31mb"', "expected letters, digits"),
        (f'name = "{"n" * 41}"', "at most 40"),
        ('[limits]\nthreads = "3"', "integer"),
        ("[limits]\nthreads = true", "integer"),
        ("[limits]\nthreads = 1.5", "integer"),
        ("[limits]\nthreads = 1025", "1024"),
        ('device = "tpu"', "expected auto, cpu, cuda or mps"),
        ('host = "localhost"', "does not appear to be an IPv4 or IPv6 address"),
        ('host = "256.1.1.1"', "does not appear to be an IPv4 or IPv6 address"),
        ("p2p_port = -1", "greater than or equal to 0"),
        ("[coordinator]\nhost = 1", "string"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(
    toml: Path, setting: str, reason: str
) -> None:
    toml.write_text(setting)
    line = fault({}, toml)
    assert reason in line
    assert str(toml) in line


@pytest.mark.parametrize("text", ["threads = ", "threads 3", "a = 1\na = 2", "\0"])
def test_a_file_that_is_no_toml_is_named(toml: Path, text: str) -> None:
    toml.write_text(text)
    assert fault({}, toml).startswith(f"{toml} is not valid TOML: ")


def test_a_file_that_is_no_text_is_named(toml: Path) -> None:
    toml.write_bytes(b"\xff\xfe\x00")
    assert fault({}, toml).startswith(f"{toml} is not valid TOML: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "peer.toml"
    folder.mkdir()
    assert fault({}, folder) == f"cannot read {folder}: Is a directory"


def test_limits_are_written_with_their_units_and_flags_come_first(toml: Path) -> None:
    toml.write_text(
        '[limits]\nupload = "2 Mbit/s"\ndisk = "20 GB"\nprocessor = "50%"\nidle_after = "5 min"\n'
        'not_while = ["steam"]\n[energy]\nprice = 0.3\n'
    )
    limits = load_config({"limits.disk": "5 GiB"}, toml).limits
    assert (limits.upload, limits.disk, limits.processor) == (2e6, 5 * 2**30, 0.5)
    assert (limits.idle_after, limits.not_while, limits.download) == (300.0, ("steam",), None)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("upload = 5", "write it with its unit, in quotes; expected a rate such as '2 Mbit/s'"),
        ('upload = "fast"', "expected a rate such as '2 Mbit/s' or '250 kB/s', not 'fast'"),
        ('upload = "1 kbit/s"', "greater than or equal to 16000"),
        ('processor = "120%"', "expected a share such as '50%', or '1.5 processors'"),
        ('processor = "0%"', "expected a share such as '50%', or '1.5 processors'"),
        ('processor = "9999 processors"', "that there are"),
        ('accelerator = "120%"', "expected a share between '1%' and '100%'"),
        ('disk = "20 apples"', "expected an amount of data"),
        ('idle_after = "-5 min"', "expected a time"),
        ('io = "fast"', "'idle' or 'normal'"),
        ("max_temperature = 500", "less than or equal to 120"),
        ('uplaod = "2 Mbit/s"', "unknown key"),
    ],
)
def test_a_wrong_limit_is_told_with_its_table(toml: Path, setting: str, reason: str) -> None:
    toml.write_text(f"[limits]\n{setting}")
    line = fault({}, toml)
    assert line.startswith("limits.")
    assert reason in line


def test_the_file_can_be_named_by_the_environment(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('name = "Anna"')
    monkeypatch.setenv("PEER_CONFIG", str(toml))
    assert load_config({}).name == "Anna"


def test_hours_are_refused_at_their_column_and_programs_by_name_only(toml: Path) -> None:
    said = fault({"limits.hours": "mon-fri 19:00-25:00"}, toml)
    assert "limits.hours = 'mon-fri 19:00-25:00' (command line): column 15: 25:00" in said
    toml.write_text('[limits]\nnot_while = ["/usr/bin/steam"]\n')
    said = fault({}, toml)
    assert "limits.not_while" in said
    assert "expected the name of a program" in said
    toml.write_text('[limits]\nhours = "Monday-Friday 19:00 - 8:00"\n')
    assert load_config({}, toml).limits.hours == "mon-fri 19:00-08:00"


def test_processors_may_be_counted_or_a_share_of_them_all() -> None:
    assert parse_processors("50%", 8) == 0.5
    assert parse_processors("1 processor", 8) == 0.125
    assert parse_processors("1.5 processors", 2) == 0.75
