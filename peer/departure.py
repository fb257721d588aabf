"""Ctrl-C and SIGTERM: the one place in a peer that handles signals."""

from __future__ import annotations

import os
import signal
import sys

import anyio

from peer.daemon import Daemon
from peer.events import Stop
from peer.runtime import RuntimeFolder
from swarmpb.exits import Exit

LEAVE_SECONDS = 5.0
"""A leaving peer sees the round under way through for at most so long."""
FAREWELL_SECONDS = 4.5
"""And says goodbye for at most so long."""


class Departure:
    """The first signal leaves gracefully, the second exits at once."""

    def __init__(self, runtime: RuntimeFolder, joining: anyio.CancelScope) -> None:
        """joining: what to cancel while there is no daemon yet."""
        self.daemon: Daemon | None = None
        self._runtime = runtime
        self._joining = joining

    async def obey_signals(self) -> None:
        """Wait for signals until cancelled."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await signals.__anext__()
            print("\nleaving; once more to stop at once", file=sys.stderr, flush=True)
            if self.daemon is None:
                self._joining.cancel()
                return
            self.daemon.leave()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run_out_of_patience, self.daemon)
                await signals.__anext__()
                self._runtime.close()
                os._exit(Exit.INTERRUPTED)  # trainer and p2pd die with this process

    async def _run_out_of_patience(self, daemon: Daemon) -> None:
        await anyio.sleep(LEAVE_SECONDS)
        daemon.stop_now(Stop(0, "left before the round was decided"))
        await anyio.sleep(FAREWELL_SECONDS)
        self._runtime.close()
        os._exit(0)  # whatever the goodbyes hang on: a peer leaves within ten seconds
