"""Notices that this whole process stood still: a laptop that was closed, a machine overloaded."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from peer.swarm.clock import steady_seconds

BEAT_SECONDS = 1.0
STANDSTILL_SECONDS = 10.0
"""Less is a busy machine's ordinary day."""


async def watch_standstill(told: Callable[[float], None]) -> None:
    """Call `told` with the seconds of each standstill, as soon as it is over."""
    while True:
        before = steady_seconds()
        await anyio.sleep(BEAT_SECONDS)
        stood = steady_seconds() - before - BEAT_SECONDS
        if stood > STANDSTILL_SECONDS:
            told(stood)
