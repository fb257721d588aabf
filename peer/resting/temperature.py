"""How hot the processors and accelerators of this machine are."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from typing import Any

import psutil
import pynvml

log = logging.getLogger(__name__)

MATTERS = re.compile(
    r"coretemp|k10temp|zenpower|cpu|soc|pkg|applesmc|ibmpowernv|amdgpu|radeon|nouveau|i915|^xe$"
)
"""Drivers of sensors in processors and accelerators, or in chips that hold them."""
NEAR = re.compile(r"acpitz|thermal")
"""Somewhere near the processor; asked only where nothing better is there."""
_SILLY = (1.0, 150.0)
"""°C: a sensor outside says nothing. Some that are not connected say 0 or -273."""


class Temperatures:
    """The hottest sensor that matters; looks for Nvidia's library once."""

    def __init__(self) -> None:
        self._nvidia = _nvidia_devices()

    def hottest(self) -> float | None:
        """°C of the hottest processor or accelerator; None: no sensor can be read here."""
        return max([*_of_sensors(), *self._of_nvidia()], default=None)

    def _of_nvidia(self) -> Iterator[float]:
        for device in self._nvidia:
            try:
                yield float(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))
            except pynvml.NVMLError as error:
                log.debug("no temperature of an Nvidia device: %s", error)


def _of_sensors() -> list[float]:
    # psutil knows none on macOS, and has no such function there
    look = getattr(psutil, "sensors_temperatures", dict)
    by_driver: dict[str, list[Any]] = look()
    for drivers in (MATTERS, NEAR):
        found = [
            it.current
            for driver, sensors in by_driver.items()
            if drivers.search(driver)
            for it in sensors
            if math.isfinite(it.current) and _SILLY[0] < it.current < _SILLY[1]
        ]
        if found:
            return found
    return []


def _nvidia_devices() -> list[object]:
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(it) for it in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        log.debug("no Nvidia devices: %s", error)
        return []
