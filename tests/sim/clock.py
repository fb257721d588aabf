"""Simulated time: an event loop whose clock jumps over every wait, so that deadlines cost nothing.

What a story takes in simulated seconds is exact, and the same on a slow machine.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

Result = TypeVar("Result")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that never sleeps: when nothing is ready, it is later at once."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout:
            self._loop.advance(timeout)
        return ready


async def run_at_once(work: Callable[..., Result], *args: Any, **_: Any) -> Result:
    """In place of `anyio.to_thread.run_sync`: others get their turn before and after, as there."""
    await anyio.lowlevel.checkpoint()
    with anyio.CancelScope(shield=True):
        for _turn in range(3):
            await anyio.lowlevel.checkpoint()
        result = work(*args)
        await anyio.lowlevel.checkpoint()
    return result
