"""How a process of `peer` ends without taking the interpreter down."""

from __future__ import annotations

import os
import signal
import stat
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

    for number in leaving_signals():
        signal.signal(number, end)


def leaving_signals() -> tuple[signal.Signals, ...]:
    """Those that make a peer leave: a closed terminal too, unless `nohup` had it ignored."""
    asked = (signal.SIGINT, signal.SIGTERM)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return asked if ignored else (*asked, signal.SIGHUP)


def say_leaving(number: int, words: str) -> None:
    """Tell the user who sent this signal; who has closed their terminal hears nothing any more."""
    if number == signal.SIGHUP:
        _forget_terminal()
    print(f"\n{words}", file=sys.stderr, flush=True)


def _forget_terminal() -> None:
    """What is written to a terminal that is gone would fail."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nothing, descriptor)
    os.close(nothing)
