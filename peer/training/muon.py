"""Muon, with arithmetic that suits the processor.

`torch.optim.Muon` orthogonalises in bfloat16 always. Without bfloat16 instructions, which most
volunteers' processors lack, that takes 1.3 s for the demo's matrices, ten times as long as the
rest of the inner step; in float32 0.08 s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(Optimizer):
    """Momentum whose update is the nearest half-orthogonal matrix (Jordan et al. 2024).

    Nesterov momentum, decoupled weight decay; the rate grows with the square root of how much
    taller than wide a matrix is.
    """

    def __init__(
        self, matrices: Sequence[Tensor], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply the gradients once; matrices of one shape are worked on together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for (rows, columns), matrices in by_shape.items():
                directions = [self._direction(matrix, group["momentum"]) for matrix in matrices]
                updates = orthogonalised(torch.stack(directions))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-rate)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        gradient = matrix.grad
        if gradient is None:
            raise ValueError("every matrix needs a gradient")
        state["momentum"].lerp_(gradient, 1 - momentum)
        direction: Tensor = gradient.lerp(state["momentum"], momentum)
        return direction


def orthogonalised(matrices: Tensor) -> Tensor:
    """About U Vᵀ for each U S Vᵀ of `matrices`, shape (number, rows, columns).

    Newton-Schulz iteration with a quintic polynomial; singular values end near 1, not at it.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(_arithmetic(matrices.device))
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _arithmetic(device: torch.device) -> torch.dtype:
    """bfloat16, which is exact enough here, where there are instructions for it."""
    able = torch.cpu.get_capabilities()
    fast = any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if device.type == "cuda" or fast else torch.float32
