"""What a trainer may use of its machine, from its start on and whenever that changes."""

from __future__ import annotations

import torch

from peer.training.machine_memory import give_back_memory
from peer.training.messages import Allow
from peer.training.model import memory_needed
from peer.training.priority import give_way
from peer.training.sizing import Sizing
from peer.training.throttle import Throttle
from swarmpb.spec import RunSpec


class Bounds:
    """Threads, time, memory; made before the model is."""

    def __init__(self, spec: RunSpec, device: torch.device, allow: Allow) -> None:
        """`TrainerFailure`: too_large, if not even one sequence at a time fits; spec."""
        self._device = device
        self._sizing = Sizing(memory_needed(spec), device, spec.inner.batch_size)
        self.micro_batch = self._sizing.begin(allow)
        """Sequences at once."""
        self.throttle = Throttle(device)
        self._set(allow)

    def change(self, allow: Allow) -> int:
        """Have these hold from now on; sequences at once."""
        before, self.micro_batch = self.micro_batch, self._sizing.again(allow)
        if self.micro_batch < before:
            give_back_memory()
        self._set(allow)
        give_way(allow.niceness, allow.idle_io)
        return self.micro_batch

    def _set(self, allow: Allow) -> None:
        torch.set_num_threads(allow.threads)
        self.throttle.allow(allow)
        if self._device.type == "cuda":
            _, total = torch.cuda.mem_get_info(self._device)
            share = min(1.0, (allow.accelerator_memory or total) / total)
            torch.cuda.set_per_process_memory_fraction(share, self._device)
