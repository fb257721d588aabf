"""What control groups tell of memory, and of those that were killed for it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from peer.training import death
from peer.training.machine_memory import free_memory, memory_kills


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The inner one of two control groups; `tmp_path` is the root of the file system."""
    group = tmp_path / "sys/fs/cgroup/box/inner"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("1:cpu:/elsewhere\n0::/box/inner\n")
    return group


def test_a_control_groups_limit_counts(tmp_path: Path, group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    (group.parent / "memory.max").write_text("1000\n")
    (group.parent / "memory.current").write_text("300\n")
    assert free_memory(tmp_path) == 700
    assert free_memory(tmp_path / "nothing") > 700


def test_the_innermost_group_that_counts_kills_is_asked(tmp_path: Path, group: Path) -> None:
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 100\noom_kill 9\n")
    assert memory_kills(tmp_path) == 9
    (group.parent / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert memory_kills(tmp_path) == 2
    (group / "memory.events").write_text("oom 0\noom_kill 1\n")
    assert memory_kills(tmp_path) == 1


def test_a_system_that_does_not_count_is_told_apart_from_one_without_kills(tmp_path: Path) -> None:
    assert memory_kills(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("oom_kill\n")
    assert memory_kills(tmp_path) is None


@pytest.mark.parametrize(
    ("starved", "cause", "said"),
    [
        (True, "memory", "memory ran out"),
        (False, "killed", "killed by signal 9 (Killed)"),
        (None, "killed", "out of memory?"),
    ],
)
def test_a_killed_trainer_ran_out_of_memory_only_if_the_system_says_so(
    starved: bool | None, cause: str, said: str
) -> None:
    end = death.explain(-signal.SIGKILL, None, "", stopping=False, starved=starved)
    assert end.cause == cause
    assert said in end.reason


def test_other_signals_have_nothing_to_do_with_memory() -> None:
    end = death.explain(-signal.SIGSEGV, None, "", stopping=False, starved=True)
    assert end.cause == "killed"
