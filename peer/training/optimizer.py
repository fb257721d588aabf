"""The inner optimizer of a run, and the learning rate at a number of merged tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from peer.training.model import FlatModel
from peer.training.muon import Muon
from swarmpb.spec import RunSpec

_ADAMW_BETAS = (0.9, 0.95)


class InnerOptimizer:
    """Muon for the matrices inside blocks and AdamW for the rest, or AdamW for everything.

    AdamW: arXiv:1711.05101. Weight decay on matrices inside blocks only.
    """

    def __init__(self, model: FlatModel, spec: RunSpec) -> None:
        self._model = model
        self._spec = spec
        matrices, rest = _split(model.model)
        self._optimizers = _optimizers(matrices, rest, spec)
        self._peaks = [[g["lr"] for g in o.param_groups] for o in self._optimizers]

    def update(self, tokens: int) -> float:
        """Apply the gradients at `tokens` merged tokens of the run, then clear them.

        The gradient is scaled down to the spec's largest norm first. Returns the norm that it
        had; if that is not finite, nothing is applied.
        """
        gradient = self._model.gradient
        norm = float(torch.linalg.vector_norm(gradient))
        if norm < float("inf"):
            gradient.mul_(min(1.0, self._spec.inner.gradient_clip / (norm + 1e-12)))
            factor = self._spec.learning_rate_factor(tokens)
            for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
                optimizer.step()
        gradient.zero_()
        return norm


def _optimizers(
    matrices: Sequence[Tensor], rest: Sequence[Tensor], spec: RunSpec
) -> list[Optimizer]:
    inner = spec.inner
    if inner.adamw_learning_rate is None:
        groups = [
            {"params": matrices, "weight_decay": inner.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return [AdamW(groups, lr=inner.learning_rate, betas=_ADAMW_BETAS)]
    muon = Muon(
        matrices,
        lr=inner.learning_rate,
        weight_decay=inner.weight_decay,
        momentum=inner.momentum,
    )
    adamw = AdamW(rest, lr=inner.adamw_learning_rate, betas=_ADAMW_BETAS, weight_decay=0.0)
    return [muon, adamw]


def _split(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable parameters: matrices inside blocks, and the rest (embeddings, norms, head)."""
    embedded = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        in_block = any(part.isdigit() for part in name.split("."))
        is_matrix = parameter.ndim == 2 and id(parameter) not in embedded
        if parameter.requires_grad:
            (matrices if in_block and is_matrix else rest).append(parameter)
    return matrices, rest
