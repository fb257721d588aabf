"""A run's log: kept by every daemon, bounded, private, and read while it is written."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from peer import run_log
from peer.cli import cli
from peer.log_reading import LogReader, parts
from peer.run_log import NAME, OLDER_PARTS, kept_log
from swarmpb.exits import Exit, UserError

log = logging.getLogger("peer.test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder on this machine."""
    path = tmp_path / "state" / "runs" / "demo"
    path.mkdir(parents=True)
    (path / "lock").touch()
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are full after a few lines."""
    monkeypatch.setattr(run_log, "PART_BYTES", 400)


@pytest.fixture
def reader(folder: Path) -> Iterator[LogReader]:
    reading = LogReader(folder)
    yield reading
    reading.close()


def told(lines: list[str]) -> list[str]:
    """What this test said, without the time before it."""
    return [line.partition("peer.test: ")[2] for line in lines if "peer.test: " in line]


def test_the_log_is_its_owners_alone_and_says_when_a_process_began_and_ended(folder: Path) -> None:
    with kept_log(folder):
        log.info("training")
    lines = (folder / NAME).read_text().splitlines()
    assert [it.partition(": ")[2].split()[0] for it in lines] == ["process", "training", "process"]
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


def test_an_error_that_ends_a_peer_is_in_its_log(folder: Path) -> None:
    with pytest.raises(UserError), kept_log(folder):
        raise UserError(Exit.CLOCK_OFF, "this machine's clock is off")
    assert "ends with code 17: this machine's clock is off" in (folder / NAME).read_text()


def test_libraries_tell_only_what_goes_wrong(folder: Path) -> None:
    with kept_log(folder):
        logging.getLogger("hivemind").info("chatter")
        logging.getLogger("asyncio").warning("slow")
        log.debug("details")
    text = (folder / NAME).read_text()
    assert "slow" in text
    assert "chatter" not in text
    assert "details" not in text


def test_a_terminal_hears_no_more_than_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = logging.StreamHandler()
    root = logging.getLogger()
    root.addHandler(terminal)
    try:
        before = [root.level, terminal.level]
        with kept_log(folder):
            log.info("only for the file")
            log.warning("for both")
        assert [root.level, terminal.level] == before
    finally:
        root.removeHandler(terminal)
    assert capsys.readouterr().err == "for both\n"


@pytest.mark.usefixtures("small")
def test_however_much_is_said_the_log_stays_within_its_parts(folder: Path) -> None:
    with kept_log(folder):
        for number in range(100):
            log.info("%d", number)
    assert len(parts(folder)) == len(list(folder.glob(f"{NAME}*"))) == 1 + OLDER_PARTS
    assert all(it.stat().st_size <= 400 for it in parts(folder))
    assert all(stat.S_IMODE(it.stat().st_mode) == 0o600 for it in parts(folder))


@pytest.mark.usefixtures("small")
def test_a_follower_sees_every_line_once_across_parts(folder: Path, reader: LogReader) -> None:
    assert reader.new() == [], "there is no log yet"
    seen: list[str] = []
    with kept_log(folder):
        for number in range(100):
            log.info("%d", number)
            if number % 9 == 0:  # now and then several parts have been filled
                seen += reader.new()
    seen += reader.new()
    assert told(seen) == [str(number) for number in range(100)]


@pytest.mark.usefixtures("small")
def test_the_last_lines_reach_back_into_older_parts(folder: Path, reader: LogReader) -> None:
    with kept_log(folder):
        for number in range(20):
            log.info("%d", number)
    newest = (folder / NAME).read_text().splitlines()
    assert len(newest) < 12
    # the last line is that of the process's end
    assert told(reader.last(12)) == [str(number) for number in range(9, 20)]
    assert reader.new() == []


def test_half_a_line_is_shown_when_its_end_is_there(folder: Path, reader: LogReader) -> None:
    with (folder / NAME).open("w") as file:
        file.write("begun, ")
        file.flush()
        assert reader.new() == []
        file.write("done\n")
        file.flush()
        assert reader.new() == ["begun, done"]


def test_no_message_can_pretend_to_be_another_or_speak_to_a_terminal(folder: Path) -> None:
    with kept_log(folder):
        log.info("a peer says: %s", "x\n2026-01-01 00:00:00+0000 ERROR peer.test: forged\x1b[2J")
        try:
            raise RuntimeError("two\nlines")
        except RuntimeError:
            log.exception("with a trace")
        log.info("y" * 100_000)
    lines = (folder / NAME).read_text().splitlines()
    assert not [it for it in lines if "forged" in it and it.startswith("2026-01-01")]
    assert "\x1b" not in "".join(lines)
    assert [it for it in lines if it.startswith("    RuntimeError: two")]
    assert max(map(len, lines)) < 5000


def test_a_link_in_the_logs_place_is_not_followed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (folder / NAME).symlink_to(precious)
    with kept_log(folder):
        log.info("hello")
        log.info("again")
    assert precious.read_text() == "mine"
    assert capsys.readouterr().err.count(f"cannot write {folder / NAME}") == 1, "said once"
    assert parts(folder) == []


def shown(state_dir: Path, *arguments: str) -> str:
    command = ["logs", "--state-dir", str(state_dir), *arguments]
    result = CliRunner().invoke(cli, command)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_log_can_be_read_when_no_peer_runs(folder: Path) -> None:
    with kept_log(folder):
        for number in range(30):
            log.info("%d", number)
    state_dir = folder.parents[1]
    assert told(shown(state_dir, "-n", "3").splitlines()) == ["28", "29"]
    assert len(shown(state_dir, "--run", "demo").splitlines()) == 20


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--run", "other"], "no peer of this machine was ever in run other"),
        (["--run", "demo"], "there is no"),
        ([], "several runs are known here (demo, second): name one with --run"),
        (["--run", "../../etc"], "no run can be named '../../etc'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    folder: Path, arguments: list[str], why: str
) -> None:
    second = folder.with_name("second")
    second.mkdir()
    (second / "lock").touch()
    with pytest.raises(UserError) as caught:
        shown(folder.parents[1], *arguments)
    assert why in str(caught.value)
