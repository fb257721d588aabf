"""Shuffles are permutations, and no two look alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.training.shuffle import MAX_SIZE, Shuffle


def order(size: int, name: str) -> list[int]:
    return [int(it) for it in Shuffle(size, name).places(np.arange(size, dtype=np.uint64))]


@given(size=st.integers(1, 3000), name=st.text(max_size=20))
def test_every_place_is_taken_once(size: int, name: str) -> None:
    assert sorted(order(size, name)) == list(range(size))


@given(size=st.integers(1, MAX_SIZE), data=st.data())
def test_places_lie_inside_whatever_the_size_and_however_they_are_asked_for(
    size: int, data: st.DataObject
) -> None:
    indices = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    shuffle = Shuffle(size, "large")
    together = shuffle.places(np.array(indices, dtype=np.uint64))
    assert all(int(it) < size for it in together)
    assert len({int(it) for it in together}) == len(indices)
    alone = [int(shuffle.places(np.array([it], dtype=np.uint64))[0]) for it in indices]
    assert [int(it) for it in together] == alone


def test_an_order_follows_from_its_name_alone() -> None:
    assert order(50, "seed 1 pass 0") == order(50, "seed 1 pass 0")
    orders = {str(order(50, f"seed {seed} pass {it}")) for seed in range(20) for it in range(20)}
    assert len(orders) == 400


def test_orders_are_the_same_for_ever() -> None:
    """Peers of different versions must agree; who changes this ends all runs under way."""
    assert order(12, "murmuration") == FIXED


FIXED = [8, 3, 5, 9, 11, 6, 2, 0, 7, 1, 4, 10]


@pytest.mark.parametrize("size", [2, 3, 5, 64, 100])
def test_all_places_are_as_likely_for_each_index(size: int) -> None:
    counts = np.zeros((size, size))
    for number in range(400):
        counts[np.arange(size), order(size, f"{size} {number}")] += 1
    expected = 400 / size
    # chi-squared with (size - 1)² degrees of freedom, six standard deviations
    freedom = (size - 1) ** 2
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert abs(statistic - freedom) < 6 * np.sqrt(2 * freedom) + 6


@pytest.mark.parametrize("size", [0, -1, MAX_SIZE + 1])
def test_sizes_out_of_bounds_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="shuffle"):
        Shuffle(size, "")
