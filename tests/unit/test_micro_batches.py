"""Out of memory once: smaller micro-batches, said once, and remembered while that tells a thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.limits.memory_guard import HOPELESS_SECONDS, SETTLE_SECONDS, MemoryGuard, Verdict
from peer.limits.micro_batches import FILE, FORGOTTEN_SECONDS, MicroBatches
from peer.limits.settings import Limits
from peer.notices import Notices

RUN = b"\x01" * 32
NOW = 1_800_000_000.0
ALL = Limits()
TWO_GB = Limits(memory=2e9)


def sizes(folder: Path, run: bytes = RUN, notices: Notices | None = None) -> MicroBatches:
    return MicroBatches(folder, run, 16, notices or Notices())


def test_at_first_nothing_speaks_against_the_whole_batch(tmp_path: Path) -> None:
    assert sizes(tmp_path).most(ALL, NOW) == 0


def test_what_was_too_many_is_said_once_halved_and_remembered(tmp_path: Path) -> None:
    notices = Notices()
    it = sizes(tmp_path, notices=notices)
    assert it.too_many(0, TWO_GB, NOW, "out of memory") == 8
    assert it.most(TWO_GB, NOW) == 8
    (said,) = notices.current()
    assert "out of memory: training in micro-batches of 8 instead of 16" in said
    assert sizes(tmp_path).most(TWO_GB, NOW) == 8, "by the next start"


def test_one_sequence_at_a_time_is_as_small_as_it_gets(tmp_path: Path) -> None:
    it = sizes(tmp_path)
    assert it.too_many(2, ALL, NOW, "why") == 1
    assert it.too_many(1, ALL, NOW, "why") == 0
    assert it.most(ALL, NOW) == 1


@pytest.mark.parametrize("now", [ALL, Limits(memory=3e9)])
def test_more_are_tried_again_when_more_memory_is_allowed(tmp_path: Path, now: Limits) -> None:
    sizes(tmp_path).too_many(16, TWO_GB, NOW, "why")
    assert sizes(tmp_path).most(now, NOW) == 0


@pytest.mark.parametrize("now", [TWO_GB, Limits(memory=1e9), Limits(memory=2e9, upload=1e6)])
def test_with_as_much_or_less_memory_it_holds(tmp_path: Path, now: Limits) -> None:
    sizes(tmp_path).too_many(16, TWO_GB, NOW, "why")
    assert sizes(tmp_path).most(now, NOW) == 8


def test_so_it_is_with_an_accelerators_memory(tmp_path: Path) -> None:
    sizes(tmp_path).too_many(16, Limits(accelerator_memory=2e9), NOW, "why")
    assert sizes(tmp_path).most(Limits(accelerator_memory=2e9), NOW) == 8
    assert sizes(tmp_path).most(Limits(accelerator_memory=3e9), NOW) == 0


def test_another_model_and_a_week_later_are_another_matter(tmp_path: Path) -> None:
    sizes(tmp_path).too_many(16, ALL, NOW, "why")
    assert sizes(tmp_path, run=b"\x02" * 32).most(ALL, NOW) == 0
    assert sizes(tmp_path).most(ALL, NOW + FORGOTTEN_SECONDS - 1) == 8
    assert sizes(tmp_path).most(ALL, NOW + FORGOTTEN_SECONDS) == 0


@pytest.mark.parametrize("content", [b"", b"{}", b'{"micro_batch": "many"}', b"[" * 10_000])
def test_a_damaged_file_is_set_aside_and_nothing_is_remembered(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert sizes(tmp_path).most(ALL, NOW) == 0
    assert [path.name.startswith(f"{FILE}.damaged") for path in tmp_path.iterdir()] == [True]


# ---- while it runs -----------------------------------------------------------------------


def test_over_the_limit_the_micro_batch_shrinks_step_by_step() -> None:
    guard = MemoryGuard()
    assert guard.look(900, 1000, 16, 100.0) is Verdict.FINE
    assert guard.look(1100, 1000, 16, 102.0) is Verdict.SMALLER
    assert guard.look(1100, 1000, 8, 104.0) is Verdict.FINE, "it is measured anew first"
    assert guard.look(1100, 1000, 8, 102.0 + SETTLE_SECONDS) is Verdict.SMALLER


def test_without_a_limit_or_a_trainer_nothing_is_too_much() -> None:
    guard = MemoryGuard()
    assert guard.look(10**12, None, 16, 100.0) is Verdict.FINE
    assert guard.look(10**12, 1, 0, 100.0) is Verdict.FINE


def test_only_what_lasts_with_the_smallest_micro_batch_is_hopeless() -> None:
    guard = MemoryGuard()
    assert guard.look(1100, 1000, 1, 100.0) is Verdict.FINE
    assert guard.look(900, 1000, 1, 110.0) is Verdict.FINE, "a download's peak"
    assert guard.look(1100, 1000, 1, 119.0) is Verdict.FINE
    assert guard.look(1100, 1000, 1, 119.0 + HOPELESS_SECONDS) is Verdict.HOPELESS


def test_a_limit_that_was_just_changed_is_not_held_against_the_past() -> None:
    guard = MemoryGuard()
    guard.changed(100.0)
    assert guard.look(1100, 1000, 16, 101.0) is Verdict.FINE
    assert guard.look(1100, 1000, 16, 100.0 + SETTLE_SECONDS) is Verdict.SMALLER
