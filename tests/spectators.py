"""A coordinator's HTTP interface on a real socket, with what a test needs to play with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from coordinator.listening import bind
from coordinator.reading import Reading
from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from coordinator.web.serving import dashboard
from peer.swarm.clock import CLOCK
from swarmpb.signing import SigningKey
from swarmpb.spec import preset

_Answer = TypeVar("_Answer")
HOST = "127.0.0.1"


class Stage:
    """A coordinator with the run `demo`, served until the end of `stage`."""

    def __init__(self, store: Store, worker: ThreadPoolExecutor, url: str) -> None:
        self.store = store
        self.service = CoordinatorService(store)
        self.reading = Reading(
            self.service,
            store,
            lambda _: None,
            lambda run_id: f"peer join --run {run_id}",
            CLOCK.now,
        )
        self.worker = worker
        self.url = url
        """Without a slash at the end."""

    def do(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns, done in the service's one thread."""
        return self.worker.submit(work).result()


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Serve a fresh coordinator's dashboard from a thread of its own."""
    with ThreadPoolExecutor(1) as worker, closing(Store.open(folder / "c.sqlite")) as store:
        listener = bind(HOST, 0, "--http-port")
        it = Stage(store, worker, f"http://{HOST}:{listener.getsockname()[1]}")
        owner = SigningKey.load_or_create(folder / "owner.key")
        it.do(lambda: it.service.register(sign(preset("demo"), owner)))
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stopped = asyncio.Event()
            async with dashboard(it.reading, worker, listener):
                started.set_result((asyncio.get_running_loop(), stopped))
                await stopped.wait()

        def run() -> None:
            try:
                anyio.run(serve, backend_options={"use_uvloop": True})
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            loop, stopped = started.result()
            try:
                yield it
            finally:
                loop.call_soon_threadsafe(stopped.set)
        finally:
            thread.join()
