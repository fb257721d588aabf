"""Keeps checkpoints of what this peer holds; a full disk is said once, and stops nothing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from google.protobuf.message import DecodeError

from peer.averaging.history import History
from peer.averaging.lineage import Header, header_message, parse_header
from peer.averaging.malformed import Malformed
from peer.averaging.state import GlobalState
from peer.checkpoint import KEPT, Checkpoint, CheckpointStore
from peer.checkpoint_manifest import Pending
from peer.limits.disk import Disk, Plan
from peer.notices import Notices
from peer.swarm.interface import Refused
from peer.training.death import TrainerDied
from peer.training.messages import SnapshotWritten
from peer.training.priority import giving_way
from peer.work import LocalWork
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
"""Their folder's name inside a run's."""
CHECKPOINT_SECONDS = 30.0
VECTORS = 7
"""Of the model's size, in a checkpoint; with AdamW for all of it one more."""
WRITTEN_BYTES_A_SECOND = 5e6
"""On average: a volunteer's disk must not wear out. 100 million parameters: every nine minutes."""
ATTEMPT_SECONDS = 30.0
"""So long the next one waits for the end of an attempt: what is trained after a cut is told apart
from what is in it only as long as this process lives."""
_TRIES = 3
"""Rounds that end while the trainer is copied make the copy useless."""
_DEATHS = 2
"""After so many trainers that died while they took a checkpoint up, its inner work is given up."""


class FoundCheckpoints:
    """What lies on the disk when a peer starts. Slow: it reads all of the newest one."""

    def __init__(self, folder: Path) -> None:
        """folder: that of the run; `OSError` if it cannot be used."""
        self.store = CheckpointStore(folder / CHECKPOINTS)
        self.newest = self.store.newest()


class Checkpoints:
    """Writes one every half a minute, if something has changed; gives back what was found."""

    def __init__(
        self,
        found: FoundCheckpoints,
        work: LocalWork,
        history: History,
        notices: Notices,
        disk: Disk,
    ) -> None:
        self._store = found.store
        self._newest = found.newest
        self._saved: tuple[bytes, int] | None = None
        """Digest of the state in the newest checkpoint, and the inner steps done until then."""
        self._saved_round: int | None = None
        self._deaths = 0
        self._writing = anyio.Lock()
        self._work = work
        self._history = history
        self._notices = notices
        self._disk = disk
        self.written_at: float | None = None
        """Monotonic seconds of the newest, if this process wrote it or began from it."""

    @property
    def state(self) -> GlobalState | None:
        """The state that this peer could start from."""
        return self._newest.state if self._newest is not None else None

    @property
    def seconds_old(self) -> float:
        """Since the newest was written; NaN without one."""
        return math.nan if self.written_at is None else time.monotonic() - self.written_at

    @property
    def none_yet(self) -> bool:
        """This process has neither written nor used one."""
        return self._saved_round is None

    async def take_up(self) -> GlobalState | None:
        """The state that was found, which this peer begins with; the rest is put to its place.

        None: there is none, or the trainer died of it, and the next one is to try again.
        """
        found = self._newest
        if found is None:
            return None
        try:
            resumed = await self._work.take_up(found)
        except Refused as refusal:
            self._deaths += 1
            if self._deaths < _DEATHS:
                log.warning("the checkpoint is not resumed yet: %s", refusal)
                return None
            log.warning("the checkpoint's inner work is lost: %s", refusal)
            resumed = await self._work.take_up(replace(found, local=None))
        state, history = found.state, self._history
        history.feedback.restore(found.residuals, state.parameters.size)
        history.lineage.add_told(state.digest, _headers(found.lineage))
        history.resumed = resumed  # rounds that were decided after it was written may have it
        self._saved_round = state.round
        self._saved = (state.digest, self._work.inner_steps)
        age = max(0.0, time.time() - found.written_at)
        self.written_at = time.monotonic() - age
        tokens = found.pending.tokens if resumed.work is not None else 0
        carried = f" and {tokens:,} tokens of inner work" if tokens else ""
        self._notices.tell(f"resumed round {state.round}{carried}, written {age:.0f} s ago")
        return state

    async def keep(self) -> None:
        """Write checkpoints until cancelled."""
        while True:
            await anyio.sleep(self._pause())
            with anyio.move_on_after(ATTEMPT_SECONDS):
                await self._work.attempt_over.wait()
            await self.save()

    def _pause(self) -> float:
        """Seconds until the next; a large model's are further apart, for the disk's sake."""
        values = self._work.state.parameters.size if self._work.has_state else 0
        return max(CHECKPOINT_SECONDS, 4 * VECTORS * values / WRITTEN_BYTES_A_SECOND)

    async def save(self) -> None:
        """Write one now, unless what this peer has is in it already."""
        async with self._writing:
            if not self._work.has_state:
                return
            self._newest = None  # two vectors; who has a state does not go back to an older one
            here = (self._work.state.digest, self._work.inner_steps)
            if here == self._saved:
                return
            began = time.monotonic()
            try:
                self._saved_round, whole = await self._write()
            except OSError as error:
                last = self._saved_round
                since = "so far" if last is None else f"the last is of round {last}"
                problem = f"no checkpoint can be written, {since}: {error.strerror or error}"
                self._notices.trouble("checkpoint", problem)
            else:
                self._saved = here if whole else None
                self.written_at = began  # what is trained from here on may be missing
                again = f"checkpoints are written again: round {self._saved_round}"
                self._notices.over("checkpoint", again)

    async def _write(self) -> tuple[int, bool]:
        """The round of a new checkpoint, and whether all that the trainer had is in it.

        `OSError` if the disk does not take it.
        """
        values = self._work.state.parameters.size
        self._disk.carry_out(await anyio.to_thread.run_sync(self._plan, values), KEPT)
        draft = await anyio.to_thread.run_sync(self._store.begin)
        try:
            copied, written = await self._copy_of_the_trainer(draft.folder)
            state, pending = copied if copied else (self._work.state, Pending())
            checkpoint = Checkpoint(
                state,
                pending=pending,
                residuals=self._history.feedback.arrays(),
                merged_tokens=self._work.merged_tokens,
                lineage=_encoded(self._history.lineage.newest_first(state.digest)),
            )
            keep = partial(draft.keep, checkpoint, written)
            await anyio.to_thread.run_sync(giving_way, keep, *self._disk.manners)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(draft.drop)
        return state.round, written is not None or self._work.trainer is None

    def _plan(self, values: int) -> Plan:
        """Make room for one of a model of so many values, if there can be."""
        older = self._store.sizes()
        size = max([4 * VECTORS * values, *older[:1]])
        plan = self._disk.plan(size, older, KEPT)
        if plan.stay >= 0:
            self._store.keep_newest(plan.stay)
        return plan

    async def _copy_of_the_trainer(
        self, folder: Path
    ) -> tuple[tuple[GlobalState, Pending] | None, SnapshotWritten | None]:
        """What the trainer has on top of the state, in a file of that folder, if it can be had."""
        for _ in range(_TRIES):
            trainer = self._work.trainer
            if trainer is None:
                break
            copied = await self._work.snapshot(folder)
            try:
                written = await trainer.snapshot_written()
            except (TrainerDied, RuntimeError) as error:
                log.debug("no copy of the trainer: %s", error)
                break
            if copied is not None and copied[0] is self._work.state:
                return copied, written
        return None, None


def _encoded(headers: Sequence[Header]) -> bytes:
    return swarm_pb2.Lineage(headers=[header_message(it) for it in headers]).SerializeToString()


def _headers(encoded: bytes) -> list[Header]:
    """What a lineage file says; nothing, if it is of another version."""
    try:
        return [parse_header(it) for it in swarm_pb2.Lineage.FromString(encoded).headers]
    except (DecodeError, Malformed) as error:
        log.warning("where the checkpoint's state comes from cannot be told: %s", error)
        return []
