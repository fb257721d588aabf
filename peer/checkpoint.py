"""The newest global state on this machine's disk, so that a killed peer goes on from it.

A safetensors file whose metadata names round, tokens and digest. The one before it is kept
until the next is whole.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from peer.averaging.state import GlobalState
from peer.files import set_aside, write_whole

_NAMES = ("state.safetensors", "state.previous.safetensors")
_DAMAGED = (ValueError, KeyError, TypeError, RecursionError, SafetensorError, struct.error)


def save_state(folder: Path, state: GlobalState) -> None:
    """Write a state; `OSError` if the disk does not take it, the one before it then stays."""
    newest, previous = (folder / name for name in _NAMES)
    metadata = {
        "round": str(state.round),
        "tokens": str(state.tokens),
        "digest": state.digest.hex(),
    }
    vectors = {"parameters": state.parameters, "momentum": state.momentum}
    if newest.exists():
        newest.replace(previous)
    data = save({name: np.ascontiguousarray(it) for name, it in vectors.items()}, metadata)
    write_whole(newest, lambda file: file.write(data))


def load_state(folder: Path) -> GlobalState | None:
    """The newest state that its digest confirms; damaged files are set aside, and said."""
    for path in (folder / name for name in _NAMES):
        try:
            return _read(path)
        except FileNotFoundError:
            continue
        except _DAMAGED as error:
            set_aside(path, f"{type(error).__name__}: {error}")
    return None


def _read(path: Path) -> GlobalState:
    data = path.read_bytes()
    if len(data) < 8:
        raise ValueError("it is cut short")
    metadata = _metadata(data)
    vectors = load(data)
    parameters, momentum = (vectors[name] for name in ("parameters", "momentum"))
    if parameters.dtype != np.float32 or parameters.shape != momentum.shape or parameters.ndim != 1:
        raise ValueError("its vectors do not fit together")
    state = GlobalState(int(metadata["round"]), int(metadata["tokens"]), parameters, momentum)
    if state.digest.hex() != metadata["digest"]:
        raise ValueError("its content does not match its digest")
    return state


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata in a safetensors header: a length (uint64), then JSON."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
