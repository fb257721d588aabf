"""A run's text as tokens: training batches that are a pure function of their number, and
held-out batches that are the same on every peer."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peer.training.failure import TrainerFailure
from swarmpb.spec import RunSpec

Text = npt.NDArray[np.uint8]

END = 0xFF
"""Ends a document: a byte that UTF-8 never contains."""
END_TOKEN = 1
FIRST_BYTE_TOKEN = 3
"""ByT5 (arXiv:2105.13626): 0 padding, 1 end, 2 unknown, then the 256 bytes."""
VALIDATION_SEQUENCES = 32

_EVALUATED_AT_ONCE = 4
_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


class TextStream:
    """The batches of one peer: windows at random places of the training text."""

    def __init__(self, text: Text, spec: RunSpec, peer_id: str, first_batch: int = 0) -> None:
        self._text = text
        self._length = spec.data.sequence_length
        self._size = spec.inner.batch_size
        self._first = first_batch
        seed = f"murmuration text {spec.seed} {peer_id}".encode()
        self._key = int.from_bytes(hashlib.sha256(seed).digest()[:16], "big")

    def batch(self, number: int) -> Tensor:
        """Tokens of batch `number` since the start, int64, shape (batch_size, sequence_length)."""
        # a counter-based generator (Philox, Salmon et al. 2011): no state to keep or restore
        counter = (self._first + number) << 128
        random = np.random.Generator(np.random.Philox(key=self._key, counter=counter))
        starts = random.integers(0, len(self._text) - self._length + 1, size=self._size)
        return tokens_of(self._text[starts[:, None] + np.arange(self._length)])


def validation_batches(text: Text, spec: RunSpec) -> list[Tensor]:
    """Evenly spread sequences of the held-out text; each batch (up to 4, sequence_length)."""
    length = spec.data.sequence_length
    count = min(VALIDATION_SEQUENCES, len(text) // length)
    starts = np.linspace(0, len(text) - length, count, dtype=np.int64)
    tokens = tokens_of(text[starts[:, None] + np.arange(length)])
    return list(tokens.split(_EVALUATED_AT_ONCE))


def split(text: Text, spec: RunSpec) -> tuple[Text, Text]:
    """Training text and held-out text; `TrainerFailure("data")` if one is too short to use."""
    held_out = int(len(text) * spec.data.validation_fraction)
    training, validation = text[: len(text) - held_out], text[len(text) - held_out :]
    if min(len(training), len(validation)) < spec.data.sequence_length:
        raise TrainerFailure(
            "data",
            f"the text has {len(training)} bytes to train on and {len(validation)} held out; "
            f"each must hold data.sequence_length = {spec.data.sequence_length}",
        )
    return training, validation


def tokens_of(text: Text) -> Tensor:
    """ByT5 tokens of text bytes, int64, same shape."""
    tokens = text.astype(np.int64) + FIRST_BYTE_TOKEN
    return torch.from_numpy(np.where(text == END, END_TOKEN, tokens))


def standard_library(folder: Path | None = None) -> Text:
    """The source text of the running Python's standard library, in the order of its paths.

    Tests and installed packages are left out, and so are files that are no UTF-8 text.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    pieces = []
    for path in sorted(_source_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        pieces += _document(path)
    if not pieces:
        raise TrainerFailure("data", f"no Python source text under {folder}")
    return np.frombuffer(b"".join(pieces), dtype=np.uint8)


def _source_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        # pruned here, not filtered later: installed packages may be a hundred thousand files
        folders[:] = [name for name in folders if name not in _NOT_THE_LIBRARY]
        yield from (Path(place, name) for name in names if name.endswith(".py"))


def _document(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
        content.decode()
    except (OSError, UnicodeDecodeError):
        return []  # unreadable or in another encoding: not part of the corpus
    return [content, bytes([END])] if content else []
