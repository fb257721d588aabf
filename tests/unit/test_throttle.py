"""What a trainer holds itself to, by the clock of a test; an accelerator that is only pretended."""

from __future__ import annotations

import time

import pytest
import torch

from peer.training.messages import Allow
from peer.training.pace import RESPONSE_SECONDS
from peer.training.throttle import Throttle


class Clock:
    """Time as the test has it go by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.processor = 0.0
        self.synchronised = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.processor)
        monkeypatch.setattr(torch.cuda, "synchronize", self._synchronise)

    def _synchronise(self, device: torch.device) -> None:
        """The accelerator needs a while longer than the processor that told it what to do."""
        self.synchronised += 1
        self.now += 0.5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def throttle(device: str, allow: Allow) -> Throttle:
    it = Throttle(torch.device(device))
    it.allow(allow)
    return it


def test_an_accelerators_share_counts_until_it_is_done(clock: Clock) -> None:
    it = throttle("cuda", Allow(accelerator=0.5))
    with it.computing():
        clock.now += 0.5
    assert clock.synchronised == 1
    assert it.wait_seconds() == pytest.approx(1.0, abs=0.25), "as long as it computed"
    clock.now += 1.0
    assert it.wait_seconds() == 0


def test_on_the_processor_an_accelerators_share_means_nothing(clock: Clock) -> None:
    it = throttle("cpu", Allow(accelerator=0.5))
    with it.computing():
        clock.now += 1.0
    assert (it.wait_seconds(), clock.synchronised) == (0, 0)


def test_what_was_used_before_the_first_question_is_paid_too(clock: Clock) -> None:
    clock.processor = 4.0  # imports
    it = throttle("cpu", Allow(processors=1.0))
    assert it.wait_seconds() == pytest.approx(4.0, abs=0.25)
    it.used_elsewhere(1.0)
    assert it.wait_seconds() == pytest.approx(5.0, abs=0.25)


def test_the_longest_wait_counts_and_a_limit_that_is_lifted_lets_go(clock: Clock) -> None:
    it = throttle("cuda", Allow(processors=0.5, accelerator=0.25))
    with it.computing():
        clock.now += 0.5
        clock.processor += 1.0
    assert it.wait_seconds() == pytest.approx(3.0)
    it.allow(Allow(processors=0.5))
    assert it.wait_seconds() == pytest.approx(1.0)
    it.allow(Allow())
    assert it.wait_seconds() == 0


def test_where_threads_could_use_more_than_is_allowed_micro_batches_are_kept_short(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert throttle("cpu", Allow(processors=2.0)).response_seconds == RESPONSE_SECONDS
    assert throttle("cpu", Allow(processors=0.5)).response_seconds == pytest.approx(0.125)
    assert throttle("cpu", Allow()).response_seconds == RESPONSE_SECONDS
