"""Will a model fit? Estimated from its shape, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from peer.training.failure import TrainerFailure
from peer.training.machine_memory import free_memory
from swarmpb.spec import RunSpec

FLOAT_BYTES = 4
DAEMON_VECTORS = 8
"""Global parameters, momentum, residuals, what is sent and received: flat vectors, float32."""
SHARED_VECTORS = 2

_GIGABYTE = 1e9


@dataclass(frozen=True)
class Footprint:
    """Estimated bytes."""

    device: int
    """Where the model lies: parameters, gradients, optimizer, held-out copy, activations."""
    host: int
    """In the machine's memory whatever the device: the daemon's and the shared vectors."""


def estimate(model: PreTrainedModel, spec: RunSpec, micro_batch: int) -> Footprint:
    """The memory of training `model`, which may lie on the meta device.

    Activations: inputs and outputs of every linear map, float32, plus three times the logits;
    about right for transformers, too little for models that keep long recurrent states.
    """
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    optimizer = 1 if spec.inner.optimizer == "muon" else 2
    sequences = min(micro_batch or spec.inner.batch_size, spec.inner.batch_size)
    linear = sum(
        m.in_features + m.out_features for m in model.modules() if isinstance(m, nn.Linear)
    )
    logits = 3 * int(model.config.vocab_size)
    activations = sequences * spec.data.sequence_length * (linear + logits)
    return Footprint(
        device=FLOAT_BYTES * (parameters * (3 + optimizer) + activations),
        host=FLOAT_BYTES * parameters * (DAEMON_VECTORS + SHARED_VECTORS),
    )


def check(needed: Footprint, device: torch.device) -> None:
    """`TrainerFailure("too_large")` if the estimate exceeds what is free."""
    if device.type == "cuda":
        free_on_device, _ = torch.cuda.mem_get_info(device)
        _compare(needed.device, free_on_device, "on the GPU")
        _compare(needed.host, free_memory(), "here")
    else:
        _compare(needed.device + needed.host, free_memory(), "here")


def _compare(needed: int, free: int, where: str) -> None:
    if needed > free:
        raise TrainerFailure(
            "too_large",
            f"this run's model needs about {needed / _GIGABYTE:.1f} GB of memory, "
            f"{free / _GIGABYTE:.1f} GB is free {where}; close other programs, lower the "
            "micro-batch, or join a run with a smaller model",
        )
