"""How a long-running command is stopped: once for a graceful end, twice at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from swarmpb.exits import Exit


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Cancel what runs inside at the first SIGINT or SIGTERM, and end there without an error."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  inside a coroutine there is one
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            os._exit(Exit.INTERRUPTED)
        stopping = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not stopping:
            raise
