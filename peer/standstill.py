"""Notices that this whole process stood still: a laptop that was closed, a machine overloaded."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from peer.swarm.clock import steady_seconds

BEAT_SECONDS = 1.0
PAUSE_SECONDS = 5.0
"""After so long the others have done without this peer, in whatever was under way."""
STANDSTILL_SECONDS = 10.0
"""Less is a busy machine's ordinary day, and not worth a word."""


async def watch_standstill(paused: Callable[[], None], told: Callable[[float], None]) -> None:
    """As soon as one is over, call `paused`; and after a longer one `told` with its seconds."""
    while True:
        before = steady_seconds()
        await anyio.sleep(BEAT_SECONDS)
        stood = steady_seconds() - before - BEAT_SECONDS
        if stood > PAUSE_SECONDS:
            paused()
        if stood > STANDSTILL_SECONDS:
            told(stood)
