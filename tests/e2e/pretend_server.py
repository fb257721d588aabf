"""The real pages over a run that never was: `python -m tests.e2e.pretend_server [PORT]`."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from coordinator.web.serving import dashboard
from tests.e2e.pretend_run import RUN_ID, PretendRun


@contextmanager
def pretending(run: PretendRun) -> Iterator[str]:
    """Serve `run` from another thread; the address of its page."""
    listener = socket.create_server(("127.0.0.1", 0))
    started, loop, ended = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        with ThreadPoolExecutor(1) as worker:
            async with dashboard(run, worker, listener):
                started.set()
                await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(20)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/runs/{RUN_ID}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _serve(port: int) -> None:
    run = PretendRun(1000, time.time())
    with ThreadPoolExecutor(1) as worker:
        async with dashboard(run, worker, socket.create_server(("127.0.0.1", port))):
            print(f"http://127.0.0.1:{port}/runs/{RUN_ID}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 7790))
