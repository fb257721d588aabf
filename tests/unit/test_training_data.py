"""Text: the same everywhere, all of it in every pass, never the held-out part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.training import data
from peer.training.failure import TrainerFailure
from peer.training.lease_queue import MAX_CHUNKS
from swarmpb.spec import RunSpec
from tests.tiny import tiny_spec

COUNTING = (np.arange(50_000) % 251).astype(np.uint8)


def large_batches(size: int) -> RunSpec:
    return tiny_spec(inner={"batch_size": size}, round={"target_tokens": 10**6})


def test_bytes_become_byt5_tokens_and_documents_end() -> None:
    text = np.frombuffer(b"a\x00\xc3\xa9" + bytes([data.END]), dtype=np.uint8)
    assert data.tokens_of(text).tolist() == [100, 3, 198, 172, 1]


def test_the_library_is_read_in_a_fixed_order_without_tests_and_packages(tmp_path: Path) -> None:
    for name in ("b.py", "a/z.py", "test/t.py", "a/tests/t.py", "site-packages/p.py", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9")
    (tmp_path / "empty.py").touch()
    assert bytes(data.standard_library(tmp_path)) == b"a/z.py\xffb.py\xff"


def test_an_empty_library_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainerFailure, match="no Python source text"):
        data.standard_library(tmp_path)


def test_the_real_library_is_some_megabytes_of_text() -> None:
    text = data.standard_library()
    assert 5_000_000 < len(text) < 50_000_000
    assert b"def main(" in bytes(text)


def test_the_last_part_is_held_out() -> None:
    training, held_out = data.split(COUNTING, tiny_spec())
    assert len(held_out) == 1000
    assert np.array_equal(np.concatenate([training, held_out]), COUNTING)


def test_a_text_too_short_to_hold_out_a_sequence_is_told() -> None:
    with pytest.raises(TrainerFailure, match="sequence_length = 16"):
        data.split(COUNTING[:700], tiny_spec())


@given(chunk=st.integers(0, MAX_CHUNKS - 1))
def test_a_chunk_is_a_pure_function_of_its_number(chunk: int) -> None:
    batch, same = (data.TextStream(COUNTING, tiny_spec()).batch(chunk) for _ in range(2))
    assert batch.shape == (2, 16)
    assert torch.equal(batch, same)
    # sequences of the text: consecutive bytes stay consecutive
    steps = (batch[:, 1:] - batch[:, :-1]) % 251
    assert torch.all(steps == 1)


@given(
    sequences=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    passes=st.integers(1, 3),
    rest=st.integers(0, 15),
)
def test_every_pass_takes_every_sequence_once(
    sequences: int, batch_size: int, passes: int, rest: int
) -> None:
    text = np.repeat(np.arange(sequences + 1, dtype=np.uint8), 16)[: 16 * sequences + rest]
    stream = data.TextStream(text, large_batches(batch_size))
    chunks = -(-passes * sequences // batch_size)
    firsts = [int(row[0]) - 3 for chunk in range(chunks) for row in stream.batch(chunk)]
    for number in range(passes):
        of_pass = firsts[number * sequences : (number + 1) * sequences]
        assert sorted(of_pass) == list(range(sequences))


def test_passes_and_seeds_take_the_text_in_orders_of_their_own() -> None:
    sequences = len(COUNTING) // 16
    spec = large_batches(sequences)
    other = spec.model_copy(update={"seed": 8})
    orders = [
        data.TextStream(COUNTING, it).batch(chunk) for it in (spec, other) for chunk in (0, 1)
    ]
    assert len({str(order[:, 0].tolist()) for order in orders}) == 4


@pytest.mark.parametrize("chunk", [-1, MAX_CHUNKS])
def test_there_is_no_such_chunk(chunk: int) -> None:
    with pytest.raises(ValueError, match="no chunk"):
        data.TextStream(COUNTING, tiny_spec()).batch(chunk)


def test_held_out_batches_are_fixed_and_spread() -> None:
    batches = data.validation_batches(COUNTING[:1000], tiny_spec())
    sequences = torch.cat(batches)
    assert sequences.shape == (32, 16)
    assert sequences[0, 0] == data.FIRST_BYTE_TOKEN
    assert sequences[-1, -1] == COUNTING[999] + data.FIRST_BYTE_TOKEN
    assert len(torch.unique(sequences[:, 0])) == 32
    assert len(data.validation_batches(COUNTING[:16], tiny_spec())) == 1
