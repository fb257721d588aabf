"""Begin this process anew, with the same arguments: all memory is given back at once.

A peer that rests does that. The new program finds that it has to rest before it has imported
anything large; process id, terminal and the claim on the run's folder stay.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import psutil

from peer.config import ENVIRONMENT
from peer.runtime import RuntimeFolder
from peer.screen.restoring import restore_terminal

_BEGUN_ANEW = "MURMURATION_ANEW"
_REAP_SECONDS = 0.3
_LAST_SECONDS = 5.0


def begin_anew(runtime: RuntimeFolder) -> NoReturn:
    """End what this process has started, and be its beginning again."""
    restore_terminal()
    sys.stdout.flush()
    sys.stderr.flush()
    children = psutil.Process().children(recursive=True)
    for child in children:  # the death signal that they asked for does not come: we live on
        child.kill()
    psutil.wait_procs(children, timeout=_REAP_SECONDS)
    runtime.hand_over()
    os.environ[_BEGUN_ANEW] = "1"
    # whatever the settings say by now: place in the run, pause and claim are there
    os.environ[ENVIRONMENT["state_dir"]] = str(runtime.claimed.parents[1])
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves, no shell


def reap_predecessors() -> None:
    """Let those go that this process had killed just before it began anew.

    A machine that is busy takes its time to take down a large process; it stays in the list of
    processes until it is asked for.
    """
    if os.environ.pop(_BEGUN_ANEW, None) is not None:
        psutil.wait_procs(psutil.Process().children(), timeout=_LAST_SECONDS)
