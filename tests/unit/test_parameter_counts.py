"""The size of a run's model: counted by a process of its own, once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from coordinator.domain import Run
from coordinator.spectators import parameter_counts
from coordinator.spectators.parameter_counts import ParameterCounts
from swarmpb.spec import preset


def run_of(spec: bytes, spec_hash: bytes = b"hash") -> Run:
    return Run("demo", spec, spec_hash, b"", b"", "", 1, 0)


DEMO = run_of(preset("demo").canonical(), preset("demo").hash())


async def counted(counts: ParameterCounts, run: Run) -> None:
    """Let it count until it has nothing to do."""
    counting = asyncio.create_task(counts.keep_counting())
    try:
        await asyncio.sleep(0)  # it has begun
        counts.of(run)
        while not counts.is_idle:  # noqa: ASYNC110  nothing but a page waits for it
            await asyncio.sleep(0.01)
    finally:
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting


def test_a_model_is_counted_once_and_its_size_is_known_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "parameters.json"
    counts = ParameterCounts(file)
    # with the least priority it may take minutes beside other tests
    script = "from peer.training import counting; counting.LEAST_PRIORITY = 0; counting.main()"
    monkeypatch.setattr(parameter_counts, "COMMAND", (sys.executable, "-c", script))
    assert counts.of(DEMO) is None, "nobody waits for it"
    asyncio.run(counted(counts, DEMO))
    assert 900_000 < (counts.of(DEMO) or 0) < 1_200_000, "about a million, its description says"
    monkeypatch.setattr(parameter_counts, "COMMAND", ("/bin/false",))
    assert ParameterCounts(file).of(DEMO) == counts.of(DEMO)


@pytest.mark.parametrize("says", ["", "no number", "-5", str(10**30)])
def test_what_cannot_be_counted_is_not_known_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    script = f"import sys; sys.stdin.read(); print({says!r})"
    monkeypatch.setattr(parameter_counts, "COMMAND", (sys.executable, "-c", script))
    counts = ParameterCounts(tmp_path / "parameters.json")
    asyncio.run(counted(counts, DEMO))
    assert counts.of(DEMO) is None
    assert counts.is_idle


def test_a_count_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import time; time.sleep(1000)"
    monkeypatch.setattr(parameter_counts, "COMMAND", (sys.executable, "-c", script))
    monkeypatch.setattr(parameter_counts, "PATIENCE_SECONDS", 0.05)
    counts = ParameterCounts(tmp_path / "parameters.json")
    asyncio.run(counted(counts, DEMO))
    assert counts.of(DEMO) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "b"}', "\x00"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(text)
    assert ParameterCounts(file).of(DEMO) is None
