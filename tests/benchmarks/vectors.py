"""The vectors of an averaging benchmark, in memory that its processes share."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from peer.averaging.codecs import FlatVector
from tests.benchmarks.nursery import SHARED

SCALE_VALUES = 4096
"""Values in a row that are of one size, as those of a model's tensor are."""
SMALLEST, LARGEST = 1e-5, 1e-2
DEGREES = 5
_CHUNK = 256 * SCALE_VALUES


@dataclass(frozen=True)
class Comparison:
    """Results of peers against the exact mean of their inputs."""

    error: float
    """L2 norm of result - mean over that of the mean; the worst peer's."""
    spread: float
    """Largest difference between what two peers hold for the same value."""


class Vectors:
    """One input and one result a peer, float32, shape (peers, values) each.

    They lie in memory without a name, which is gone when the last process is.
    """

    def __init__(self, peers: int, values: int, descriptor: int | None = None) -> None:
        size = 2 * peers * values * 4
        self._own = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("vectors")
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        mapped = np.frombuffer(mmap.mmap(descriptor, size), np.float32).reshape(2, peers, values)
        self.inputs, self.results = mapped[0], mapped[1]

    @classmethod
    def shared(cls, peers: int, values: int) -> Vectors:
        """Those of the process that started this one."""
        return cls(peers, values, SHARED)

    def __enter__(self) -> Vectors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._own:
            os.close(self.descriptor)

    def fill(self, seed: int) -> None:
        """Heavy-tailed pseudo-gradients: Student's t, of a size for each 4096 values."""
        peers, values = self.inputs.shape
        scales = np.random.default_rng([seed, peers]).uniform(
            np.log(SMALLEST), np.log(LARGEST), -(-values // SCALE_VALUES)
        )
        sizes = np.exp(scales).astype(np.float32)
        for peer, vector in enumerate(self.inputs):
            _fill(vector, sizes, np.random.default_rng([seed, peers, peer]))

    def compare(self, every: int = 1) -> Comparison:
        """How far the results are off; looks at one in `every` stretches of a million values."""
        wrong = np.zeros(len(self.results))
        norm = spread = 0.0
        for start in range(0, self.inputs.shape[1], every * _CHUNK):
            at = slice(start, start + _CHUNK)
            mean = self.inputs[:, at].mean(axis=0, dtype=np.float64)
            norm += float(mean @ mean)
            for peer, result in enumerate(self.results[:, at]):
                off = result - mean
                wrong[peer] += off @ off
            apart = self.results[:, at].max(axis=0) - self.results[:, at].min(axis=0)
            spread = max(spread, float(apart.max()))
        return Comparison(float(np.sqrt(wrong.max() / norm)), spread)


def _fill(vector: FlatVector, sizes: FlatVector, random: np.random.Generator) -> None:
    for start in range(0, vector.size, _CHUNK):
        part = vector[start : start + _CHUNK]
        random.standard_normal(out=part, dtype=np.float32)
        gamma = random.standard_gamma(DEGREES / 2, part.size, dtype=np.float32)
        part *= np.sqrt(np.float32(DEGREES / 2) / gamma)
        first = start // SCALE_VALUES
        blocks = -(-part.size // SCALE_VALUES)
        part *= np.repeat(sizes[first : first + blocks], SCALE_VALUES)[: part.size]
