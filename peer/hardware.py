"""What a peer tells of its machine: as a person would, and nothing to tell it from its like."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from peer.training.client import Trainer
from swarmpb.v1 import coordinator_pb2

MAX_NAME = 80
_MEMORY_STEP = 1 << 28
"""Bytes: a quarter of a gibibyte. The exact number is as good as a fingerprint."""
_CPUINFO = Path("/proc/cpuinfo")


class Machine:
    """What is told of this machine, gathered once."""

    def __init__(self) -> None:
        self._told = this_machine()

    def described(self, trainer: Trainer | None) -> coordinator_pb2.Hardware:
        """With the accelerator that the trainer computes on; of no trainer, the last one's."""
        if trainer is not None:
            self._told.accelerator = trainer.accelerator[:MAX_NAME]
        return self._told


def this_machine(cpuinfo: Path = _CPUINFO) -> coordinator_pb2.Hardware:
    """Processor, cores, memory and system; the accelerator is what a trainer says."""
    memory = psutil.virtual_memory().total
    return coordinator_pb2.Hardware(
        processor=processor_name(cpuinfo)[:MAX_NAME],
        cores=os.cpu_count() or 0,
        memory_bytes=round(memory / _MEMORY_STEP) * _MEMORY_STEP,
        system=platform.system()[:MAX_NAME],
    )


def processor_name(cpuinfo: Path) -> str:
    """The model, where the system names it; else the architecture."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()
