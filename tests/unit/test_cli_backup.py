"""`coordinator backup` and `restore`, as an owner types them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from coordinator.cli import main
from coordinator.storage.store import Store
from swarmpb.exits import Exit


def test_a_coordinator_moves_to_another_folder(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    old.mkdir()
    Store.open(old / "coordinator.sqlite").close()
    (old / "authority.key").write_bytes(b"key")
    runner = CliRunner()
    made = runner.invoke(main, ["backup", str(file), "--state-dir", str(old)])
    assert (made.exit_code, made.output) == (0, f"0 rows and the keys are in {file}\n")
    done = runner.invoke(main, ["restore", str(file), "--state-dir", str(new)])
    assert done.exit_code == 0
    assert "go on with: coordinator serve" in done.output
    assert (new / "authority.key").read_bytes() == b"key"
    again = runner.invoke(main, ["restore", str(file), "--state-dir", str(new)])
    assert again.exit_code == Exit.STATE_FOLDER
    assert "new --state-dir" in again.stderr
