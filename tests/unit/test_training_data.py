"""Text: the same everywhere, different for each peer, never the held-out part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.training import data
from peer.training.failure import TrainerFailure
from tests.tiny import tiny_spec

COUNTING = (np.arange(50_000) % 251).astype(np.uint8)


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


@given(number=st.integers(0, 2**40), first=st.integers(0, 2**40))
def test_a_batch_is_a_pure_function_of_its_number(number: int, first: int) -> None:
    stream = data.TextStream(COUNTING, tiny_spec(), "peer-a")
    later = data.TextStream(COUNTING, tiny_spec(), "peer-a", first)
    batch = stream.batch(first + number)
    assert batch.shape == (2, 16)
    assert torch.equal(batch, later.batch(number))
    # windows of the text: consecutive bytes stay consecutive
    steps = (batch[:, 1:] - batch[:, :-1]) % 251
    assert torch.all(steps == 1)


def test_peers_and_batches_read_different_text() -> None:
    spec = tiny_spec()
    batches = [
        data.TextStream(COUNTING, spec, peer).batch(number)
        for peer in ("peer-a", "peer-b")
        for number in (0, 1)
    ]
    assert len({str(batch.tolist()) for batch in batches}) == 4


def test_a_stream_reaches_both_ends_of_its_text() -> None:
    text = COUNTING[:18]
    stream = data.TextStream(text, tiny_spec(), "peer-a")
    starts = {int(window[0]) - 3 for number in range(40) for window in stream.batch(number)}
    assert starts == {0, 1, 2}


def test_held_out_batches_are_fixed_and_spread() -> None:
    batches = data.validation_batches(COUNTING[:1000], tiny_spec())
    sequences = torch.cat(batches)
    assert sequences.shape == (32, 16)
    assert sequences[0, 0] == data.FIRST_BYTE_TOKEN
    assert sequences[-1, -1] == COUNTING[999] + data.FIRST_BYTE_TOKEN
    assert len(torch.unique(sequences[:, 0])) == 32
    assert len(data.validation_batches(COUNTING[:16], tiny_spec())) == 1
