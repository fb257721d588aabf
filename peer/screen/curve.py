"""A curve in letters: braille dots where the terminal has them, ASCII elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Of a braille letter: rows from the top, left and right."""
_MARKS = ("'", "-", ".")
"""Of an ASCII letter: upper, middle and lower third."""
_SMALLEST_SPAN = 1e-9
_MOST = 1e12


def curve(values: Sequence[float], width: int, height: int, ascii_only: bool = False) -> list[str]:
    """`height` lines of `width` letters, the oldest value at the left; blank for no values.

    The smallest value is on the lowest line and the largest on the highest. Values that are not
    finite are left out. There is no gap between two values, however steep it is between them.
    """
    if width < 1 or height < 1:
        return []
    known = [min(max(value, -_MOST), _MOST) for value in values if math.isfinite(value)]
    across, down = (1, len(_MARKS)) if ascii_only else (2, len(_DOTS))
    levels = _levels(_fitted(known, width * across), height * down)
    grid = [[0] * width for _ in range(height)]
    before = levels[0] if levels else 0
    for column, level in enumerate(levels):
        for row in _joining(before, level):
            line, inner = divmod(row, down)
            letter = grid[line][column // across]
            dot = 1 << inner if ascii_only else _DOTS[inner][column % across]
            grid[line][column // across] = letter | dot
        before = level
    letter_of = _ascii_letter if ascii_only else _braille_letter
    return ["".join(map(letter_of, line)) for line in grid]


def _fitted(values: list[float], columns: int) -> list[float]:
    """As many values as there are columns: means of many, or the few of them stretched."""
    if not values:
        return []
    count = len(values)
    if count >= columns:
        cuts = [column * count // columns for column in range(columns + 1)]
        return [math.fsum(values[start:end]) / (end - start) for start, end in pairwise(cuts)]
    step = (count - 1) / max(1, columns - 1)
    return [_between(values, column * step) for column in range(columns)]


def _between(values: list[float], place: float) -> float:
    first = min(int(place), len(values) - 1)
    second = min(first + 1, len(values) - 1)
    return values[first] + (values[second] - values[first]) * (place - first)


def _levels(values: list[float], rows: int) -> list[int]:
    """The row of each value, 0 at the top; a flat curve lies in the middle."""
    if not values:
        return []
    least, most = min(values), max(values)
    span = most - least
    if span < _SMALLEST_SPAN:
        return [rows // 2] * len(values)
    return [round((rows - 1) * (most - value) / span) for value in values]


def _joining(before: int, level: int) -> range:
    """The rows that a column fills, so that it touches the one before."""
    if level > before:
        return range(before + 1, level + 1)
    return range(level, max(level + 1, before))


def _braille_letter(dots: int) -> str:
    return chr(_BRAILLE + dots) if dots else " "


def _ascii_letter(thirds: int) -> str:
    if thirds & (thirds - 1):
        return "|"
    return _MARKS[thirds.bit_length() - 1] if thirds else " "
