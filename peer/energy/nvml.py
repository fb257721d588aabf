"""What NVIDIA's accelerators count, if their driver and its Python package are here."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

log = logging.getLogger(__name__)


class Nvml:
    """Joules of the accelerator that a process computes on, since the last question.

    All of it: whoever else uses it meanwhile is counted, too.
    """

    def __init__(self, library: Any, pid: int) -> None:
        """library: the module pynvml. Its `NVMLError` if there is no such accelerator."""
        self._library = library
        library.nvmlInit()
        devices = [
            library.nvmlDeviceGetHandleByIndex(it) for it in range(library.nvmlDeviceGetCount())
        ]
        used = [it for it in devices if pid in self._pids(it)]
        if not devices:
            raise library.NVMLError_NotFound  # a driver without a card
        self._device = (used or devices)[0]  # in a container process ids are others
        self._before = self._counted()
        self._at = time.monotonic()

    def joules(self) -> float:
        """Since the last question. `NVMLError`."""
        now, counted = time.monotonic(), self._counted()
        if counted is not None and self._before is not None:
            used = max(0.0, counted - self._before)
        else:  # before Volta there is only the power at this moment
            used = self._library.nvmlDeviceGetPowerUsage(self._device) / 1000 * (now - self._at)
        self._before, self._at = counted, now
        return float(used)

    def _pids(self, device: Any) -> list[int]:
        try:
            return [it.pid for it in self._library.nvmlDeviceGetComputeRunningProcesses(device)]
        except self._library.NVMLError:
            return []

    def _counted(self) -> float | None:
        try:
            return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1000
        except self._library.NVMLError:
            return None


def accelerator_of(pid: int) -> Nvml | None:
    """The meter of the accelerator that this process uses; None: it cannot be had."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(library, pid)
    except library.NVMLError as error:
        log.debug("the accelerator tells no energy: %s", error)
        return None
