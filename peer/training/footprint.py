"""Will a model fit? Estimated from its shape, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from peer.training.failure import TrainerFailure
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


def free_memory(root: Path = Path("/")) -> int:
    """Bytes this process may still take: of the machine, and of its control groups under `root`."""
    return min([psutil.virtual_memory().available, *_free_in_control_groups(root)])


def _free_in_control_groups(root: Path) -> list[int]:
    """What each control group (version 2) that holds this process has left, in bytes."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []  # not Linux
    free = []
    for line in lines:
        if line.startswith("0::/"):
            mount = root / "sys/fs/cgroup"
            group = mount / line[len("0::/") :]
            folders = [group, *group.parents]
            free += [_free_in(folder) for folder in folders if folder.is_relative_to(mount)]
    return [bytes_left for bytes_left in free if bytes_left is not None]


def _free_in(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None  # the root group has no limit
    return max(0, int(limit) - used) if limit.isdigit() else None


def _compare(needed: int, free: int, where: str) -> None:
    if needed > free:
        raise TrainerFailure(
            "too_large",
            f"this run's model needs about {needed / _GIGABYTE:.1f} GB of memory, "
            f"{free / _GIGABYTE:.1f} GB is free {where}; close other programs, lower the "
            "micro-batch, or join a run with a smaller model",
        )
