"""Will a model fit, and how many sequences at once? Estimated before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from peer.training.failure import TrainerFailure
from swarmpb.spec import RunSpec

FLOAT_BYTES = 4
DAEMON_VECTORS = 10
"""At the peak of a round, as ARCHITECTURE.md counts them: flat vectors, float32."""
SHARED_VECTORS = 2

_GIGABYTE = 1e9


@dataclass(frozen=True)
class Footprint:
    """Estimated bytes."""

    model: int
    """Where the model lies: parameters, gradients, optimizer, held-out copy."""
    sequence: int
    """There too: activations of one sequence."""
    host: int
    """In the machine's memory whatever the device: the daemon's and the shared vectors."""
    copies: int
    """The same: parameters and optimizer, while a checkpoint is written."""

    def device(self, sequences: int) -> int:
        """Where the model lies, with so many sequences at once."""
        return self.model + sequences * self.sequence


@dataclass(frozen=True)
class Room:
    """Bytes that may be taken, and what bounds them, in words."""

    host: int
    host_bound: str = "is free here"
    device: int | None = None
    """On the accelerator; None: the processor computes."""
    device_bound: str = "is free on the GPU"


def estimate(model: PreTrainedModel, spec: RunSpec) -> Footprint:
    """The memory of training `model`, which may lie on the meta device.

    Activations: inputs and outputs of every linear map, float32, plus three times the logits;
    about right for transformers, too little for models that keep long recurrent states.
    """
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    optimizer = 1 if spec.inner.optimizer == "muon" else 2
    linear = sum(
        m.in_features + m.out_features for m in model.modules() if isinstance(m, nn.Linear)
    )
    logits = 3 * int(model.config.vocab_size)
    return Footprint(
        model=FLOAT_BYTES * parameters * (3 + optimizer),
        sequence=FLOAT_BYTES * spec.data.sequence_length * (linear + logits),
        host=FLOAT_BYTES * parameters * (DAEMON_VECTORS + SHARED_VECTORS),
        copies=FLOAT_BYTES * parameters * (1 + optimizer),
    )


def largest_micro_batch(needed: Footprint, room: Room, most: int) -> int:
    """Sequences at once: `most`, or half of it, and so on; 0: not even one fits."""
    sequences = most
    while sequences and not _fits(needed, room, sequences):
        sequences //= 2
    return sequences


def require_room(needed: Footprint, room: Room) -> None:
    """`TrainerFailure("too_large")` if not even one sequence at a time fits."""
    if room.device is None:
        _compare(needed.device(1) + needed.host + needed.copies, room.host, room.host_bound)
    else:
        _compare(needed.device(1), room.device, room.device_bound)
        _compare(needed.host + needed.copies, room.host, room.host_bound)


def _fits(needed: Footprint, room: Room, sequences: int) -> bool:
    host, device = needed.host + needed.copies, needed.device(sequences)
    if room.device is None:
        return host + device <= room.host
    return host <= room.host and device <= room.device


def _compare(needed: int, room: int, bound: str) -> None:
    if needed > room:
        raise TrainerFailure(
            "too_large",
            f"this run's model needs about {needed / _GIGABYTE:.1f} GB of memory even with one "
            f"sequence at a time, {max(0, room) / _GIGABYTE:.1f} GB {bound}; close other programs, "
            "allow it more (limits.memory, limits.accelerator_memory), or join a run with a "
            "smaller model",
        )


def room_for(allow_memory: int, taken: int, held: int, free: int) -> Room:
    """Of the machine's memory, for a trainer that takes `taken` already, and its daemon.

    allow_memory: what both may take, 0: no limit; held: of the daemon's vectors, those that are
    there; free: of the machine. Bytes, all.
    """
    left = free + held
    if allow_memory and allow_memory - taken < left:
        return Room(allow_memory - taken, "is left of limits.memory")
    return Room(left)


def with_device(room: Room, device: torch.device, allowed: int) -> Room:
    """The same with what is free on the accelerator; allowed: bytes there, 0: all."""
    if device.type != "cuda":
        return room
    free, _ = torch.cuda.mem_get_info(device)
    if allowed and allowed < free:
        return Room(room.host, room.host_bound, allowed, "are allowed on the GPU")
    return Room(room.host, room.host_bound, free)
