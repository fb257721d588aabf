"""Run a module for as long as its starter lives: `python -m coordinator.demo.lifeline MODULE …`.

Standard input is the lifeline, a pipe whose other end only the starter holds. However the starter
ends, SIGKILL included, the kernel closes it; this process then leaves as at SIGTERM. The kernel's
own PR_SET_PDEATHSIG knows no grace, so sockets would stay behind; it is bound to the thread that
forked, and exists on Linux alone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 8.0
"""Peers and coordinators leave sooner; whoever does not is killed with all that it started."""

_PIECE = 4096


def main() -> None:
    """Run the module that the command line names, with the rest as its arguments."""
    threading.Thread(target=_follow_starter, name="lifeline", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _follow_starter() -> None:
    while os.read(sys.stdin.fileno(), _PIECE):
        pass  # nothing is said on a lifeline
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
