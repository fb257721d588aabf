"""The live line of `peer join`: redrawn in a terminal, printed when something changed elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import datetime

import anyio

from peer.status import live_line
from swarmpb.v1 import control_pb2

_REDRAW_SECONDS = 0.5
_CLEAR = "\r\x1b[2K"


async def show_live(status: Callable[[], control_pb2.StatusReply]) -> None:
    """Show the peer's state on standard output until cancelled."""
    if sys.stdout.isatty():
        await _redraw(status)
    else:
        await _print_changes(status)


async def _redraw(status: Callable[[], control_pb2.StatusReply]) -> None:
    try:
        while True:
            width = shutil.get_terminal_size().columns
            sys.stdout.write(_CLEAR + _fit(live_line(status()), width - 1))
            sys.stdout.flush()
            await anyio.sleep(_REDRAW_SECONDS)
    finally:
        sys.stdout.write(_CLEAR)
        sys.stdout.flush()


async def _print_changes(status: Callable[[], control_pb2.StatusReply]) -> None:
    shown = None
    while True:
        reply = status()
        happening = (reply.phase, reply.round, reply.reason)
        if happening != shown:
            shown = happening
            print(f"{datetime.now():%H:%M:%S} {live_line(reply)}", flush=True)
        await anyio.sleep(_REDRAW_SECONDS)


def _fit(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"
