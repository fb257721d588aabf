"""How many sequences this trainer computes at once: as many as fit in what it is allowed."""

from __future__ import annotations

import os

import torch

from peer.training import footprint
from peer.training.footprint import Footprint, Room
from peer.training.machine_memory import free_memory
from peer.training.messages import Allow
from peer.training.resident import resident


class Sizing:
    """Made before the model is: what this process takes then is not the model's."""

    def __init__(self, needed: Footprint, device: torch.device, batch_size: int) -> None:
        self._needed = needed
        self._device = device
        self._batch_size = batch_size
        self._taken = resident(os.getpid()).private

    def begin(self, allow: Allow) -> int:
        """Sequences at once; `TrainerFailure("too_large")` if not even one fits."""
        room = self._room(allow)
        footprint.require_room(self._needed, room)
        return footprint.largest_micro_batch(self._needed, room, self._most(allow))

    def again(self, allow: Allow) -> int:
        """The same with the model in place, and limits that have changed; 1 at the least.

        If that is still too much the daemon sees it, and decides.
        """
        room = self._room(allow)
        return max(1, footprint.largest_micro_batch(self._needed, room, self._most(allow)))

    def _most(self, allow: Allow) -> int:
        return min(allow.micro_batch or self._batch_size, self._batch_size)

    def _room(self, allow: Allow) -> Room:
        model = max(0, resident(os.getpid()).private - self._taken)
        room = footprint.room_for(allow.memory, self._taken, allow.held, free_memory() + model)
        return footprint.with_device(room, self._device, allow.accelerator_memory)
