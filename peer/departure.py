"""How a peer leaves: by Ctrl-C and SIGTERM, by command, for a rest; in bounded time.

The one place in a live peer that handles signals.
"""

from __future__ import annotations

import os

import anyio
from anyio.abc import TaskGroup

from peer.anew import begin_anew
from peer.daemon import Daemon
from peer.ending import leaving_signals, say_leaving
from peer.events import LeaveAsked, Stop
from peer.resting.rest import Rest
from peer.runtime import RuntimeFolder
from peer.screen.restoring import restore_terminal
from swarmpb.exits import Exit

LEAVE_SECONDS = 5.0
"""A leaving peer sees the round under way through for at most so long."""
FAREWELL_SECONDS = 4.5
"""And says goodbye for at most so long."""
REST_SECONDS = 60.0
"""Where nobody waits for the machine, a peer that is to rest may see a long round through. It has
ended its training before, so this costs its user hardly anything."""
URGENT_LEAVE_SECONDS = 0.8
"""Of a peer whose user wants the machine back: the round under way,"""
URGENT_FAREWELL_SECONDS = 1.6
"""and a last checkpoint with the goodbye. After that it is gone, whatever is half done."""


class Departure:
    """The first signal leaves gracefully, the second exits at once."""

    def __init__(self, runtime: RuntimeFolder, tasks: TaskGroup) -> None:
        """tasks: of the whole peer; cancelled while there is no daemon yet."""
        self.daemon: Daemon | None = None
        self.stop = Stop(0, "left before it had joined")
        """How it ended, if there never was a daemon."""
        self._runtime = runtime
        self._tasks = tasks
        self._leaving = False
        self._resting = False

    def ended(self) -> Stop:
        """How it ended; who was told to leave while it went to rest does not come back."""
        return Stop(0, LeaveAsked().reason) if self.stop.rest and self._leaving else self.stop

    async def obey_signals(self) -> None:
        """Wait for signals until cancelled."""
        with anyio.open_signal_receiver(*leaving_signals()) as signals:
            number = await signals.__anext__()
            say_leaving(number, "leaving; once more to stop at once")
            self.leave()
            await signals.__anext__()
            restore_terminal()
            self._runtime.close()
            os._exit(Exit.INTERRUPTED)  # trainer and p2pd die with this process

    def leave(self) -> None:
        """Leave for good; at once if there is no daemon yet."""
        if self._leaving:
            return
        self._leaving = True
        if self.daemon is None:
            self._tasks.cancel_scope.cancel()
            return
        self.daemon.leave()
        self._tasks.start_soon(self._leave_in_time)

    def rest(self, rest: Rest) -> None:
        """Leave for now, to begin anew and rest; an urgent rest may follow another one."""
        if self._leaving or (self._resting and not rest.urgent):
            return
        self._resting = True
        stop = Stop(0, rest.reason, rest=True)
        if self.daemon is None:
            self.stop = stop
            self._tasks.cancel_scope.cancel()
            return
        self.daemon.rest(rest)
        self._tasks.start_soon(self._rest_in_time, stop, rest.urgent)

    async def _leave_in_time(self) -> None:
        stop = Stop(0, "left before the round was decided")
        await self._patience(stop, LEAVE_SECONDS, FAREWELL_SECONDS)
        self._exit()  # whatever the goodbyes hang on: a peer leaves within ten seconds

    async def _rest_in_time(self, stop: Stop, urgent: bool) -> None:
        if urgent:
            counts = await self._patience(stop, URGENT_LEAVE_SECONDS, URGENT_FAREWELL_SECONDS)
        else:
            counts = await self._patience(stop, REST_SECONDS, FAREWELL_SECONDS)
        if self._leaving:
            return  # its user has asked for more meanwhile, which has its own time
        if counts.rest:
            begin_anew(self._runtime)
        else:
            self._exit()

    def _exit(self) -> None:
        restore_terminal()
        self._runtime.close()
        os._exit(0)

    async def _patience(self, stop: Stop, round_seconds: float, farewell_seconds: float) -> Stop:
        """Wait as long as a peer may take to go; `stop` ends the round that it waits for.

        The stop that counts: somebody may have asked for another one before.
        """
        assert self.daemon is not None, "only who takes part has somebody to wait for"  # noqa: S101  an invariant
        await anyio.sleep(round_seconds)
        counts = self.daemon.stop_now(stop)
        await anyio.sleep(farewell_seconds)
        return counts
