"""A run's text as tokens: training batches that are a pure function of their chunk's number, and
held-out batches; both the same on every peer."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peer.training.failure import TrainerFailure
from peer.training.lease_queue import MAX_CHUNKS
from peer.training.shuffle import Shuffle
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
    """The training text as chunks without end; a chunk is the batch of one inner step.

    The text's whole sequences come in passes, each in an order of its own. Sequence i of the
    stream is the one at place i % S of pass i // S, S being how many there are. Which chunks a
    peer trains on is not decided here.
    """

    def __init__(self, text: Text, spec: RunSpec) -> None:
        self._length = spec.data.sequence_length
        self._size = spec.inner.batch_size
        self._sequences = len(text) // self._length
        self._text = text[: self._sequences * self._length].reshape(-1, self._length)
        self._seed = spec.seed

    @property
    def pass_chunks(self) -> int:
        """Chunks in one pass; the last one may reach into the next."""
        return -(-self._sequences // self._size)

    def batch(self, chunk: int) -> Tensor:
        """Tokens of a chunk, int64, shape (batch_size, sequence_length)."""
        if not 0 <= chunk < MAX_CHUNKS:
            raise ValueError(f"no chunk has the number {chunk}")
        first, size = chunk * self._size, self._size
        batch = []
        for number in range(first // self._sequences, (first + size - 1) // self._sequences + 1):
            begin = max(0, first - number * self._sequences)
            end = min(self._sequences, first + size - number * self._sequences)
            order = Shuffle(self._sequences, f"murmuration text {self._seed} pass {number}")
            places = order.places(np.arange(begin, end, dtype=np.uint64))
            batch.append(self._text[places.astype(np.int64)])
        return tokens_of(np.concatenate(batch))


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
