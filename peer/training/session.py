"""What one trainer process holds: inner training, the shared memory, a running evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from peer.training import data, downloads, messages
from peer.training.bounds import Bounds
from peer.training.failure import TrainerFailure
from peer.training.inner import Evaluation, InnerTraining
from peer.training.link import DaemonLink
from peer.training.memory import SharedVectors
from peer.training.model import accelerator_name, build_model, choose_device
from peer.training.options import TrainerStart
from peer.training.pace import MicroBatchPace
from swarmpb.spec import RunSpec, SpecError, parse_canonical


class Session:
    """One method for each command; `process` decides when."""

    def __init__(
        self,
        inner: InnerTraining,
        memory: SharedVectors,
        held_out: list[Tensor],
        bounds: Bounds,
    ) -> None:
        self.on = False
        """Do inner steps."""
        self._inner = inner
        self._outbox = torch.from_numpy(memory.outbox)
        self._inbox = torch.from_numpy(memory.inbox)
        self._held_out = held_out
        self._evaluation: Evaluation | None = None
        self._pace = MicroBatchPace()
        self._bounds = bounds

    def wait_seconds(self) -> float | None:
        """For how long there is nothing to do but answer commands; None: until one comes."""
        return None if self.idle else self._bounds.throttle.wait_seconds()

    def allow(self, allow: messages.Allow) -> messages.MicroBatch | None:
        """Have these limits hold from now on; the micro-batches, if that changes them."""
        before = self._inner.largest_micro_batch
        self._inner.largest_micro_batch = after = self._bounds.change(allow)
        return messages.MicroBatch(after) if after != before else None

    def used_elsewhere(self, seconds: float) -> None:
        self._bounds.throttle.used_elsewhere(seconds)

    @property
    def idle(self) -> bool:
        """Nothing to do but wait for a command."""
        return not self.trains and self._evaluation is None

    @property
    def trains(self) -> bool:
        """It was told to, and what on."""
        return self.on and self._inner.has_work

    def advance(self) -> messages.Progress | None:
        """Work off a micro-batch; the totals after the last one of an inner step.

        Commands are answered in between, so the time that one takes decides on the next one's
        size: the others wait for this peer's cut.
        """
        throttle = self._bounds.throttle
        began = time.monotonic()
        with throttle.computing():
            done = self._inner.advance()
        now = time.monotonic()
        self._inner.resize(self._pace.took(now - began, now, throttle.response_seconds))
        return messages.Progress(*self._totals()) if done else None

    def schedule(self, stop_tokens: int, cooldown_tokens: int) -> None:
        self._inner.end = (stop_tokens, cooldown_tokens)

    def load(self, run_tokens: int, base: str) -> None:
        self._inner.load(self._inbox, run_tokens, base)

    def lease(self, chunks: list[int]) -> messages.Leased:
        return messages.Leased(self._inner.lease(chunks))

    def cut(self, cut_id: int) -> messages.CutDone:
        self._outbox.copy_(self._inner.model.vector)
        return messages.CutDone(cut_id, *self._totals())

    def shift(self, run_tokens: int, base: str) -> None:
        self._inner.shift(self._inbox, run_tokens, base)

    def snapshot(self, folder: Path, tell: Callable[[messages.Message], None]) -> None:
        """Copy now, write in the background; `tell` of both, of the latter from a thread."""
        began = time.monotonic()
        state = self._inner.snapshot()
        pause = time.monotonic() - began
        tell(messages.SnapshotTaken(state.counters.base, *self._totals(), pause))
        state.write_lazily(folder, tell)

    def resume(self, path: Path, base: str, run_tokens: int) -> messages.Resumed:
        try:
            self._inner.resume(path, base, run_tokens)
        except (OSError, ValueError) as error:
            return messages.Resumed(" ".join(f"{path}: {error}".split()))
        return messages.Resumed("")

    def take_inbox(self) -> Tensor:
        return self._inbox.clone()

    def start_evaluation(self) -> None:
        self._evaluation = Evaluation(self._inner.model, self._inbox, self._held_out)

    def advance_evaluation(self) -> float | None:
        """A slice of the evaluation, if one runs; its loss after the last."""
        if self._evaluation is None:
            return None
        loss = self._evaluation.advance()
        if loss is not None:
            self._evaluation = None
        return loss

    def export(self, vector: Tensor, folder: Path) -> str:
        """Write a model; empty, or one line that says why it failed."""
        # its imports are slow, and needed only at the end of a run
        from peer.training.export import export_model

        return export_model(self._inner.model, vector, folder)

    def _totals(self) -> tuple[int, int, float]:
        return self._inner.inner_steps, self._inner.tokens, self._inner.loss_sum


def open_session(link: DaemonLink, start: TrainerStart) -> Session:
    """Build what the spec on the link asks for, say `Ready`; else `TrainerFailure`."""
    spec = _parse(link.spec_bytes)
    device = choose_device(start.device)
    bounds = Bounds(spec, device, link.allow)
    model = build_model(spec, device)
    training, held_out = data.split(_text(spec, start.cache_folder, link), spec)
    stream = data.TextStream(training, spec)
    inner = InnerTraining(spec, model, stream, bounds.micro_batch)
    memory = SharedVectors(start.memory, model.vector.numel())
    session = Session(inner, memory, data.validation_batches(held_out, spec), bounds)
    session.cut(0)
    name = accelerator_name(device)
    link.send(messages.MicroBatch(bounds.micro_batch))
    link.send(messages.Ready(model.vector.numel(), name, stream.pass_chunks))
    return session


def _parse(spec_bytes: bytes) -> RunSpec:
    try:
        return parse_canonical(spec_bytes)
    except SpecError as error:
        raise TrainerFailure("spec", str(error)) from error


def _text(spec: RunSpec, cache: Path, link: DaemonLink) -> data.Text:
    if spec.data.source == "python-stdlib":
        return data.standard_library()
    return downloads.downloaded(
        spec.data.downloads,
        cache,
        lambda text: link.send(messages.Notice(text)),
        link.allow.text_room,
        link.allow.download,
    )
