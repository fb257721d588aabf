"""This peer's own side of a round: its trainer, its global state, and what is not merged yet."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.coverage import NO_CHUNKS
from peer.averaging.history import ResumedWork
from peer.averaging.local import Fate
from peer.averaging.parts import MAX_TOKENS
from peer.averaging.state import GlobalState
from peer.checkpoint import Checkpoint
from peer.checkpoint_manifest import Pending
from peer.leasing import Leasing, Trained
from peer.swarm.interface import Refused
from peer.training.client import NotResumed, Trainer
from peer.training.death import TrainerDied
from peer.training.messages import CutDone, Progress
from peer.unmerged import NOTHING_DONE, Totals, Unmerged

log = logging.getLogger(__name__)

TRAINER_PATIENCE = 4.5
"""Seconds that a trainer may take to answer; a little less than a leader waits for a cut."""


@dataclass(frozen=True)
class Callbacks:
    """Whom `LocalWork` tells what happened."""

    began: Callable[[str], None]
    adopted: Callable[[GlobalState, Outcome | None], None]
    concluded: Callable[[Outcome], None]
    fell_behind: Callable[[str], None]
    dropped: Callable[[GlobalState, str], None]
    recalled: Callable[[Outcome], None] = lambda outcome: None


class LocalWork:
    """Implements `peer.averaging.local.Local` over a trainer process."""

    def __init__(self, own: str, callbacks: Callbacks) -> None:
        """own: this peer's id."""
        self._callbacks = callbacks
        self.leasing = Leasing(own, self._coverage, self._trained)
        self._state: GlobalState | None = None
        self._previous: GlobalState | None = None
        self._trainer: Trainer | None = None
        self._unmerged = Unmerged()
        self._resumed: ResumedWork | None = None
        """The trainer has gone on from a checkpoint, and this is what it had."""
        self._cut: CutDone | None = None
        """The last one that may be in a round; the work of no other trainer."""
        self._cut_before: CutDone | None = None
        self._finished_steps = 0
        self.merged_tokens = 0
        self.leaving = False
        self.yields = False
        """This peer's half of a split swarm waits to be merged into the other."""
        self.paused = ""
        """Why the run is; empty: it is not."""
        self._moves = 0
        self.attempt_over = anyio.Event()
        """Set while no attempt is under way here."""
        self.attempt_over.set()

    # ---- the state ---------------------------------------------------------------------

    @property
    def state(self) -> GlobalState:
        if self._state is None:
            raise Refused("this peer has no state yet")
        return self._state

    @property
    def has_state(self) -> bool:
        return self._state is not None

    @property
    def run_tokens(self) -> int:
        """Merged in the run, and trained here since; 0 without a state."""
        return self._state.tokens + self.pending_tokens if self._state is not None else 0

    def states(self) -> list[GlobalState]:
        """What this peer can give to others: the newest state, and the one before it."""
        return [state for state in (self._state, self._previous) if state is not None]

    def _coverage(self) -> bytes | None:
        return self._state.coverage if self._state is not None else None

    # ---- the trainer -------------------------------------------------------------------

    def _trained(self) -> Trained | None:
        if self._trainer is None:
            return None
        unmerged = self._unmerged
        return Trained(self._trainer, unmerged.merged.inner_steps, unmerged.carried_chunks)

    def _pending_at(self, totals: Totals) -> Pending:
        """What is in no round yet when the trainer has these totals."""
        trained = self._trained()
        return self._unmerged.at(totals, trained.chunks(totals.inner_steps) if trained else ())

    async def attach(self, trainer: Trainer) -> None:
        """Work with this trainer from now on; a restarted one takes the global parameters."""
        loaded = None
        while self._state is not loaded:  # a round may end while it loads
            loaded = self._state
            if loaded is not None and loaded.parameters.size != trainer.vectors.inbox.size:
                self._drop(loaded, trainer.vectors.inbox.size)
            elif loaded is not None:
                await trainer.load(loaded.parameters, loaded.tokens, loaded.digest.hex())
        self._forget_work()
        self._trainer = trainer
        self.leasing.renew()

    def _drop(self, state: GlobalState, values: int) -> None:
        """A state that came before there was a model does not fit it."""
        self._state = self._previous = None
        reason = f"it has {state.parameters.size:,} parameters, the run's model {values:,}"
        self._callbacks.dropped(state, reason)

    def detach(self) -> None:
        """The trainer is gone; so is what it had not merged."""
        if self._trainer is not None:
            self._finished_steps += self._trainer.totals.inner_steps
        self._trainer = None
        self._forget_work()

    def _forget_work(self) -> None:
        """No trainer has anything on top of the global state."""
        self._cut = self._cut_before = None
        self._unmerged = Unmerged()
        if self._resumed is not None:
            self._resumed.work = None
            self._resumed = None

    @property
    def trainer(self) -> Trainer | None:
        return self._trainer

    @property
    def trainer_trouble(self) -> str:
        """Why no cut can be had from the trainer now; empty if one can."""
        silent = self._trainer.silent_seconds if self._trainer is not None else 0.0
        if silent < TRAINER_PATIENCE:
            return ""
        return f"the trainer has not answered for {silent:.0f} s; waiting for it"

    @property
    def totals(self) -> Progress:
        return self._trainer.totals if self._trainer is not None else NOTHING_DONE

    @property
    def inner_steps(self) -> int:
        """Since the daemon started, over all its trainers."""
        return self._finished_steps + self.totals.inner_steps

    @property
    def pending_tokens(self) -> int:
        """Trained and not merged yet."""
        return self._unmerged.tokens(self.totals)

    # ---- rounds ------------------------------------------------------------------------

    def unwilling(self) -> str:
        if self.leaving:
            return "this peer is leaving"
        if self.paused:
            return self.paused
        if self._state is None:
            return "this peer has no state yet"
        if self._trainer is None:
            return "this peer's trainer is being restarted"
        if trouble := self.trainer_trouble:
            # its last cut came too late already; the next would cost the others as much again
            return trouble
        if self._moves:
            return "this peer is taking over a state"
        if self.yields:
            return "this peer's half of a split swarm waits to be merged into the other"
        return ""

    @contextmanager
    def moving(self) -> Iterator[None]:
        """No cut meanwhile: it could overtake the shift to the new state, and vote to undo it."""
        self._moves += 1
        try:
            yield
        finally:
            self._moves -= 1

    def began(self, leader: str) -> None:
        self._cut_before = self._cut
        self.attempt_over = anyio.Event()
        self._callbacks.began(leader)

    async def take_cut(self) -> LocalCut:
        trainer = self._trainer
        if trainer is None:
            raise Refused("this peer's trainer is being restarted")
        try:
            cut = await trainer.cut()
        except TrainerDied as error:
            raise Refused(f"this peer's trainer died: {error}") from error
        if self._trainer is not trainer:
            raise Refused("this peer's trainer is being restarted")
        self._cut = cut
        pending, trained = self._pending_at(cut), self._trained()
        loss = pending.loss_sum / pending.inner_steps if pending.inner_steps else math.nan
        tokens = min(pending.tokens, MAX_TOKENS)
        chunks = trained.cut(cut.inner_steps) if trained else NO_CHUNKS
        return LocalCut(trainer.vectors.outbox, tokens, loss, chunks)

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        self.attempt_over.set()
        cut, self._cut = self._cut, None
        if outcome.merged:
            self.merged_tokens += outcome.tokens
        if cut is None:
            # the trainer that cut is gone; the one that took its place has the old state
            shift = state.parameters - self.state.parameters
        elif outcome.merged:
            self._unmerged.merge_to(cut)
        await self._move(state, shift, outcome)

    async def follow(
        self, state: GlobalState, shift: FlatVector, fate: Fate, outcome: Outcome | None
    ) -> None:
        cut, self._cut = self._cut, None
        if outcome is not None and outcome.merged:
            self.merged_tokens += outcome.tokens
        if cut is not None and fate is not Fate.CARRIED:
            self._unmerged.merge_to(cut)
        await self._move(state, shift, outcome)

    @property
    def holds_cut(self) -> bool:
        return self._cut is not None

    def recalled(self, outcome: Outcome) -> None:
        self._callbacks.recalled(outcome)

    def settle_resumed(self, tokens: int) -> None:
        self.merged_tokens += tokens
        self._unmerged.merge_carried()

    # ---- checkpoints -------------------------------------------------------------------

    async def snapshot(self, folder: Path) -> tuple[GlobalState, Pending] | None:
        """Have the trainer copy what it has to a folder; what that sits on, and what it holds.

        None: there is no trainer, or the state moved on meanwhile. The file is whole once the
        trainer's `snapshot_written` says so.
        """
        trainer, state = self._trainer, self._state
        if trainer is None or state is None:
            return None
        try:
            taken = await trainer.snapshot(folder)
        except TrainerDied:
            return None  # told by `wait_dead`
        if self._trainer is not trainer or self._state is not state:
            return None
        return (state, self._pending_at(taken)) if taken.base == state.digest.hex() else None

    async def take_up(self, checkpoint: Checkpoint) -> ResumedWork:
        """Hand a checkpoint to the trainer: what it goes on with. `begin` with its state then.

        Raises `Refused` if there is no trainer, or if it dies meanwhile.
        """
        trainer, state, local = self._trainer, checkpoint.state, checkpoint.local
        self.merged_tokens = checkpoint.merged_tokens
        resumed = ResumedWork(state.digest)
        if local is None:
            return resumed
        if trainer is None:
            raise Refused("this peer's trainer is being restarted")
        try:
            await trainer.resume(local, state.digest.hex(), state.tokens)
            await trainer.cut()
        except NotResumed as error:
            log.warning("the checkpoint's inner work is lost: %s", error)
            return resumed
        except TrainerDied as error:
            raise Refused(f"this peer's trainer died: {error}") from error
        if self._trainer is not trainer:
            raise Refused("this peer's trainer is being restarted")
        resumed.work = state.parameters - trainer.vectors.outbox
        self._resumed, self._unmerged = resumed, Unmerged(checkpoint.pending)
        return resumed

    async def begin(self, state: GlobalState) -> None:
        """Start from a state; without any work of this peer on top, unless it is taken up."""
        self._state = state
        if self._resumed is not None and self._resumed.base != state.digest:
            self._forget_work()
        if self._trainer is not None and self._resumed is None:
            with suppress(TrainerDied):  # told by `wait_dead`; the next one loads this state
                await self._trainer.load(state.parameters, state.tokens, state.digest.hex())
        self.leasing.renew()
        self._callbacks.adopted(state, None)

    async def _move(self, state: GlobalState, shift: FlatVector, outcome: Outcome | None) -> None:
        self._previous, self._state = self._state, state
        self.leasing.renew()
        self._callbacks.adopted(state, outcome)
        if self._trainer is not None:
            with suppress(TrainerDied):  # told by `wait_dead`; the next one loads this state
                await self._trainer.shift(shift, state.tokens, state.digest.hex())

    async def start_over(self) -> None:
        if self._trainer is not None:
            await self._trainer.stop()  # the next one starts from the global parameters

    async def conclude(self, outcome: Outcome) -> None:
        self.attempt_over.set()
        if outcome.member_index < 0:  # nobody can have merged it
            self._cut = self._cut_before
        self._callbacks.concluded(outcome)

    def fell_behind(self, reason: str) -> None:
        self.attempt_over.set()
        self._callbacks.fell_behind(reason)
