"""The benchmark of averaging runs, compares what it says it does, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_small_version(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "averaging", "--small", "--out", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        timeout=150,
        check=True,
    )
    results = json.loads((tmp_path / "averaging.json").read_text(encoding="utf-8"))
    assert not results["skipped"]
    ours, stock = results["measurements"]
    assert (ours["contender"], stock["contender"]) == ("ours int8", "stock fp32")
    assert ours["spread"] == 0
    assert ours["error"] < 0.02
    assert stock["error"] < 1e-6
    # the codec's one byte a value, against four
    assert ours["megabytes_sent"] < stock["megabytes_sent"] / 3
    assert 0 < ours["exchange_seconds"] < ours["wall_seconds"]
    assert ours["cpu_seconds"] > 0
