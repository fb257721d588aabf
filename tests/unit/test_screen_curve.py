"""The curve of the loss in letters: what is high is high up, and nothing breaks it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.screen.curve import curve

FALLING = [5.0 - 0.04 * step for step in range(100)]


def first_line_with_ink(lines: list[str], column: int) -> int:
    return next(at for at, line in enumerate(lines) if line[column] != " ")


@pytest.mark.parametrize("ascii_only", [False, True], ids=["braille", "ascii"])
def test_a_falling_loss_falls_from_the_upper_left_to_the_lower_right(ascii_only: bool) -> None:
    lines = curve(FALLING, 40, 5, ascii_only)
    heights = [first_line_with_ink(lines, column) for column in range(40)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0, 4)


@pytest.mark.parametrize("ascii_only", [False, True], ids=["braille", "ascii"])
def test_a_jump_is_joined_so_that_the_line_has_no_gap(ascii_only: bool) -> None:
    lines = curve([1.0] * 20 + [2.0] * 20, 20, 6, ascii_only)
    assert all(any(line[column] != " " for column in range(9, 12)) for line in lines)


def test_a_curve_that_is_flat_or_of_one_value_is_a_line_across() -> None:
    for values in ([3.0], [3.0] * 50):
        (inked,) = [line for line in curve(values, 12, 3) if line.strip()]
        assert " " not in inked


def test_braille_shows_four_heights_in_a_line_where_ascii_shows_three() -> None:
    braille = "".join(curve(FALLING, 30, 1))
    letters = "".join(curve(FALLING, 30, 1, ascii_only=True))
    assert len(set(braille)) > len(set(letters)) >= 3
    assert letters.isascii()


def test_losses_that_are_none_leave_no_mark() -> None:
    assert curve([math.nan, 5.0, math.inf, 1.0], 8, 2) == curve([5.0, 1.0], 8, 2)
    assert curve([math.nan, math.inf], 8, 2) == [" " * 8] * 2
    assert curve([], 8, 2) == [" " * 8] * 2


@given(
    values=st.lists(st.floats(), max_size=300),
    width=st.integers(-1, 90),
    height=st.integers(-1, 20),
    ascii_only=st.booleans(),
)
def test_whatever_the_values_it_fills_exactly_its_place(
    values: list[float], width: int, height: int, ascii_only: bool
) -> None:
    lines = curve(values, width, height, ascii_only)
    room = width > 0 and height > 0
    assert [len(line) for line in lines] == ([width] * height if room else [])
    if ascii_only:
        assert "".join(lines).isascii()
    if room and any(map(math.isfinite, values)):
        assert all(any(line[column] != " " for line in lines) for column in range(width))
