"""Kept events as a caller of `Admin.ListEvents` wants them, and then those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from coordinator.domain import Event
from coordinator.rpc.desk import Desk
from swarmpb.v1 import admin_pb2

PAGE = 500
"""Events that are read at a time: reports wait meanwhile."""
MOST_NEWEST = 10_000


async def events(
    desk: Desk, request: admin_pb2.ListEventsRequest
) -> AsyncIterator[admin_pb2.RunEvent]:
    """The oldest first; with `follow` for ever. `UnknownRunError` if there is no such run.

    What is told is read from the store each time, so that nothing is missed or told twice however
    slowly the caller reads.
    """
    loop, log = asyncio.get_running_loop(), desk.service.events
    run_id = request.run_id or None
    news = asyncio.Event()

    def wake(_: Sequence[Event]) -> None:
        loop.call_soon_threadsafe(news.set)

    if run_id is not None:
        desk.service.run(run_id)
    stop = log.listen(wake)
    try:
        number = await loop.run_in_executor(desk.worker, _begin, desk, request)
        while True:
            news.clear()
            read = partial(log.after, number, run_id, PAGE)
            for event in await loop.run_in_executor(desk.worker, read):
                yield _message(event)
                number = event.number
                news.set()  # there may be another page
            if not news.is_set():
                if not request.follow:
                    return
                await news.wait()
    finally:
        stop()


def _begin(desk: Desk, request: admin_pb2.ListEventsRequest) -> int:
    """After which number to begin; in the service's thread."""
    log, run_id = desk.service.events, request.run_id or None
    newest = log.newest(limit=1)
    # a higher number is of a database that was lost
    after = request.after if newest and request.after <= newest[0].number else 0
    if not request.newest:
        return after
    wanted = log.newest(run_id=run_id, limit=min(request.newest, MOST_NEWEST))
    return max(after, wanted[-1].number - 1) if wanted else after


def _message(event: Event) -> admin_pb2.RunEvent:
    return admin_pb2.RunEvent(
        number=event.number,
        at_ms=int(event.at * 1000),
        run_id=event.run_id,
        kind=event.kind.value,
        peer_id=event.peer_id,
        round=event.round or 0,
        text=event.text,
    )
