"""Muon: the same optimizer as PyTorch's, in the arithmetic that the processor is fast at."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from peer.training import muon

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8)]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    dtype: torch.dtype = request.param
    monkeypatch.setattr(muon, "_arithmetic", lambda device: dtype)
    return dtype


def matrices() -> list[Parameter]:
    torch.manual_seed(0)
    return [Parameter(torch.randn(shape)) for shape in SHAPES]


def test_it_does_what_pytorchs_muon_does(arithmetic: torch.dtype) -> None:
    ours, theirs = matrices(), matrices()
    mine = muon.Muon(ours, lr=0.1, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1)
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
    # PyTorch's bfloat16 keeps 8 bits of each update, of at most 0.1 x sqrt(3)
    exact = arithmetic == torch.bfloat16
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6 if exact else 0.05)


def test_singular_values_end_near_one(arithmetic: torch.dtype) -> None:
    torch.manual_seed(1)
    for shape in SHAPES:
        result = muon.orthogonalised(torch.randn(3, *shape) * 1e-3)
        assert result.shape == (3, *shape)
        assert result.dtype == torch.float32
        values = torch.linalg.svdvals(result)
        assert float(values.min()) > 0.3
        assert float(values.max()) < 1.4


def test_a_matrix_without_a_gradient_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a gradient"):
        muon.Muon(matrices(), lr=0.1, weight_decay=0.0).step()
