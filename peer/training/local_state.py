"""What a trainer would go on from: parameters, inner optimizer, and how far the run was.

A safetensors file, float32 throughout. Nothing in it is believed when it is read back.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from peer.files import file_digest
from peer.training.messages import SnapshotWritten
from peer.training.run_tokens import RunTokens
from swarmpb.files import sync

LOCAL_FILE = "local.safetensors"
PARAMETERS = "parameters"
"""Name of the flat vector; the other names are the optimizer's."""

Arrays = dict[str, npt.NDArray[np.float32]]

_COUNTERS = "counters"
_FORMAT = 1
_LARGEST_HEADER = 16 << 20
_LEAST_PRIORITY = 19

_Tokens = Annotated[int, Field(ge=0, le=2**62)]


class Counters(BaseModel):
    """The numbers beside the tensors; they travel as JSON in the file's metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Annotated[int, Field(ge=_FORMAT, le=_FORMAT)] = _FORMAT
    base: Annotated[str, Field(max_length=128)]
    """Digest of the global state that the parameters sit on, hex."""
    own_tokens: _Tokens
    """As in `RunTokens`, all three."""
    swarm_over_own: Annotated[float, Field(ge=1, le=2**62, allow_inf_nan=False)]
    last_round: _Tokens
    rising: Annotated[int, Field(ge=0, le=1000)]
    """Updates until the optimizer is warm."""

    def run_tokens(self, merged: int) -> RunTokens:
        return RunTokens(merged, self.own_tokens, self.swarm_over_own, self.last_round)


@dataclass(frozen=True)
class LocalState:
    """Arrays that nobody writes to, and their counters."""

    arrays: Arrays
    counters: Counters

    def write(self, folder: Path) -> SnapshotWritten:
        """Write `LOCAL_FILE`, until it is safe from a power cut; its digest, or why not."""
        path = folder / LOCAL_FILE
        try:
            save_file(self.arrays, path, {_COUNTERS: self.counters.model_dump_json()})
            sync(path)
            return SnapshotWritten(file_digest(path), path.stat().st_size, "")
        except (OSError, SafetensorError) as error:  # the latter also for a full disk
            return SnapshotWritten("", 0, " ".join(f"{path}: {error}".split()))

    def write_lazily(self, folder: Path, told: Callable[[SnapshotWritten], None]) -> None:
        """The same in a thread that takes what time others leave; `told` is called there."""

        def run() -> None:
            if sys.platform == "linux":  # elsewhere a thread has no priority of its own
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
            told(self.write(folder))

        threading.Thread(target=run, name="snapshot", daemon=True).start()


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> LocalState:
    """The state in a file whose arrays have these shapes; `ValueError` or `OSError` if not.

    The optimizer's may all be missing: it had not begun.
    """
    most = 4 * sum(int(np.prod(shape)) for shape in shapes.values()) + _LARGEST_HEADER
    if path.stat().st_size > most:
        raise ValueError("it is larger than what this run's model needs")
    try:
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            if names not in ({PARAMETERS}, set(shapes)):
                raise ValueError("it holds the state of another model or optimizer")
            for name in names:
                _require_shape(name, file.get_slice(name), shapes[name])
            arrays: Arrays = {name: file.get_tensor(name) for name in sorted(names)}
            counters = Counters.model_validate_json((file.metadata() or {}).get(_COUNTERS, ""))
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    return LocalState(arrays, counters)


def _require_shape(name: str, piece: Any, shape: tuple[int, ...]) -> None:
    if piece.get_dtype() != "F32" or tuple(piece.get_shape()) != shape:
        raise ValueError(f"{name} is not what this run's model needs: {shape}, float32")
