"""The benchmarks of whole peers run, small, and leave what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.namespaces import NoNamespacesError, require_namespaces

_SECONDS = 170.0


def _small(name: str, folder: Path) -> Any:
    """What a benchmark found."""
    command = [sys.executable, "-m", "tests.benchmarks", name, "--small", "--out", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / f"{name}.png").stat().st_size > 0
    return json.loads((folder / f"{name}.json").read_text())


def test_a_swarm_merges_what_its_peers_train(tmp_path: Path) -> None:
    (result,) = _small("speeds", tmp_path)["results"]
    assert result["rounds"] == 2
    assert all(result["merged_per_peer"])


def test_peers_agree_while_one_is_killed_and_another_joins(tmp_path: Path) -> None:
    (result,) = _small("agreement", tmp_path)
    assert result["agreed"] == result["rounds"] == 12
    assert result["killed"] == len(result["join_seconds"]) == 1
    assert result["disagreements"] == []


def test_a_killed_coordinator_has_all_that_it_acknowledged_under_load(tmp_path: Path) -> None:
    found = _small("coordinator", tmp_path)
    assert found["lost_at_kill"] == found["lost_at_end"] == found["taken_back"] == 0
    assert found["rows"] > 0, "no peer told of a round"
    assert found["latency"]["count"] > 0
    assert found["latency_back"]["count"] > 0 or found["failed"]
    assert found["overviews"] > 0
    assert found["pages"]["count"] > 0


def test_no_process_of_a_peer_has_more_descriptors_after_many_rounds(tmp_path: Path) -> None:
    result = _small("soak", tmp_path)
    assert {look["kind"] for look in result["looks"]} == {"daemon", "trainer", "p2pd"}
    assert max(look["round"] for look in result["looks"]) == result["rounds"] == 30


def test_rounds_over_slow_links_are_measured(tmp_path: Path) -> None:
    try:
        require_namespaces()
    except NoNamespacesError as error:
        pytest.skip(str(error))
    (row,) = _small("links", tmp_path)
    assert row["round_seconds"] > row["bound_seconds"] > 0
    assert row["share"] > 0.5


def test_a_run_under_faults_is_measured(tmp_path: Path) -> None:
    (run,) = _small("churn", tmp_path)
    assert run["rounds"] == 8
    assert run["merged"] > 0
    assert len(run["events"]) == 4
    assert run["not_happened"] == run["disagreements"] == run["ended"] == []
    assert all(seconds is not None for _, seconds in run["recoveries"])
    assert len(run["joins"]) == 1
