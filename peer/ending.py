"""How a process of `peer` ends without taking the interpreter down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from peer.screen.restoring import restore_terminal
from swarmpb.exits import Exit


def end_at_once() -> None:
    """Leave the process now: to take down what was imported takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all that was started and claimed has been ended and released


def end_early_on_signals(release: Callable[[], None] = lambda: None) -> None:
    """Until the daemon handles signals: a `KeyboardInterrupt` gets lost in libraries' imports.

    release: gives back what was claimed until then.
    """

    def end(_number: int, _frame: object) -> None:
        restore_terminal()
        release()
        os._exit(Exit.INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
