"""What a coordinator does beside answering: small tasks that end when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
AGAIN_SECONDS = 60.0
"""After a bug in something beside the service, until it is begun anew."""


@asynccontextmanager
async def beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do `work` for as long as the body goes on. A failure of it is logged, and harms only it."""

    async def doing() -> None:
        while True:
            try:
                return await work()
            except Exception:  # a bug of ours; who serves reports goes on
                log.exception("a bug of ours beside the service; it begins anew in a minute")
            await asyncio.sleep(AGAIN_SECONDS)

    task = asyncio.create_task(doing())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def watch_time(look: Callable[[], None], worker: Executor) -> None:
    """Have the runs looked at for what time does to them, for ever; in the worker's thread."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        await loop.run_in_executor(worker, look)
