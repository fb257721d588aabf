"""Holds this trainer to its share of the processors and of the accelerator's time.

It waits between two micro-batches, where commands are answered, so a slow peer simply does fewer
inner steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from peer.training.allowance import WINDOW_SECONDS, Allowance
from peer.training.messages import Allow
from peer.training.pace import RESPONSE_SECONDS

_GRAIN = 0.05
"""One micro-batch may take that share of what the window allows."""


class Throttle:
    """What this trainer has used, and how long it has to wait for more."""

    def __init__(self, device: torch.device) -> None:
        now = time.monotonic()
        self._device = device
        self._processor = Allowance(now)
        self._accelerator = Allowance(now)
        self._charged = 0.0
        """Processor seconds of this process that are paid: none, its imports count too."""
        self.response_seconds = RESPONSE_SECONDS
        """How long a micro-batch may take."""

    def allow(self, allow: Allow) -> None:
        """Have these limits hold from now on."""
        now = time.monotonic()
        self._processor.set_rate(allow.processors or None, now)
        self._accelerator.set_rate(allow.accelerator if allow.accelerator < 1 else None, now)
        threads = torch.get_num_threads()
        self.response_seconds = RESPONSE_SECONDS
        if 0 < allow.processors < threads:
            grain = _GRAIN * WINDOW_SECONDS * allow.processors / threads
            self.response_seconds = min(RESPONSE_SECONDS, grain)

    def used_elsewhere(self, seconds: float) -> None:
        """Processor seconds that the daemon and its other children have used."""
        self._processor.used(seconds, time.monotonic())

    def wait_seconds(self) -> float:
        """For how long to hold still; 0: go on."""
        now, charged = time.monotonic(), time.process_time()
        self._processor.used(charged - self._charged, now)
        self._charged = charged
        return max(self._processor.wait_seconds(now), self._accelerator.wait_seconds(now))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What is computed meanwhile counts as the accelerator's time, until it is done."""
        began = time.monotonic()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        now = time.monotonic()
        if self._device.type != "cpu":
            self._accelerator.used(now - began, now)
