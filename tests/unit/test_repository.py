"""What a reviewer would ask first: is it typed, linted, and generated from what it says?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "swarmpb/v1"


def run(*command: str, **environment: str) -> str:
    """The output of a Python module or script at the repository's root; it must succeed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(600)  # the first run reads the types of torch and transformers
def test_types_hold() -> None:
    assert "no issues found" in run("-m", "mypy")


def test_the_linter_has_nothing_to_say() -> None:
    run("-m", "ruff", "check", ".")


def test_every_file_is_formatted() -> None:
    run("-m", "ruff", "format", "--check", ".")


def test_generated_code_is_what_the_messages_say(tmp_path: Path) -> None:
    # the compiler's plugin must be found without an activated virtual environment
    run("proto/generate.py", str(tmp_path), PATH=os.defpath)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / GENERATED).iterdir()}
    folder = ROOT / "proto" / GENERATED
    committed = {path.name: path.read_bytes() for path in folder.glob("*_pb2*")}
    assert sorted(fresh) == sorted(committed)
    stale = [name for name, data in fresh.items() if committed[name] != data]
    assert not stale, "run `python proto/generate.py`"


def test_every_dependency_is_pinned_once_for_each_python() -> None:
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            requirement, _, marker = line.partition(" ; ")
            name, _, version = requirement.partition("==")
            assert version, line
            assert "+" not in version, f"{name}: a build that only this machine has"
            pins.setdefault(name, []).append(marker)
    for name, markers in pins.items():
        assert sorted(markers) in (
            [""],
            ['python_version < "3.11"'],
            ['python_version < "3.11"', 'python_version >= "3.11"'],
        ), name
    assert {"torch", "transformers", "hivemind", "grpcio-tools", "mypy", "pytest"} <= set(pins)
