"""What a trainer is told that it may use, and what is done when a peer takes too much."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from peer.limits import resources as module
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.memory_guard import HOPELESS_SECONDS, SETTLE_SECONDS
from peer.limits.micro_batches import MicroBatches
from peer.limits.process_times import Rate
from peer.limits.resources import Resources, threads_allowed
from peer.limits.settings import Limits, processors_here
from peer.notices import Notices
from peer.training.client import Trainer
from peer.training.messages import Allow, UsedElsewhere
from peer.training.resident import Resident


class ToldTrainer:
    """Takes note of what it is told."""

    def __init__(self, micro_batch: int, accelerator: str = "") -> None:
        self.pid = 1
        self.micro_batch = micro_batch
        self.accelerator = accelerator
        self.told: list[Allow | UsedElsewhere] = []

    def bound(self, told: Allow | UsedElsewhere) -> None:
        self.told.append(told)

    @property
    def allowed(self) -> Allow:
        """Told last."""
        (*_, last) = (it for it in self.told if isinstance(it, Allow))
        return last


def made(folder: Path, trainer: ToldTrainer, **limits: Any) -> tuple[Resources, LimitsInForce]:
    force, notices = LimitsInForce(Limits(**limits)), Notices()
    sizes = MicroBatches(folder, b"run", 16, notices)
    it = Resources(force, sizes, Disk(force, folder))
    it.trainer = lambda: cast(Trainer, trainer)
    return it, force


def test_threads_are_no_more_than_have_something_to_do() -> None:
    assert threads_allowed(Limits(threads=8), 8) == 8
    assert threads_allowed(Limits(threads=8, processor=0.25), 8) == 2
    assert threads_allowed(Limits(threads=8, processor=0.3), 8) == 3
    assert threads_allowed(Limits(threads=1, processor=0.5), 8) == 1
    assert threads_allowed(Limits(threads=8, processor=0.01), 8) == 1


def test_a_change_is_told_to_the_trainer_at_once(tmp_path: Path) -> None:
    trainer = ToldTrainer(micro_batch=16)
    _, force = made(tmp_path, trainer)
    force.change(Limits(threads=1, processor=0.5, niceness=15, io="normal", accelerator=0.25))
    told = trainer.allowed
    assert (told.threads, told.processors) == (1, 0.5 * processors_here())
    assert (told.niceness, told.idle_io, told.accelerator) == (15, False, 0.25)
    assert (told.memory, told.micro_batch) == (0, 0)
    force.change(Limits())
    assert trainer.allowed.processors == 0


def test_a_limit_of_memory_leaves_the_daemons_own_out(tmp_path: Path) -> None:
    it, _ = made(tmp_path, ToldTrainer(16), memory=8e9)
    assert 5e9 < it.allow().memory < 8e9
    little, _ = made(tmp_path, ToldTrainer(16), memory=1e6)
    assert little.allow().memory == 1, "no limit would be 0"


def test_over_its_memory_a_peer_trains_with_ever_smaller_micro_batches_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "resident", lambda pid: Resident(private=1_100_000_000))
    monkeypatch.setattr(module, "forget_peak", lambda pid: None)
    trainer = ToldTrainer(micro_batch=4)
    it, force = made(tmp_path, trainer, memory=1e9)
    given_up: list[str] = []
    it.give_up = given_up.append
    it._times.used(None)  # knows its own process
    now, sizes = time.monotonic() + 1, []
    while trainer.micro_batch > 1:
        it._look_at_memory(1e9, now)
        trainer.micro_batch = trainer.allowed.micro_batch
        it.started(cast(Trainer, trainer))
        sizes.append(trainer.micro_batch)
        now += 2 * SETTLE_SECONDS
    assert sizes == [2, 1]
    assert force.acting()["memory"] == "1 of 16 sequences at a time, to stay within 1 GB"
    it._look_at_memory(1e9, now)
    assert given_up == []
    it._look_at_memory(1e9, now + HOPELESS_SECONDS)
    assert "memory taken and 1 GB allowed, with one sequence at a time" in given_up[0]


def test_that_memory_is_short_without_any_limit_is_shown_too(tmp_path: Path) -> None:
    trainer = ToldTrainer(micro_batch=8)
    it, force = made(tmp_path, trainer)
    it.started(cast(Trainer, trainer))
    assert force.acting() == {"memory": "8 of 16 sequences at a time, as memory is short"}
    trainer.micro_batch = 16
    it.started(cast(Trainer, trainer))
    assert force.acting() == {}


def test_an_accelerators_share_acts_where_there_is_one(tmp_path: Path) -> None:
    for accelerator, acts in (("", {}), ("H100", {"accelerator": "held at 25% of its time"})):
        trainer = ToldTrainer(16, accelerator)
        it, force = made(tmp_path, trainer, accelerator=0.25)
        it.started(cast(Trainer, trainer))
        assert force.acting() == acts


def test_processors_in_use_are_those_of_the_last_ten_seconds() -> None:
    rate = Rate()
    assert rate.processors == 0
    for second in range(60):
        rate.add(2.0 if second < 30 else 0.5, float(second))
    assert rate.processors == pytest.approx(0.5)
