"""Keeps checkpoints of what this peer holds; a full disk is said once, and stops nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from peer.averaging.state import GlobalState
from peer.checkpoint import Checkpoint, CheckpointStore
from peer.membership import Position
from peer.notices import Notices
from peer.work import LocalWork

CHECKPOINTS = "checkpoints"
"""Their folder's name inside a run's."""
CHECKPOINT_SECONDS = 30.0


class FoundCheckpoints:
    """What lies on the disk when a peer starts. Slow: it reads all of the newest one."""

    def __init__(self, folder: Path) -> None:
        """folder: that of the run; `OSError` if it cannot be used."""
        self.store = CheckpointStore(folder / CHECKPOINTS)
        self.newest = self.store.newest()


class Checkpoints:
    """Writes one every half a minute, if something has changed; gives back what was found."""

    def __init__(self, found: FoundCheckpoints, work: LocalWork, notices: Notices) -> None:
        self._store = found.store
        self._newest = found.newest
        self._saved: Position | None = None
        """Of the state in the newest checkpoint, if this process wrote or used it."""
        self._writing = anyio.Lock()
        self._work = work
        self._notices = notices

    @property
    def state(self) -> GlobalState | None:
        """The state that this peer could start from."""
        return self._newest.state if self._newest is not None else None

    @property
    def none_yet(self) -> bool:
        """This process has neither written nor used one."""
        return self._saved is None

    def take(self) -> GlobalState | None:
        """The state that was found, which this peer starts from."""
        state = self.state
        if state is not None:
            self._saved = Position(state.round, state.digest)
        return state

    async def keep(self) -> None:
        """Write checkpoints until cancelled."""
        while True:
            await anyio.sleep(CHECKPOINT_SECONDS)
            await self.save()

    async def save(self) -> None:
        """Write one now, unless the newest state is in it already."""
        async with self._writing:
            await self._save()

    async def _save(self) -> None:
        if not self._work.has_state:
            return
        self._newest = None  # two vectors; who has a state does not go back to an older one
        state = self._work.state
        at = Position(state.round, state.digest)
        if at == self._saved:
            return
        checkpoint = Checkpoint(state, merged_tokens=self._work.merged_tokens)
        try:
            await anyio.to_thread.run_sync(lambda: self._store.begin().keep(checkpoint))
        except OSError as error:
            last = f"the last is of round {self._saved.round}" if self._saved else "so far"
            problem = f"no checkpoint can be written, {last}: {error.strerror or error}"
            self._notices.trouble("checkpoint", problem)
        else:
            self._saved = at
            self._notices.over("checkpoint", f"checkpoints are written again: round {state.round}")
