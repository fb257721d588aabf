"""A process that begins anew is the same peer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from peer.anew import begin_anew
from peer.config import load_config
from peer.local_runs import run_folder
from peer.runtime import RuntimeFolder


class Begun(Exception):
    """In place of a program that never comes back."""


def begins(path: str, arguments: list[str]) -> None:
    raise Begun


def test_another_state_folder_in_the_settings_is_for_the_next_start_not_for_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "environ", {"PEER_CONFIG": str(tmp_path / "peer.toml")})
    monkeypatch.setattr(os, "execv", begins)
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [])
    (tmp_path / "peer.toml").write_text(f"state_dir = '{tmp_path / 'before'}'")
    folder = run_folder(load_config({}).state_dir, "demo")
    runtime = RuntimeFolder.claim(folder, "a test")
    (tmp_path / "peer.toml").write_text(f"state_dir = '{tmp_path / 'after'}'")
    with pytest.raises(Begun):
        begin_anew(runtime)
    again = RuntimeFolder.claim_or_take_over(run_folder(load_config({}).state_dir, "demo"), "it")
    assert (again.path, again.claimed) == (runtime.path, folder)
    again.close()
