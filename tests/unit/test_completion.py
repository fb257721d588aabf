"""Shell completion: what a shell is given, and what it is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from peer.cli import cli


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with two runs."""
    for name in ("demo", "dream"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    monkeypatch.setenv("PEER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PEER_CONFIG", str(tmp_path / "peer.toml"))
    return tmp_path


def completed(*words: str) -> list[str]:
    """What may stand in the place of the last word."""
    shell = ShellComplete(cli, {}, "peer", "_PEER_COMPLETE")
    return [it.value for it in shell.get_completions(list(words[:-1]), words[-1])]


def test_names_of_runs_are_completed(state: Path) -> None:
    assert completed("status", "--run", "") == ["demo", "dream"]
    assert completed("logs", "-f", "--run", "dr") == ["dream"]
    other = state / "other"
    (other / "runs" / "far").mkdir(parents=True)
    (other / "runs" / "far" / "lock").touch()
    assert completed("purge", "--state-dir", str(other), "--run", "") == ["far"]


def test_commands_and_options_are_completed(state: Path) -> None:
    assert "status" in completed("st")
    assert completed("config", "un") == ["unset"]
    assert "--follow" in completed("logs", "--f")
    assert completed("completion", "") == ["bash", "zsh", "fish"]


def test_wrong_settings_do_not_speak_into_a_command_line(state: Path) -> None:
    (state / "peer.toml").write_text("not toml")
    assert completed("status", "--run", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_what_it_understands(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_PEER_COMPLETE" in result.output
    assert result.output.startswith("# ")
    program = shutil.which(shell)
    if program is not None:
        script = tmp_path / "script"
        script.write_text(result.output)
        subprocess.run([program, "-n", str(script)], check=True, env=os.environ)
