"""Other users of the machine, and a coordinator that means ill: what they can make a user see."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from peer import cli as cli_module
from peer.cli import cli
from peer.commands.options import prepare
from peer.coordinator_client import first_line
from peer.credited import describe
from peer.doctor.leftovers import PREFIX, folders_of_killed
from peer.local_runs import run_folders
from peer.runtime import RuntimeFolder, running
from peer.service import systemd
from peer.service.description import Service
from peer.service.installing import Manager
from swarmpb.endpoints import parse_link
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private
from swarmpb.v1 import coordinator_pb2

CLEAR_SCREEN = "go away\x1b[2J\x1b]0;owned\x07"
LINK = "murmuration://there.example:7700/demo"
SERVICE = Service(
    link=parse_link(LINK),
    program=("/bin/true",),
    state_dir=Path("/home/anna/state"),
    config=Path("/home/anna/peer.toml"),
)


# ---- words of a coordinator --------------------------------------------------------------


def test_a_terminal_does_not_obey_what_a_coordinator_says_when_it_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**_options: object) -> NoReturn:
        raise UserError(Exit.REFUSED, f"the coordinator refuses: {CLEAR_SCREEN}\nall is well")

    monkeypatch.setattr(cli_module, "cli", refused)
    monkeypatch.setattr(cli_module, "end_early_on_signals", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli_module.main()
    told = capsys.readouterr().err
    assert ended.value.code == Exit.REFUSED
    assert told.count("\n") == 1
    assert "\x1b" not in told and "\x07" not in told  # noqa: PT018  one claim
    assert "\x1b" not in first_line(CLEAR_SCREEN)


def test_nor_what_is_logged_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    root, shown = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    root.handlers[:] = []
    monkeypatch.setattr(sys, "stderr", shown)
    try:
        prepare(debug=False)
        logging.getLogger("peer.reporter").warning("refused: %s", f"{CLEAR_SCREEN}\nforged")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    assert shown.getvalue().startswith("refused: go away")
    assert shown.getvalue().count("\n") == 1
    assert "\x1b" not in shown.getvalue()


def test_nor_the_reason_in_a_receipt() -> None:
    told = describe([coordinator_pb2.RoundReceipt(round=7, reason=CLEAR_SCREEN)])
    assert "this peer only: go away" in told
    assert "\x1b" not in told


# ---- other users of this machine ---------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "status --run demo", "id", "id --run demo", "logs",
                                     "pause", "leave --run demo", "purge --dry-run"])  # fmt: skip
def test_somebody_elses_folder_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "runs" / "demo").mkdir(parents=True)

    def close(name: str) -> None:
        real = getattr(Path, name)

        def closed(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.is_relative_to(tmp_path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(Path, name, closed)

    for name in (
        "iterdir",
        "glob",
        "open",
        "is_dir",
        "is_symlink",
    ):  # root, who runs tests, is refused nothing
        close(name)
    words = [*command.split(), "--state-dir", str(tmp_path)]
    refusal = CliRunner().invoke(cli, words).exception
    assert isinstance(refusal, UserError), refusal
    assert refusal.code is Exit.STATE_FOLDER
    assert "sudo" in str(refusal)


def test_a_runs_folder_is_for_its_owners_eyes(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    claim = RuntimeFolder.claim(folder, "a peer of run demo")
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert run_folders(tmp_path) == [folder]
    finally:
        claim.close()


def test_who_may_write_a_folder_cannot_have_root_empty_another_file(tmp_path: Path) -> None:
    victim = tmp_path / "passwd"
    victim.write_text("root:x:0:0")
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "lock").symlink_to(victim)
    with pytest.raises(UserError) as refusal:
        RuntimeFolder.claim(folder, "a peer of run demo")
    assert refusal.value.code is Exit.STATE_FOLDER
    (folder / "identity.key.tmp").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        write_private(folder / "identity.key", b"key")
    assert victim.read_text() == "root:x:0:0"
    (folder / "lock").unlink()
    assert running(folder) is None


def test_folders_that_anybody_may_make_in_the_temporary_one_do_not_confuse_a_doctor(
    tmp_path: Path,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"{PREFIX}{gone.pid}-abc"
    names = (left.name, f"{PREFIX}{os.getpid()}-abc", f"{PREFIX}²-abc", f"{PREFIX}{'9' * 60}-abc")
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / f"{PREFIX}{gone.pid}-link").symlink_to(left)
    assert list(folders_of_killed(tmp_path)) == [left]


# ---- files for service managers ----------------------------------------------------------


def test_only_the_whole_word_is_the_credential() -> None:
    text = systemd.unit(replace(SERVICE, state_dir=Path("/home/@link/state")))
    assert " --state-dir /home/@link/state\n" in text
    assert "%d" not in text


@pytest.mark.parametrize("apple", [False, True])
def test_a_path_that_no_file_can_hold_is_refused_in_a_line(apple: bool) -> None:
    service = replace(SERVICE, state_dir=Path("/home/anna\x1bstate"))
    with pytest.raises(UserError, match="choose another path") as refusal:
        Manager(system=False, apple=apple).content(service)
    assert refusal.value.code is Exit.SERVICE


def test_a_mac_runs_no_peer_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = CliRunner(env={"PEER_STATE_DIR": str(tmp_path)}).invoke(
        cli, ["service", "install", "--system", "--print", LINK]
    )
    assert isinstance(found.exception, UserError)
    assert re.search("root.*leave --system away", str(found.exception))
