"""A coordinator's HTTP interface on a real socket, with what a test needs to play with it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from coordinator.registration import sign
from coordinator.rpc.listening import bind
from coordinator.service import CoordinatorService
from coordinator.spectators.reading import Reading
from coordinator.storage.store import Store
from coordinator.web.serving import dashboard
from coordinator.web.stream import Streams
from peer.swarm.clock import CLOCK
from swarmpb.signing import SigningKey
from swarmpb.spec import preset

_Answer = TypeVar("_Answer")
HOST = "127.0.0.1"


class Stage:
    """A coordinator with the run `demo`, served until the end of `stage`."""

    def __init__(self, store: Store, worker: ThreadPoolExecutor, address: tuple[str, int]) -> None:
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
        self.address = address
        self.url = f"http://{address[0]}:{address[1]}"
        """Without a slash at the end."""
        self.trouble: Callable[[], str | None]
        self.streams: Streams
        self.stop: Callable[[], object]
        """Begins to end the server; `stage` waits for it."""

    def do(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns, done in the service's one thread."""
        return self.worker.submit(work).result()


@contextmanager
def stage(folder: Path, trouble: Callable[[], str | None] = lambda: None) -> Iterator[Stage]:
    """Serve a fresh coordinator's dashboard from a thread of its own."""
    with ThreadPoolExecutor(1) as worker, closing(Store.open(folder / "c.sqlite")) as store:
        listener = bind(HOST, 0, "--http-port")
        it = Stage(store, worker, listener.getsockname())
        owner = SigningKey.load_or_create(folder / "owner.key")
        it.do(lambda: it.service.register(sign(preset("demo"), owner)))
        it.trouble = trouble
        with _thread(it, listener):
            yield it


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to be"
        time.sleep(0.01)


@contextmanager
def _thread(it: Stage, listener: socket.socket) -> Iterator[None]:
    """A thread whose event loop serves `it` on a bound socket."""
    started: Future[None] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        it.stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        async with dashboard(it.reading, it.worker, listener, it.trouble) as it.streams:
            started.set_result(None)
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
        started.result()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # it was stopped, and its loop is closed
                it.stop()
    finally:
        thread.join()
