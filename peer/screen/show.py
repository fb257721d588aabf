"""The screen of `peer join`: drawn in a terminal, plain lines where there is none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import anyio

from peer.screen.line import live_line
from peer.screen.plain import one_line
from peer.screen.stage import Stage
from swarmpb.v1 import control_pb2

REDRAW_SECONDS = 0.5
_KEYS = ("Ctrl-C leaves", "peer pause", "peer finish", "in another terminal: peer --help")
_RESTING_KEYS = ("Ctrl-C ends it", "peer resume", "in another terminal: peer --help")


async def show_live(status: Callable[[], control_pb2.StatusReply]) -> None:
    """Show the peer's state on standard output until cancelled."""

    def keys(reply: control_pb2.StatusReply) -> tuple[str, ...]:
        return _RESTING_KEYS if reply.resting_reasons else _KEYS

    await Show(status, keys).run()


class Show:
    """A screen while this process has the terminal, and lines while it has not."""

    def __init__(
        self,
        status: Callable[[], control_pb2.StatusReply],
        keys: Callable[[control_pb2.StatusReply], tuple[str, ...]],
        trouble: Callable[[], str] = lambda: "",
        typed: Callable[[str], None] = lambda letters: None,
    ) -> None:
        """trouble: why the status is old, or empty; typed: told what the user types."""
        self._status = status
        self._keys = keys
        self._trouble = trouble
        self._typed = typed
        self._stage = Stage.of_user()
        self._lines = Lines()
        self._soon = anyio.Event()

    async def run(self) -> None:
        """Until cancelled; the terminal is given back then."""
        try:
            async with anyio.create_task_group() as tasks:
                if self._stage is not None:
                    tasks.start_soon(self._obey_terminal, self._stage)
                    tasks.start_soon(self._read, self._stage)
                while True:
                    self._show()
                    with anyio.move_on_after(REDRAW_SECONDS):
                        await self._soon.wait()
                    self._soon = anyio.Event()
        finally:
            if self._stage is not None:
                self._stage.done()

    def _show(self) -> None:
        stage, reply, trouble = self._stage, self._status(), self._trouble()
        if stage is not None and stage.can_open:
            stage.open()
            stage.draw(reply, self._keys(reply), trouble)
            return
        if stage is not None:
            stage.close()
        self._lines.show(reply, trouble)

    async def _obey_terminal(self, stage: Stage) -> None:
        """Ctrl-Z gives the terminal back before this process stands still."""
        signals = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
        with anyio.open_signal_receiver(*signals) as received:
            async for number in received:
                if number == signal.SIGTSTP:
                    stage.close()
                    _stand_still()
                stage.redraw()
                self._soon.set()

    async def _read(self, stage: Stage) -> None:
        """What is typed is not shown, and not left for the user's shell."""
        if stage.keyboard is None:
            return
        with suppress(OSError):  # the terminal is closed
            while True:
                await anyio.wait_readable(stage.keyboard)
                if not stage.is_open:
                    await anyio.sleep(REDRAW_SECONDS)
                elif letters := stage.typed():
                    self._typed(letters)
                else:
                    return  # nobody types there any more


def _stand_still() -> None:
    """Do what Ctrl-Z does to a process that does not look at it."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)


class Lines:
    """A line when something has changed."""

    def __init__(self) -> None:
        self._shown: tuple[object, ...] = ()

    def show(self, reply: control_pb2.StatusReply, trouble: str = "") -> None:
        """Print a line if this is news."""
        happening = (reply.phase, reply.round, reply.reason, bool(trouble))
        if happening != self._shown:
            self._shown = happening
            print(f"{datetime.now():%H:%M:%S} {one_line(trouble) or live_line(reply)}", flush=True)
