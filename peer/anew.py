"""Begin this process anew, with the same arguments: all memory is given back at once.

A peer that rests does that. The new program finds that it has to rest before it has imported
anything large; process id, terminal and the claim on the run's folder stay.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import psutil

from peer.runtime import RuntimeFolder
from peer.screen.restoring import restore_terminal

_REAP_SECONDS = 0.5


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
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves, no shell
