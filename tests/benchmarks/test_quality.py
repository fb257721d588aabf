"""The benchmark of quality runs, small, and goes on from what it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peer.averaging.codecs import FlatVector
from tests.benchmarks.quality_conditions import CONDITIONS
from tests.benchmarks.quality_sim import Feedback, Setting, fewer_bytes

_SECONDS = 170.0


def _small(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "quality", "--small", "--out", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_condition_is_trained_once(tmp_path: Path) -> None:
    _small(tmp_path)
    path = tmp_path / "quality.json"
    results: list[Any] = json.loads(path.read_text())
    assert sorted(it["condition"] for it in results) == sorted(it.name for it in CONDITIONS)
    assert all(3 < it["loss"] < 6.2 for it in results)  # log(384) = 5.95 before any training
    shown = (tmp_path / "quality.md").read_text()
    assert all(it.name in shown for it in CONDITIONS)
    lost = results.pop()
    path.write_text(json.dumps(results))
    _small(tmp_path)
    again: list[Any] = json.loads(path.read_text())
    assert again[:-1] == results  # not done again
    assert again[-1]["loss"] == lost["loss"]  # equal seeds, equal arithmetic


def test_error_feedback_loses_nothing_for_good() -> None:
    values: FlatVector = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    way = Feedback("int4")
    arrived = sum(way.send(values) for _ in range(50)) / np.float32(50)
    assert np.abs(arrived - values).max() < 0.02


def test_bytes_are_those_of_the_codec() -> None:
    assert fewer_bytes(Setting(contribution="fp32", answer="fp32"), 20) == 20
    both = Setting(contribution="int4", answer="int4")
    assert fewer_bytes(both, 52) == pytest.approx(52 * 32 / 4.125)
