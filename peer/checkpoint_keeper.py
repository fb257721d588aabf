"""Keeps a checkpoint of the newest state; a full disk is said once, and stops nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from peer.checkpoint import save_state
from peer.notices import Notices
from peer.work import LocalWork

CHECKPOINT_SECONDS = 30.0


class Checkpoints:
    """Writes one every half a minute, if there was a round."""

    def __init__(self, folder: Path, work: LocalWork, notices: Notices) -> None:
        """folder: where the checkpoint lies."""
        self.saved_round = -1
        """Of the newest checkpoint; -1 if there is none."""
        self._writing = anyio.Lock()
        self._folder = folder
        self._work = work
        self._notices = notices

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
        if not self._work.has_state or self._work.state.round == self.saved_round:
            return
        state = self._work.state
        try:
            await anyio.to_thread.run_sync(save_state, self._folder, state)
        except OSError as error:
            last = f"the last is of round {self.saved_round}" if self.saved_round >= 0 else "so far"
            problem = f"no checkpoint can be written, {last}: {error.strerror or error}"
            self._notices.trouble("checkpoint", problem)
        else:
            self.saved_round = state.round
            self._notices.over("checkpoint", f"checkpoints are written again: round {state.round}")
