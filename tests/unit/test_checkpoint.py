"""A checkpoint comes back bit for bit, or is set aside and the one before it is taken."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from peer.averaging.state import GlobalState
from peer.checkpoint import load_state, save_state

NEWEST, PREVIOUS = "state.safetensors", "state.previous.safetensors"


def some_state(round_: int, size: int = 1000) -> GlobalState:
    values = np.random.default_rng(round_).standard_normal(2 * size, np.float32)
    return GlobalState(round_, 100 * round_, values[:size], values[size:])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def loaded_round(folder: Path) -> int | None:
    state = load_state(folder)
    return state.round if state else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the checkpoints of two rounds."""
    for round_ in (1, 2):
        save_state(tmp_path, some_state(round_))
    return tmp_path


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    parameters = np.array([0.0, -0.0, 1e-45, np.finfo(np.float32).max, 1 / 3], np.float32)
    state = GlobalState(7, 2**60, parameters, parameters[::-1].copy())
    save_state(tmp_path, state)
    back = load_state(tmp_path)
    assert back is not None
    assert (back.round, back.tokens, back.digest) == (7, 2**60, state.digest)
    assert back.parameters.tobytes() == state.parameters.tobytes()
    assert back.momentum.tobytes() == state.momentum.tobytes()


def test_vectors_that_are_views_of_a_larger_one_are_written_as_they_look(tmp_path: Path) -> None:
    values = np.arange(4000, dtype=np.float32)
    state = GlobalState(1, 1, values[::4], values[1::4])
    save_state(tmp_path, state)
    back = load_state(tmp_path)
    assert back is not None
    assert back.digest == state.digest


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    assert names(tmp_path) == []


def test_the_newest_is_taken_and_two_are_kept(folder: Path) -> None:
    assert loaded_round(folder) == 2
    save_state(folder, some_state(3))
    assert loaded_round(folder) == 3
    assert names(folder) == [PREVIOUS, NEWEST]
    (folder / NEWEST).unlink()
    assert loaded_round(folder) == 2


def rewritten(data: bytes, **metadata: str) -> bytes:
    """The same vectors with other metadata."""
    state = some_state(2)
    whole = {"round": "2", "tokens": "200", "digest": state.digest.hex()} | metadata
    return save(load(data), whole)


def with_header(header: Any) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def vectors(**arrays: Any) -> bytes:
    digest = some_state(2).digest.hex()
    return save(arrays, {"round": "2", "tokens": "200", "digest": digest})


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a few bytes": lambda data: data[:5],
    "cut in the header": lambda data: data[:60],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "a bit flipped in the parameters": lambda data: data[:-10] + bytes([data[-10] ^ 1]) + data[-9:],
    "a bit flipped in the middle": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 128]) + data[len(data) // 2 + 1 :]
    ),
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"this is not a safetensors file at all",
    "another round": lambda data: rewritten(data, round="3"),
    "other tokens": lambda data: rewritten(data, tokens="201"),
    "a negative round": lambda data: rewritten(data, round="-1"),
    "a huge round": lambda data: rewritten(data, round=str(2**64)),
    "a round in words": lambda data: rewritten(data, round="two"),
    "another digest": lambda data: rewritten(data, digest="00" * 32),
    "no metadata": lambda data: save(load(data)),
    "metadata of nothing": lambda data: save(load(data), {}),
    "a list for a header": lambda data: with_header([1, 2]),
    "a text for a header": lambda data: with_header("abc"),
    "a list for metadata": lambda data: with_header({"__metadata__": [1]}),
    "a nested header": lambda data: struct.pack("<Q", 10**6) + b"[" * 10**6,
    "no momentum": lambda data: vectors(parameters=np.zeros(10, np.float32)),
    "vectors of two lengths": lambda data: vectors(
        parameters=np.zeros(10, np.float32), momentum=np.zeros(11, np.float32)
    ),
    "vectors of another type": lambda data: vectors(parameters=np.zeros(10), momentum=np.zeros(10)),
    "matrices": lambda data: vectors(
        parameters=np.zeros((2, 5), np.float32), momentum=np.zeros((2, 5), np.float32)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(
    folder: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / NEWEST
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    assert loaded_round(folder) == 1
    (aside,) = (name for name in names(folder) if "damaged" in name)
    assert (folder / aside).read_bytes() == damaged
    assert f"{path} is damaged" in caplog.text
    assert aside in caplog.text


def test_two_damaged_checkpoints_are_both_set_aside(folder: Path) -> None:
    for name in (NEWEST, PREVIOUS):
        (folder / name).write_bytes(b"damaged")
    assert load_state(folder) is None
    assert all("damaged-" in name for name in names(folder))
    assert len(names(folder)) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.data())
def test_no_damage_to_a_few_bytes_raises_or_passes(tmp_path: Path, data: st.DataObject) -> None:
    save_state(tmp_path, some_state(2, size=20))
    path = tmp_path / NEWEST
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    (tmp_path / PREVIOUS).unlink(missing_ok=True)
    back = load_state(tmp_path)
    assert back is None or back.digest == some_state(2, size=20).digest


def test_a_disk_that_stays_full_costs_no_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for round_ in (3, 4, 5):
            with pytest.raises(OSError, match="No space left"):
                save_state(folder, some_state(round_))
            assert loaded_round(folder) == 2
    assert not any(name.endswith(".tmp") for name in names(folder))
    save_state(folder, some_state(6))
    assert names(folder) == [PREVIOUS, NEWEST]
    assert loaded_round(folder) == 6
    (folder / NEWEST).unlink()
    assert loaded_round(folder) == 2
