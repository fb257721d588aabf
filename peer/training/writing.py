"""A run's model from a vector of parameters, on disk: for whoever trains nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from peer.training.export import export_model
from peer.training.model import bare_model
from swarmpb.spec import RunSpec


def write_model(spec: RunSpec, parameters: NDArray[np.float32], folder: Path) -> str:
    """Write the model of `spec` with `parameters`, shape (n,); empty, or one line: why it failed.

    All or nothing. Takes memory for four more vectors of that size.
    """
    return export_model(bare_model(spec), torch.from_numpy(parameters), folder)
