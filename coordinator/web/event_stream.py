"""The HTTP response that a stream of server-sent events goes out by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from coordinator.web.connections import ABORT
from coordinator.web.replies import refusal
from coordinator.web.stream import Listener, Streams, TooManyListenersError

MEDIA_TYPE = "text/event-stream"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
RETRY_SECONDS = "30"


class EventStream(Response):
    """Goes on until the client goes, is too slow, or the coordinator stops."""

    def __init__(self, streams: Streams, run_id: str, after: int | None) -> None:
        super().__init__()
        self._streams = streams
        self._run_id = run_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("", 0))[0]
        try:
            async with self._streams.listening(self._run_id, address, self._after) as listener:
                await _send_all(listener, receive, send, scope[ABORT])
        except TooManyListenersError as error:
            await refusal(503, str(error), {"Retry-After": RETRY_SECONDS})(scope, receive, send)


async def _send_all(
    listener: Listener, receive: Receive, send: Send, abort: Callable[[], None]
) -> None:
    sending = asyncio.create_task(_pump(listener, send))
    slow = asyncio.create_task(listener.slow.wait())
    gone = asyncio.create_task(_disconnected(receive))
    tasks = {sending, slow, gone}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if slow.done():
            # what waits for it is of no use to it any more, and may never be taken
            abort()
            await gone
        elif sending.done():
            sending.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(listener: Listener, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    while (data := await listener.next()) is not None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
