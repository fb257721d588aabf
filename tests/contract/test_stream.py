"""Server-sent events over a real server: who listens, who is too slow, and who goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.domain import Event, EventKind
from tests.spectators import Stage, stage

PATH = "/api/v1/runs/demo/stream"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as it:
        yield it


def happen(at: Stage, text: str) -> Event:
    event = Event(0, 1000.0, "demo", EventKind.JOINED, text, "QmAnna")
    return at.do(lambda: at.store.events.add([event]))[0]


def told(response: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """Kind, id and data of each event of a stream."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}


def test_a_listener_hears_how_the_run_stands_and_what_happens(at: Stage) -> None:
    with httpx.stream("GET", at.url + PATH) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = told(response)
        kind, _, overview = next(events)
        assert (kind, overview["run_id"]) == ("overview", "demo")
        event = happen(at, "anna joined")
        kind, identity, line = next(it for it in events if it[0] != "overview")
        assert (kind, identity, line["text"]) == ("happened", str(event.number), "anna joined")


def test_who_comes_back_is_told_what_it_missed(at: Stage) -> None:
    numbers = [happen(at, f"event {count}").number for count in range(3)]
    headers = {"Last-Event-ID": str(numbers[0])}
    with httpx.stream("GET", at.url + PATH, headers=headers) as response:
        events = told(response)
        missed = [next(events) for _ in range(2)]
        assert [line["text"] for _, _, line in missed] == ["event 1", "event 2"]
        assert next(events)[0] == "overview"
