"""What control groups tell of memory, and of those that were killed for it."""

from __future__ import annotations

import signal
import subprocess
import sys
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


def test_freed_memory_can_be_handed_back() -> None:
    """Small pieces, which the C library would keep, until somebody asks it not to."""
    code = (
        "import os\n"
        "from peer.training.machine_memory import give_back_memory\n"
        "from peer.training.resident import forget_peak, resident\n"
        "def taken():\n"
        "    forget_peak(os.getpid())\n"
        "    return resident(os.getpid()).private\n"
        "pieces = [bytearray(100_000) for _ in range(1000)]\n"
        "end = bytearray(100_000)\n"  # what is freed below it does not go by itself
        "del pieces\n"
        "kept = taken()\n"
        "give_back_memory()\n"
        "print(kept - taken())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000
