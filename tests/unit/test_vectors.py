"""Memory of large vectors is used again, and never while somebody can still see it."""

from __future__ import annotations

import gc

import numpy as np

from peer.averaging.vectors import MOST_SPARE, empty_vector

VALUES = 300_007
"""More than a megabyte, and a size that no other test uses."""


def test_the_memory_of_a_vector_that_is_gone_is_used_again() -> None:
    address = _address(empty_vector(VALUES))
    assert _address(empty_vector(VALUES)) == address


def test_vectors_that_live_do_not_share_memory() -> None:
    vectors = [empty_vector(VALUES) for _ in range(MOST_SPARE + 2)]
    for index, vector in enumerate(vectors):
        vector[:] = index
    assert [set(np.unique(vector)) for vector in vectors] == [{it} for it in range(len(vectors))]


def test_a_slice_or_the_bytes_of_a_vector_keep_its_memory() -> None:
    vector = empty_vector(VALUES)
    vector[:] = 7
    part, view, data = vector[5:10], vector.reshape(1, -1)[:, 3:4].T, vector[20:30].data.cast("B")
    del vector
    gc.collect()
    others = [empty_vector(VALUES) for _ in range(MOST_SPARE + 2)]
    for other in others:
        other[:] = 0
    assert (part == 7).all()
    assert (view == 7).all()
    assert bytes(data) == np.full(10, 7, np.float32).tobytes()


def test_a_size_is_not_mixed_with_another() -> None:
    del_me = empty_vector(VALUES)
    assert empty_vector(VALUES + 1).shape == (VALUES + 1,)
    assert del_me.shape == (VALUES,)
    assert empty_vector(3).shape == (3,)
    assert empty_vector(0).shape == (0,)


def _address(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> int:
    return int(vector.__array_interface__["data"][0])
