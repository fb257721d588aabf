"""Models as one flat vector, their memory, their optimizers, and micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from peer.training.bounds import Bounds
from peer.training.data import TextStream
from peer.training.export import export_model
from peer.training.failure import TrainerFailure, failed
from peer.training.inner import Evaluation, InnerTraining
from peer.training.messages import Allow
from peer.training.model import FlatModel, build_model, choose_device, memory_needed
from peer.training.pace import Change
from swarmpb.spec import RunSpec, preset
from tests.tiny import tiny_config, tiny_spec

CPU = torch.device("cpu")
TEXT = (np.arange(50_000) * 7 % 251).astype(np.uint8)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def training(spec: RunSpec, micro_batch: int = 0) -> InnerTraining:
    model = build_model(spec, CPU)
    inner = InnerTraining(spec, model, TextStream(TEXT, spec), micro_batch)
    inner.lease(list(range(100)))
    return inner


def test_the_same_seed_builds_the_same_model() -> None:
    one, same = (build_model(tiny_spec(), CPU).vector for _ in range(2))
    other = build_model(tiny_spec().model_copy(update={"seed": 8}), CPU).vector
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_parameters_and_gradients_are_views_of_one_vector_and_tied_ones_count_once() -> None:
    model = build_model(tiny_spec(), CPU)
    named = dict(model.model.named_parameters())
    assert model.vector.dtype == torch.float32
    assert model.vector.numel() == sum(parameter.numel() for parameter in named.values())
    assert list(model.views(model.vector)) == list(named)
    assert "lm_head.weight" not in named
    model.loss(torch.ones((1, 16), dtype=torch.int64)).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in named.values() if p.grad is not None])
    assert torch.equal(model.gradient, expected)
    model.vector.fill_(0.5)
    assert all(bool((parameter == 0.5).all()) for parameter in named.values())
    assert bool((model.model.get_output_embeddings().weight == 0.5).all())


def test_the_demo_has_about_a_million_parameters() -> None:
    assert 900_000 < build_model(preset("demo"), CPU).vector.numel() < 1_200_000


def test_a_loss_with_other_parameters_is_the_loss_of_a_model_that_has_them() -> None:
    model = build_model(tiny_spec(), CPU)
    tokens = torch.arange(32).reshape(2, 16)
    before = model.vector.clone()
    other = torch.randn_like(before) * 0.1
    loss = model.loss_with(other, tokens)
    assert torch.equal(model.vector, before)
    assert not model.gradient.any()
    model.vector.copy_(other)
    assert loss == float(model.loss(tokens).detach())


def test_an_evaluation_weighs_every_sequence_alike() -> None:
    model = build_model(tiny_spec(), CPU)
    sequences = torch.arange(48).reshape(3, 16)
    evaluation = Evaluation(model, model.vector, list(sequences.split(2)))
    assert evaluation.advance() is None
    whole = float(model.loss(sequences).detach())
    assert evaluation.advance() == pytest.approx(whole, rel=1e-6)


def test_memory_is_estimated_from_the_shape() -> None:
    spec = preset("demo")
    needed = memory_needed(spec)
    assert needed.host == 4 * 12 * 1_038_720
    assert 30e6 < needed.device(spec.inner.batch_size) < 200e6
    assert needed.copies == 4 * 2 * 1_038_720


def test_too_large_a_model_is_told_without_allocating() -> None:
    config = {**preset("demo").model.config, "hidden_size": 65_536, "num_hidden_layers": 96}
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(TrainerFailure, match=r"needs about \d+\.\d GB of memory") as failure:
        Bounds(tiny_spec(model={"config": config}), CPU, Allow())
    assert failure.value.cause == "too_large"
    assert process.memory_info().rss - before < 200e6


def test_micro_batches_change_memory_and_not_the_result() -> None:
    spec = tiny_spec(inner={"batch_size": 5})
    whole, parts = training(spec), training(spec, micro_batch=2)
    for inner in (whole, parts):
        inner._update = lambda: None  # type: ignore[method-assign]
        inner.inner_step()
    assert parts._loss == pytest.approx(whole._loss, rel=1e-6)
    # not the updated parameters: Muon would magnify what rounding does to tiny gradients
    assert torch.allclose(parts.model.gradient, whole.model.gradient, atol=1e-6)


def test_parameters_and_totals_stand_still_until_the_last_micro_batch_of_an_inner_step() -> None:
    inner = training(tiny_spec(inner={"batch_size": 3}), micro_batch=1)
    before = inner.model.vector.clone()
    assert [inner.advance(), inner.advance()] == [False, False]
    assert torch.equal(inner.model.vector, before)
    assert (inner.inner_steps, inner.tokens) == (0, 0)
    assert inner.advance()
    assert not torch.equal(inner.model.vector, before)
    assert (inner.inner_steps, inner.tokens) == (1, 48)


def test_loading_in_the_middle_of_an_inner_step_begins_it_anew() -> None:
    fresh, interrupted = (training(tiny_spec(), micro_batch=1) for _ in range(2))
    start = fresh.model.vector.clone()
    interrupted.advance()
    interrupted.load(start, 0, "")
    for inner in (fresh, interrupted):
        inner.inner_step()
    assert torch.equal(fresh.model.vector, interrupted.model.vector)


def test_micro_batches_shrink_to_single_sequences_and_grow_to_what_they_were() -> None:
    inner = training(tiny_spec(inner={"batch_size": 6}), micro_batch=4)
    sizes = []
    for change in [Change.NONE, *[Change.SMALLER] * 3, *[Change.LARGER] * 3]:
        inner.resize(change)
        count = 1
        while not inner.advance():
            count += 1
        sizes.append(count)
    assert sizes == [2, 3, 6, 6, 3, 2, 2]


class NotedText(TextStream):
    """Notes which chunks were asked for."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(TEXT, spec)
        self.chunks: list[int] = []

    def batch(self, chunk: int) -> Tensor:
        self.chunks.append(chunk)
        return super().batch(chunk)


def test_inner_steps_train_on_the_leased_chunks_in_their_order() -> None:
    text = NotedText(tiny_spec())
    inner = InnerTraining(tiny_spec(), build_model(tiny_spec(), CPU), text, micro_batch=1)
    assert inner.lease([5, 3]) == 0
    inner.advance()  # the first half of chunk 5
    assert inner.lease([3, 5, 9]) == 1
    while inner.has_work:
        inner.advance()
    assert text.chunks == [5, 3, 9]
    with pytest.raises(ValueError, match="no chunk is leased"):
        inner.advance()


def test_an_inner_step_that_a_load_interrupts_keeps_its_chunk() -> None:
    text = NotedText(tiny_spec())
    inner = InnerTraining(tiny_spec(), build_model(tiny_spec(), CPU), text, micro_batch=1)
    inner.lease([5, 3])
    inner.advance()
    inner.load(inner.model.vector.clone(), 0, "")
    assert inner.lease([8]) == 1, "chunk 5 has begun"
    while inner.has_work:
        inner.advance()
    assert text.chunks == [5, 5, 8]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_lowers_the_loss(optimizer: str) -> None:
    rates = {"adamw_learning_rate": 0.003 if optimizer == "muon" else None}
    inner = training(tiny_spec(inner={"optimizer": optimizer, "learning_rate": 0.01, **rates}))
    inner.inner_step()
    first = inner.loss_sum
    for _ in range(60):
        inner.inner_step()
    before = inner.loss_sum
    inner.inner_step()
    assert inner.loss_sum - before < first - 1
    assert inner.tokens == 62 * 32


def test_the_rate_follows_the_tokens_of_the_run() -> None:
    spec = tiny_spec(inner={"warmup_tokens": 0, "cooldown_tokens": 1000})
    inner = training(spec)
    inner.load(inner.model.vector.clone(), run_tokens=spec.stop.tokens, base="")
    before = inner.model.vector.clone()
    inner.inner_step()
    assert torch.equal(inner.model.vector, before)  # the cooldown has come to zero
    inner.shift(torch.zeros_like(before), run_tokens=0, base="")
    inner.inner_step()
    assert not torch.equal(inner.model.vector, before)


def test_an_end_that_is_brought_forward_holds_from_the_next_inner_step() -> None:
    inner = training(tiny_spec(inner={"warmup_tokens": 0}))
    inner.load(inner.model.vector.clone(), run_tokens=5000, base="")
    inner.inner_step()
    before = inner.model.vector.clone()
    inner.end = (4000, 1000)
    inner.inner_step()
    assert torch.equal(inner.model.vector, before)  # the new end is behind
    inner.end = (0, 0)
    inner.inner_step()
    assert not torch.equal(inner.model.vector, before)


def test_loading_forgets_the_optimizer_and_shifting_does_not() -> None:
    spec = tiny_spec(inner={"warmup_tokens": 0})
    fresh, shifted, loaded = (training(spec) for _ in range(3))
    start = fresh.model.vector.clone()
    for inner in (shifted, loaded):
        inner.inner_step()
    shifted.shift(start - shifted.model.vector, 0, "")
    loaded.load(start, 0, "")
    batch = fresh._text.batch(1)
    updates = []
    for inner in (fresh, shifted, loaded):
        inner._text.batch = lambda chunk: batch  # type: ignore[method-assign]
        inner.inner_step()
        updates.append(inner.model.vector)
    assert torch.equal(updates[0], updates[2])
    assert not torch.allclose(updates[0], updates[1], atol=1e-4)


def test_a_training_that_diverges_says_so() -> None:
    inner = training(tiny_spec())
    inner.load(torch.full_like(inner.model.vector, float("nan")), 0, "")
    with pytest.raises(TrainerFailure, match="loss nan") as failure:
        inner.inner_step()
    assert failure.value.cause == "diverged"


def test_an_export_that_fails_leaves_the_old_one_and_the_model(tmp_path: Path) -> None:
    model = build_model(tiny_spec(), CPU)
    before = model.vector.clone()
    folder = tmp_path / "deep" / "model"
    assert export_model(model, torch.zeros_like(before), folder) == ""
    assert export_model(model, before, folder) == ""
    assert torch.equal(model.vector, before)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    (tmp_path / "file").touch()
    assert "could not be written" in export_model(model, before, tmp_path / "file" / "model")
    assert "exists and holds no exported model" in export_model(model, before, tmp_path / "file")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (TrainerFailure("data", "no text"), "data"),
        (RuntimeError("shape mismatch"), "bug"),
    ],
)
def test_errors_have_causes(error: Exception, cause: str) -> None:
    assert failed(error).cause == cause


def test_a_device_that_is_not_there_is_told() -> None:
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(TrainerFailure, match="no cuda device here"):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("GPTNeoXForCausalLM", {"intermediate_size": 64}),
        ("Qwen2ForCausalLM", {"intermediate_size": 64, "num_key_value_heads": 2}),
        (
            "MixtralForCausalLM",
            {"intermediate_size": 64, "num_key_value_heads": 1, "num_local_experts": 2},
        ),
    ],
)
def test_other_architectures_train_too(architecture: str, config: dict[str, Any]) -> None:
    shared = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    values = {key: tiny_config()[key] for key in shared} | config
    inner = training(tiny_spec(model={"architecture": architecture, "config": values}))
    before = inner.model.vector.clone()
    inner.inner_step()
    assert not torch.equal(inner.model.vector, before)


def test_flat_vectors_split_as_they_were_joined() -> None:
    model: FlatModel = build_model(tiny_spec(), CPU)
    vector: Tensor = torch.arange(model.vector.numel(), dtype=torch.float32)
    joined = torch.cat([view.reshape(-1) for view in model.views(vector).values()])
    assert torch.equal(joined, vector)
