"""A container that may use two processors does not start fifteen threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.control_groups import processors_allowed
from peer.limits import settings


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """Its control group as it sees it, in a namespace of its own; `tmp_path` is its root."""
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    return group


def test_the_narrowest_group_counts(tmp_path: Path, container: Path) -> None:
    assert processors_allowed(tmp_path) is None
    (container / "cpu.max").write_text("max 100000\n")
    assert processors_allowed(tmp_path) is None
    (container / "cpu.max").write_text("250000 100000\n")
    assert processors_allowed(tmp_path) == 2.5
    (container / "inner").mkdir()
    (container / "inner/cpu.max").write_text("50000 100000\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/inner\n")
    assert processors_allowed(tmp_path) == 0.5


def test_what_is_no_limit_is_none(tmp_path: Path, container: Path) -> None:
    for content in ("", "12", "1 0", "many 100000"):
        (container / "cpu.max").write_text(content)
        assert processors_allowed(tmp_path) is None


@pytest.mark.parametrize(
    ("here", "allowed", "threads"),
    [(16, None, 15), (16, 2.0, 2), (16, 0.5, 1), (2, 2.0, 1), (1, None, 1), (8, 64.0, 7)],
)
def test_threads_are_what_the_container_may_use_or_all_but_one(
    here: int, allowed: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "processors_here", lambda: here)
    monkeypatch.setattr(settings, "processors_allowed", lambda: allowed)
    assert settings.default_threads() == threads
