"""How a process of `peer` ends without taking the interpreter down."""

from __future__ import annotations

import os
import signal
import sys

from peer.screen.restoring import restore_terminal
from swarmpb.exits import Exit


def end_at_once() -> None:
    """Leave the process now: to take down what was imported takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all that was started and claimed has been ended and released


def end_early_on_signals() -> None:
    """Until the daemon handles signals: a `KeyboardInterrupt` gets lost in libraries' imports."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_early)


def _end_early(_number: int, _frame: object) -> None:
    restore_terminal()
    os._exit(Exit.INTERRUPTED)
