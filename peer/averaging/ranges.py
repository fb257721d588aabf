"""Sets of chunks as ranges, and chunks as the gaps between them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

MAX_CHUNK = 2**53
"""Chunks have smaller numbers than this."""

Ranges = tuple[tuple[int, int], ...]
"""Ascending and apart: first chunk, and the one behind the last."""
Numbers = npt.NDArray[np.uint64]


def ranges_of(chunks: Sequence[int]) -> Ranges:
    """Ascending distinct chunks as ranges."""
    found: list[tuple[int, int]] = []
    for chunk in chunks:
        if found and found[-1][1] == chunk:
            found[-1] = (found[-1][0], chunk + 1)
        else:
            found.append((chunk, chunk + 1))
    return tuple(found)


def union(*several: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for start, stop in sorted(pair for ranges in several for pair in ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return tuple(found)


def without(chunks: Iterable[int], ranges: Ranges) -> tuple[int, ...]:
    """Those that are in no range."""
    numbers = np.fromiter(chunks, np.int64)
    if not ranges or not numbers.size:
        return tuple(numbers.tolist())
    starts, stops = np.array(ranges, np.int64).T
    place = np.searchsorted(starts, numbers, side="right") - 1
    inside = (place >= 0) & (numbers < stops[np.maximum(place, 0)])
    return tuple(numbers[~inside].tolist())


def free(taken: Ranges, start: int, stop: int) -> Numbers:
    first = max(0, bisect_left(taken, (start,)) - 1)
    near = taken[first : bisect_left(taken, (stop,))]
    return np.array(without(range(start, stop), near), np.uint64)


def as_gaps(numbers: Sequence[int]) -> list[int]:
    """Each number less the one before it."""
    return [now - then for then, now in zip((0, *numbers), numbers, strict=False)]


def from_gaps(gaps: Sequence[int]) -> list[int]:
    """What `as_gaps` was made of; `ValueError` if those are not ascending, or out of bounds."""
    found = list(accumulate(int(gap) for gap in gaps))
    if any(gap <= 0 for gap in gaps[1:]) or any(not 0 <= it <= MAX_CHUNK for it in found):
        raise ValueError("chunks are not ascending, or out of bounds")
    return found
