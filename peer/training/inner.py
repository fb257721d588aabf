"""Inner training: one batch after the other, and what the daemon does to it in between."""

from __future__ import annotations

import math

from torch import Tensor

from peer.training.data import TextStream
from peer.training.failure import TrainerFailure
from peer.training.lease_queue import LeaseQueue
from peer.training.model import FlatModel
from peer.training.optimizer import InnerOptimizer
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
        self._spec = spec
        self._text = text
        self._leases = LeaseQueue()
        self._micro_batch = micro_batch or spec.inner.batch_size
        self._optimizer = InnerOptimizer(model, spec)
        self._run_tokens = 0
        self._tokens_at_sync = 0
        self._swarm_over_own = 1.0
        """Tokens of the whole swarm for each of this peer's, in the last round."""
        self._last_round = 0
        """Tokens that the last round merged."""
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

    def shrink(self) -> bool:
        """Halve the micro-batches from the next inner step on; False if they are single."""
        smaller = max(1, self._micro_batch // 2)
        shrunk, self._micro_batch = smaller < self._micro_batch, smaller
        return shrunk

    def _update(self) -> None:
        loss = self._loss
        norm = self._optimizer.update(self._known_run_tokens())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainerFailure(
                "diverged",
                f"loss {loss} and gradient norm {norm} in inner step {self.inner_steps + 1}; "
                "if it happens again, the run needs a lower learning rate",
            )
        self._chunk = None
        self.inner_steps += 1
        self.tokens += self._spec.inner.batch_size * self._spec.data.sequence_length
        self.loss_sum += loss

    def load(self, vector: Tensor, run_tokens: int) -> None:
        """Take `vector`, shape (n,), as parameters; the optimizer starts anew."""
        self.model.vector.copy_(vector)
        self._optimizer = InnerOptimizer(self.model, self._spec)
        self._run_tokens = run_tokens  # others' work until now says nothing of their pace
        self.model.gradient.zero_()
        self._left.clear()
        self._synchronise(run_tokens)

    def shift(self, vector: Tensor, run_tokens: int) -> None:
        """Add `vector`, shape (n,), to the parameters; the optimizer keeps its state."""
        self.model.vector.add_(vector.to(self.model.vector.device))
        self._synchronise(run_tokens)

    def _synchronise(self, run_tokens: int) -> None:
        own, merged = self.tokens - self._tokens_at_sync, run_tokens - self._run_tokens
        self._swarm_over_own = max(1.0, merged / own) if own else 1.0
        self._last_round = max(0, merged)
        self._run_tokens = run_tokens
        self._tokens_at_sync = self.tokens

    def _known_run_tokens(self) -> int:
        # what was merged, and what all have trained since then if they go on as they did
        own = self.tokens - self._tokens_at_sync
        everybody = int(min(own * self._swarm_over_own, self._last_round))
        return self._run_tokens + max(own, everybody)

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
