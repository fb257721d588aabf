"""Inner training: one batch after the other, and what the daemon does to it in between."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from peer.training.data import TextStream
from peer.training.failure import TrainerFailure
from peer.training.lease_queue import LeaseQueue
from peer.training.local_state import PARAMETERS, Counters, LocalState, read
from peer.training.model import FlatModel
from peer.training.optimizer import WARM_UPDATES, InnerOptimizer
from peer.training.pace import Change
from peer.training.run_tokens import RunTokens
from swarmpb.spec import RunSpec


class InnerTraining:
    """A model, its optimizer and its text; totals count from the start of the trainer."""

    def __init__(
        self, spec: RunSpec, model: FlatModel, text: TextStream, micro_batch: int = 0
    ) -> None:
        self.model = model
        self.inner_steps = 0
        self.tokens = 0
        self.loss_sum = 0.0
        self.end = (0, 0)
        """Where the run ends, and over how many tokens the rate falls; 0: as the spec says."""
        self._spec = spec
        self._text = text
        self._leases = LeaseQueue()
        self._largest = self._micro_batch = micro_batch or spec.inner.batch_size
        self._optimizer = InnerOptimizer(model, spec)
        self._base = ""
        self._run = RunTokens()
        self._chunk: int | None = None
        """That of the inner step under way."""
        self._left: list[Tensor] = []
        """Its micro-batches; none also when it has to begin anew."""
        self._loss = 0.0

    @property
    def has_work(self) -> bool:
        """A chunk is begun or leased."""
        return self._chunk is not None or self._leases.chunk(self.inner_steps) is not None

    def lease(self, chunks: list[int]) -> int:
        """Train on these chunks next; the number of inner steps that have begun."""
        begun = self.inner_steps + (self._chunk is not None)
        self._leases.given(chunks)
        self._leases.took_effect(begun)
        return begun

    def inner_step(self) -> None:
        """Train on the next chunk; `TrainerFailure("diverged")` if it yields nothing finite."""
        while not self.advance():
            pass

    def advance(self) -> bool:
        """Work off a micro-batch; True if that was the last one of an inner step.

        Parameters change with the last one only, so they may be copied or shifted in between.
        `ValueError` if nothing is leased.
        """
        if not self._left:
            self._begin()
        self._add_gradients(self._left.pop(0))
        if not self._left:
            self._update()
        return not self._left

    def _begin(self) -> None:
        if self._chunk is None:
            self._chunk = self._leases.chunk(self.inner_steps)
        if self._chunk is None:
            raise ValueError("no chunk is leased to train on")
        self._left = list(self._text.batch(self._chunk).split(self._micro_batch))
        self._loss = 0.0

    def resize(self, change: Change) -> None:
        """Halve the micro-batches, or double them from the next inner step on up to the largest."""
        if change is Change.SMALLER:
            self._use_at_most(max(1, self._micro_batch // 2))
        elif change is Change.LARGER:
            self._micro_batch = min(self._largest, self._micro_batch * 2)

    @property
    def largest_micro_batch(self) -> int:
        """Sequences that are computed at once at the most."""
        return self._largest

    @largest_micro_batch.setter
    def largest_micro_batch(self, sequences: int) -> None:
        """More from the next inner step on, fewer at once."""
        self._largest = sequences
        self._use_at_most(sequences)

    def _use_at_most(self, sequences: int) -> None:
        self._micro_batch = sequences
        self._left = [piece for it in self._left for piece in it.split(sequences)]

    def _update(self) -> None:
        loss = self._loss
        norm = self._optimizer.update(self._run.known, *self.end)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainerFailure(
                "diverged",
                f"loss {loss} and gradient norm {norm} in inner step {self.inner_steps + 1}; "
                "if it happens again, the run needs a lower learning rate",
            )
        self._chunk = None
        self.inner_steps += 1
        tokens = self._spec.inner.batch_size * self._spec.data.sequence_length
        self.tokens += tokens
        self._run = replace(self._run, own=self._run.own + tokens)
        self.loss_sum += loss

    def load(self, vector: Tensor, run_tokens: int, base: str) -> None:
        """Take `vector`, shape (n,), as parameters; the optimizer starts anew.

        In a run that is going it does so gently: until it knows the gradients, its updates are
        wilder than those of the others, whose optimizers do.
        """
        self.model.vector.copy_(vector)
        self._optimizer = InnerOptimizer(self.model, self._spec, WARM_UPDATES if run_tokens else 0)
        # others' work until now says nothing of their pace
        self._base, self._run = base, RunTokens(run_tokens)
        self._begin_anew()

    def shift(self, vector: Tensor, run_tokens: int, base: str) -> None:
        """Add `vector`, shape (n,), to the parameters; the optimizer keeps its state."""
        self.model.vector.add_(vector.to(self.model.vector.device))
        self._base, self._run = base, self._run.after_round(run_tokens)

    def snapshot(self) -> LocalState:
        """A copy of all that the next inner steps depend on beside their text."""
        counters = Counters(
            base=self._base,
            own_tokens=self._run.own,
            swarm_over_own=self._run.swarm_over_own,
            last_round=self._run.last_round,
            rising=self._optimizer.rising,
        )
        tensors = {PARAMETERS: self.model.vector, **self._optimizer.state()}
        copies = {name: it.detach().to("cpu", copy=True) for name, it in tensors.items()}
        return LocalState({name: it.numpy() for name, it in copies.items()}, counters)

    def resume(self, path: Path, base: str, run_tokens: int) -> None:
        """Go on from a snapshot's file; `ValueError` or `OSError`, and nothing has changed."""
        shapes = {PARAMETERS: tuple(self.model.vector.shape), **self._optimizer.shapes()}
        state = read(path, shapes)
        if state.counters.base != base:
            raise ValueError(f"it sits on the state {state.counters.base}, not on {base}")
        tensors = {name: torch.from_numpy(it) for name, it in state.arrays.items()}
        self.model.vector.copy_(tensors.pop(PARAMETERS))
        self._optimizer = InnerOptimizer(self.model, self._spec, state.counters.rising)
        if tensors:
            self._optimizer.take_state(tensors)
        self._base, self._run = base, state.counters.run_tokens(run_tokens)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """What the inner step under way has done so far is not kept; its chunk is."""
        self.model.gradient.zero_()
        self._left.clear()

    def _add_gradients(self, part: Tensor) -> None:
        # micro-batches count by their share, so the result is that of the whole batch
        share = len(part) / self._spec.inner.batch_size
        loss = self.model.loss(part.to(self.model.vector.device)) * share
        loss.backward()
        self._loss += float(loss.detach())


class Evaluation:
    """Mean loss of one vector, shape (n,), on held-out text, a batch at a time."""

    def __init__(self, model: FlatModel, vector: Tensor, batches: list[Tensor]) -> None:
        self._model = model
        self._vector = vector.to(model.vector.device, copy=True)
        self._left = list(batches)
        self._sum = 0.0
        self._sequences = 0

    def advance(self) -> float | None:
        """Work off one batch; the mean loss in nats per token after the last of them."""
        tokens = self._left.pop().to(self._vector.device)
        self._sum += self._model.loss_with(self._vector, tokens) * len(tokens)
        self._sequences += len(tokens)
        return None if self._left else self._sum / self._sequences
