"""Server-sent events over a real server: who listens, who is too slow, and who goes away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.domain import Event, EventKind, StorageError
from coordinator.spectators.reading import Cursor, News
from coordinator.web import stream
from coordinator.web.stream import QUEUED, Listener, Streams, TooManyListenersError
from tests.spectators import Stage, eventually, stage

PATH = "/api/v1/runs/demo/stream"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as it:
        yield it


def happen(at: Stage, text: str) -> Event:
    event = Event(0, 1000.0, "demo", EventKind.JOINED, text, "QmAnna")
    return at.do(lambda: at.store.events.add([event]))[0]


def read(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """Kind, id and data of each event of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}


def test_a_listener_hears_how_the_run_stands_and_what_happens(at: Stage) -> None:
    with httpx.stream("GET", at.url + PATH) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        events = read(response.iter_lines())
        kind, _, overview = next(events)
        assert (kind, overview["run_id"]) == ("overview", "demo")
        event = happen(at, "anna joined from 203.0.113.7:4001")
        kind, identity, line = next(it for it in events if it[0] != "overview")
        assert (kind, identity) == ("happened", str(event.number))
        assert line["text"] == "anna joined from (address hidden)"


def test_who_comes_back_is_told_what_it_missed(at: Stage) -> None:
    numbers = [happen(at, f"event {count}").number for count in range(3)]
    headers = {"Last-Event-ID": str(numbers[0])}
    with httpx.stream("GET", at.url + PATH, headers=headers) as response:
        events = read(response.iter_lines())
        missed = [next(events) for _ in range(2)]
        assert [line["text"] for _, _, line in missed] == ["event 1", "event 2"]
        assert next(events)[0] == "overview"


def test_many_listeners_cost_one_question(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.2)
    asked, news = [], at.reading.news

    def counted(run_id: str, since: Cursor | None) -> News:
        asked.append(since)
        return news(run_id, since)

    monkeypatch.setattr(at.reading, "news", counted)

    async def listen(client: httpx.AsyncClient) -> list[float]:
        moments = []
        async with client.stream("GET", at.url + PATH) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    moments.append(json.loads(line[6:])["now"])
                    if len(moments) == 5:
                        break
        return moments

    async def listen_all() -> list[list[float]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            return await asyncio.gather(*(listen(client) for _ in range(40)))

    heard = asyncio.run(listen_all())
    assert len(heard) == 40
    assert len({moment for moments in heard for moment in moments}) <= len(asked)
    assert len(asked) < 80, "each listener would have asked five times"


def test_a_listener_that_does_not_read_is_cut_off_and_the_others_are_not(
    at: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.01)
    news = at.reading.news

    def long_winded(run_id: str, since: Cursor | None) -> News:
        told = news(run_id, since)
        return replace(told, overview=replace(told.overview, reason="x" * 200_000))

    monkeypatch.setattr(at.reading, "news", long_winded)
    with (
        httpx.stream("GET", at.url + PATH) as response,
        socket.create_connection(at.address) as deaf,
    ):
        events = read(response.iter_lines())
        deaf.sendall(f"GET {PATH} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        # it has been counted, and is counted no more
        while at.streams.listeners < 2:
            next(events)
        while at.streams.listeners > 1:
            next(events)
        assert next(events)[0] == "overview"


def test_a_listener_that_goes_away_leaves_nothing_behind(at: Stage) -> None:
    for _ in range(3):
        with httpx.stream("GET", at.url + PATH) as response:
            events = read(response.iter_lines())
            next(events)
            assert at.streams.listeners == 1
        eventually(lambda: at.streams.listeners == 0)
    assert not at.streams.watched


def test_one_more_than_the_most_is_told_so(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_LISTENERS", 1)
    with httpx.stream("GET", at.url + PATH) as response:
        events = read(response.iter_lines())
        next(events)
        refused = httpx.get(at.url + PATH)
        assert refused.status_code == 503
        assert "as many as this coordinator serves" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) > 0


def test_one_address_gets_a_few_streams_only(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_PER_ADDRESS", 1)

    async def listen() -> None:
        streams = Streams(at.reading, at.worker)
        async with streams.listening("demo", "203.0.113.7", None):
            with pytest.raises(TooManyListenersError, match="for one address"):
                async with streams.listening("demo", "203.0.113.7", None):
                    pass
            async with streams.listening("demo", "203.0.113.8", None):
                assert streams.listeners == 2
        assert streams.listeners == 0
        await streams.close()

    asyncio.run(listen())


def test_a_run_that_is_not_there_has_no_stream(at: Stage) -> None:
    response = httpx.get(at.url + "/api/v1/runs/nobody/stream")
    assert response.status_code == 404
    assert "nobody" in response.json()["error"]


def test_a_disk_that_fails_for_a_moment_does_not_end_the_stream(
    at: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.05)
    news, failures = at.reading.news, [StorageError("disk full")] * 3

    def failing(run_id: str, since: Cursor | None) -> News:
        if since is not None and failures:
            raise failures.pop()
        return news(run_id, since)

    monkeypatch.setattr(at.reading, "news", failing)
    with httpx.stream("GET", at.url + PATH) as response:
        events = read(response.iter_lines())
        assert [next(events)[0] for _ in range(3)] == ["overview"] * 3
    assert not failures


def test_streams_end_when_the_coordinator_stops(tmp_path: Path) -> None:
    with httpx.Client() as client, stage(tmp_path) as at:
        response = client.send(client.build_request("GET", at.url + PATH), stream=True)
        events = read(response.iter_lines())
        next(events)
        at.stop()
        assert all(kind == "overview" for kind, _, _ in events), "it ends as a whole response"


def test_a_listener_lags_so_far_and_no_further() -> None:
    async def lag() -> None:
        listener = Listener()
        for count in range(QUEUED):
            listener.offer(b"%d" % count)
        assert not listener.slow.is_set()
        listener.offer(b"too much")
        assert listener.slow.is_set()
        assert [await listener.next() for _ in range(QUEUED)][-1] == b"%d" % (QUEUED - 1)
        listener.end()
        assert await listener.next() is None

    asyncio.run(lag())
