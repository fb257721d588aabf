"""`peer status --watch`: the screen of a peer that runs in another process, until q or Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from peer.control import ask_status
from peer.runtime import running
from peer.screen.show import REDRAW_SECONDS, Show
from peer.screen.words import duration
from swarmpb.exits import UserError
from swarmpb.v1 import control_pb2

_KEYS = ("q ends this view, not the peer", "peer pause", "peer finish", "peer leave")
_PATIENCE = 2.0
"""Seconds; a peer that is busy may take so long to answer before it is said."""


async def watch(folder: Path) -> None:
    """Show what the peer of this state folder does; `UserError` NOT_RUNNING if none runs at first.

    Later it is waited for: a peer that has ended may be started again.
    """
    seen = _Seen(await _ask(folder))
    async with anyio.create_task_group() as tasks:

        def typed(letters: str) -> None:
            if "q" in letters.lower():
                tasks.cancel_scope.cancel()

        show = Show(lambda: seen.status, lambda reply: _KEYS, seen.trouble, typed)
        tasks.start_soon(seen.keep_asking, folder)
        tasks.start_soon(show.run)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await signals.__anext__()
        tasks.cancel_scope.cancel()


class _Seen:
    """The newest status, and why there is none that is newer."""

    def __init__(self, status: control_pb2.StatusReply, now: Callable[[], float] = time.monotonic):
        self.status = status
        self._now = now
        self._told_at = now()
        self._why = ""

    def trouble(self) -> str:
        """Empty: the status is of this moment."""
        silent = self._now() - self._told_at
        if not self._why or silent < _PATIENCE:
            return ""
        return f"{self._why}; below is what it said {duration(silent)} ago"

    async def keep_asking(self, folder: Path) -> None:
        """Until cancelled."""
        while True:
            try:
                self.status = await _ask(folder)
            except UserError:
                self._why = (
                    "the peer does not answer" if running(folder) else "no peer runs here now"
                )
            else:
                self._why, self._told_at = "", self._now()
            await anyio.sleep(REDRAW_SECONDS)


async def _ask(folder: Path) -> control_pb2.StatusReply:
    return await anyio.to_thread.run_sync(ask_status, folder, abandon_on_cancel=True)
