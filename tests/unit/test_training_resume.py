"""Training goes on from a snapshot as if it had never stopped, or from nothing of it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from peer.training.data import TextStream
from peer.training.inner import InnerTraining
from peer.training.local_state import LOCAL_FILE, Counters, LocalState, read
from peer.training.model import build_model
from peer.training.optimizer import WARM_UPDATES
from swarmpb.spec import RunSpec
from tests.tiny import tiny_spec

TEXT = (np.arange(50_000) * 7 % 251).astype(np.uint8)
MUON = tiny_spec()
ADAMW = tiny_spec(inner={"optimizer": "adamw", "adamw_learning_rate": None})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def training(spec: RunSpec = MUON, micro_batch: int = 0) -> InnerTraining:
    model = build_model(spec, torch.device("cpu"))
    inner = InnerTraining(spec, model, TextStream(TEXT, spec), micro_batch)
    inner.load(model.vector.clone(), 0, "first")
    return inner


def train(inner: InnerTraining, chunks: range) -> None:
    inner.lease(list(chunks))
    while inner.has_work:
        inner.advance()


def half_way(spec: RunSpec = MUON) -> InnerTraining:
    """Two rounds behind it, and some inner steps on top."""
    inner = training(spec)
    for round_ in range(2):
        train(inner, range(5 * round_, 5 * round_ + 5))
        shift = torch.full_like(inner.model.vector, 1e-4)
        inner.shift(shift, 700 * (round_ + 1), f"round {round_}")
    train(inner, range(10, 13))
    return inner


def taken(inner: InnerTraining, folder: Path) -> Path:
    written = inner.snapshot().write(folder)
    assert written.error == ""
    assert written.bytes == (folder / LOCAL_FILE).stat().st_size
    return folder / LOCAL_FILE


@pytest.mark.parametrize("spec", [MUON, ADAMW], ids=["muon", "adamw"])
def test_who_resumes_trains_on_to_the_same_bits(spec: RunSpec, tmp_path: Path) -> None:
    unstopped = half_way(spec)
    path = taken(unstopped, tmp_path)
    resumed = training(spec)
    train(resumed, range(3))  # whatever it did before
    resumed.resume(path, "round 1", 1400)
    assert torch.equal(resumed.model.vector, unstopped.model.vector)
    for inner in (unstopped, resumed):
        train(inner, range(13, 20))
        inner.shift(torch.full_like(inner.model.vector, 1e-4), 2500, "round 2")
        train(inner, range(20, 25))
    assert torch.equal(resumed.model.vector, unstopped.model.vector)


def test_a_snapshot_in_the_middle_of_an_inner_step_is_that_before_it(tmp_path: Path) -> None:
    inner = training(micro_batch=1)
    train(inner, range(4))
    (tmp_path / "whole").mkdir()
    whole = taken(inner, tmp_path / "whole").read_bytes()
    inner.lease([4])
    assert not inner.advance()
    assert taken(inner, tmp_path).read_bytes() == whole


def test_a_snapshot_does_not_change_while_training_goes_on(tmp_path: Path) -> None:
    inner = half_way()
    state = inner.snapshot()
    before = taken(inner, tmp_path).read_bytes()
    train(inner, range(13, 16))
    assert state.write(tmp_path).error == ""
    assert (tmp_path / LOCAL_FILE).read_bytes() == before


def test_a_snapshot_before_the_first_inner_step_is_one_too(tmp_path: Path) -> None:
    fresh = training()
    path = taken(fresh, tmp_path)
    resumed = training()
    resumed.resume(path, "first", 0)
    for inner in (fresh, resumed):
        train(inner, range(3))
    assert torch.equal(fresh.model.vector, resumed.model.vector)


def test_a_resumed_optimizer_warms_up_no_further_than_it_had_to(tmp_path: Path) -> None:
    newcomer = training()
    newcomer.load(newcomer.model.vector.clone(), 10_000, "late")
    train(newcomer, range(4))
    resumed = training()
    resumed.resume(taken(newcomer, tmp_path), "late", 10_000)
    for inner in (newcomer, resumed):
        train(inner, range(4, 8 + WARM_UPDATES))
    assert torch.equal(newcomer.model.vector, resumed.model.vector)


def test_who_comes_late_takes_small_inner_steps_first() -> None:
    spec = tiny_spec(inner={"warmup_tokens": 0, "weight_decay": 0.0})
    moved = []
    for run_tokens in (0, 10_000):
        inner = training(spec)
        start = inner.model.vector.clone()
        inner.load(start, run_tokens, "")
        train(inner, range(1))
        moved.append(inner.model.vector - start)
    assert torch.allclose(moved[1], moved[0] / WARM_UPDATES, rtol=0.02, atol=1e-6)
    # and after that as large ones as everybody
    newcomer = training(spec)
    newcomer.load(newcomer.model.vector.clone(), 10_000, "")
    train(newcomer, range(WARM_UPDATES))
    old_hand = training(spec)
    old_hand.load(newcomer.model.vector.clone(), 0, "")
    old_hand._optimizer.take_state({k: v.clone() for k, v in newcomer._optimizer.state().items()})
    for inner in (newcomer, old_hand):
        train(inner, range(50, 51))
    assert torch.equal(newcomer.model.vector, old_hand.model.vector)


def changed(**counters: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays, known = load_file(path), read(path, shapes()).counters
        values = known.model_dump() | counters
        save_file(arrays, path, {"counters": json.dumps(values)})

    return damage


def with_arrays(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays, known = dict(load_file(path)), read(path, shapes()).counters
        change(arrays)
        save_file(arrays, path, {"counters": known.model_dump_json()})

    return damage


def shapes() -> dict[str, tuple[int, ...]]:
    inner = training()
    return {"parameters": tuple(inner.model.vector.shape), **inner._optimizer.shapes()}


def with_nan(arrays: dict[str, Any]) -> None:
    name = next(it for it in arrays if it.endswith("momentum"))
    arrays[name].flat[3] = np.nan


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no file": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "text": lambda path: path.write_bytes(b"no safetensors file"),
    "a header of terabytes": lambda path: path.write_bytes(struct.pack("<Q", 1 << 42) + b"{}"),
    "very large": lambda path: os.truncate(path, 1 << 40),
    "no metadata": lambda path: save_file(load_file(path), path),
    "another format": changed(format=2),
    "negative tokens": changed(own_tokens=-1),
    "an endless pace": changed(swarm_over_own=float("inf")),
    "a key too many": changed(run_code="rm"),
    "another base": changed(base="round 0"),
    "parameters of another length": with_arrays(
        lambda it: it.update(parameters=np.zeros(3, np.float32))
    ),
    "parameters of another type": with_arrays(
        lambda it: it.update(parameters=it["parameters"].astype(np.float16))
    ),
    "no parameters": with_arrays(lambda it: it.pop("parameters")),
    "half an optimizer": with_arrays(lambda it: it.pop(max(it))),
    "another optimizer": with_arrays(lambda it: it.update(more=np.zeros(1, np.float32))),
    "not finite": with_arrays(with_nan),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_cannot_be_used_changes_nothing(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    path = taken(half_way(), tmp_path)
    damage(path)
    refused, untouched = half_way(), half_way()
    with pytest.raises((ValueError, OSError)):
        refused.resume(path, "round 1", 1400)
    for inner in (refused, untouched):
        train(inner, range(13, 16))
    assert torch.equal(refused.model.vector, untouched.model.vector)


COUNTERS = Counters(base="ab", own_tokens=3, swarm_over_own=1 / 3 + 1, last_round=9, rising=2)
SMALL_SHAPES = {"parameters": (5,), "a.momentum": (2, 2), "b.step": ()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_no_damage_to_a_few_bytes_raises_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    arrays = {name: np.ones(shape, np.float32) for name, shape in SMALL_SHAPES.items()}
    state = LocalState(arrays, COUNTERS)
    assert state.write(tmp_path).error == ""
    path = tmp_path / LOCAL_FILE
    whole = path.read_bytes()
    assert read(path, SMALL_SHAPES).counters == state.counters
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        back = read(path, SMALL_SHAPES)
    except ValueError:
        return
    assert all(np.isfinite(it).all() for it in back.arrays.values())


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("peer.training.local_state.sync", full)
    written = half_way().snapshot().write(tmp_path)
    assert "No space left" in written.error
    assert written.digest == ""
    assert "No such file" in half_way().snapshot().write(tmp_path / "not there").error
