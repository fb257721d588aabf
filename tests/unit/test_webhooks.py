"""Alarms reach an owner's endpoint, whatever that does, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain import Event, EventKind
from coordinator.operators.webhooks import (
    Delivered,
    Endpoint,
    Persistence,
    bad_url,
    body_of,
    load_secret,
    new_client,
    signature,
)
from swarmpb.exits import Exit, UserError

SECRET = b"a secret of the owner"
QUICK = Persistence(answer=5.0, first_pause=0.01, longest_pause=0.02)
NOW = 1_700_000_000.0


def event(number: int, kind: EventKind = EventKind.STALLED, at: float = NOW) -> Event:
    return Event(number, at, "demo", kind, f"text {number}", "", None)


class Receiver:
    """A real HTTP server that answers as a test wants it."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        """Of the next answers; then 204."""
        self.hang = threading.Event()
        self.hang.set()
        """While it is cleared nothing is answered."""
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                receiver.hang.wait(20)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not on the tests' stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def numbers(self) -> list[int]:
        return [json.loads(body)["number"] for _, body in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.close()


class Outbox:
    """Kept events, and an endpoint that is told of them until a condition holds."""

    def __init__(self, url: str, folder: Path, *events: Event) -> None:
        self.url = url
        self.memory = folder / "webhooks.json"
        self.events = list(events)
        self.results: list[str] = []
        self.changed = asyncio.Event()
        """Something became of a request."""

    def run(
        self,
        until: Callable[[], bool],
        newest: int = 0,
        persistence: Persistence = QUICK,
        meanwhile: Callable[[Endpoint], Awaitable[None]] | None = None,
    ) -> None:
        """A coordinator that is killed as soon as `until` holds."""

        async def read(number: int) -> list[Event]:
            return [it for it in self.events if it.number > number][:3]

        async def life() -> None:
            self.changed = changed = asyncio.Event()
            endpoint = Endpoint(self.url, SECRET, Delivered(self.memory), read, lambda: NOW)

            def count(result: str) -> None:
                self.results.append(result)
                changed.set()

            endpoint.count = count
            async with new_client() as client:
                task = asyncio.create_task(endpoint.deliver(client, newest, persistence))
                if meanwhile is not None:
                    await meanwhile(endpoint)
                while not until():
                    changed.clear()
                    await asyncio.wait_for(changed.wait(), 20)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(life())


def test_alarms_arrive_in_order_and_signed_and_what_is_none_does_not(
    receiver: Receiver, tmp_path: Path
) -> None:
    kinds = list(EventKind)
    box = Outbox(receiver.url, tmp_path, *map(event, range(1, len(kinds) + 1), kinds))
    box.run(lambda: box.results.count("delivered") == 6)
    told = [json.loads(body)["kind"] for _, body in receiver.requests]
    assert told == [
        "diverged",
        "divergence healed",
        "stalled",
        "moving again",
        "all peers gone",
        "target reached",
    ]
    for headers, body in receiver.requests:
        timestamp = int(headers["Murmuration-Timestamp"])
        assert headers["Murmuration-Signature"] == signature(SECRET, timestamp, body)
        assert headers["Content-Type"] == "application/json"


def test_what_is_signed_is_what_the_documentation_says() -> None:
    body = body_of(event(7))
    assert json.loads(body) == {
        "number": 7,
        "at": "2023-11-14T22:13:20.000Z",
        "run_id": "demo",
        "kind": "stalled",
        "text": "text 7",
        "round": None,
    }
    told = signature(b"key", 1, b"{}")
    # printf '1.{}' | openssl dgst -sha256 -hmac key
    assert told == "sha256=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    assert told != signature(b"key", 2, b"{}") != signature(b"key", 2, b"{ }")


@pytest.mark.parametrize("status", [500, 404, 301, 307])
def test_an_endpoint_that_fails_or_redirects_is_tried_again_and_said_once(
    receiver: Receiver, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [status] * 3
    box = Outbox(receiver.url + "/hook?token=hidden", tmp_path, event(1), event(2))
    box.run(lambda: box.results.count("delivered") == 2)
    assert box.results == ["failed"] * 3 + ["delivered"] * 2
    assert receiver.numbers == [1, 1, 1, 1, 2]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"webhook {receiver.url} fails, and is tried again: it answered {status}",
        f"webhook {receiver.url} works again",
    ]


def test_an_endpoint_that_hangs_costs_its_own_time_only(receiver: Receiver, tmp_path: Path) -> None:
    receiver.hang.clear()
    box = Outbox(receiver.url, tmp_path, event(1))
    hasty = Persistence(answer=0.05, first_pause=0.01, longest_pause=0.01)

    async def let_go(_: Endpoint) -> None:
        await box.changed.wait()
        receiver.hang.set()

    box.run(lambda: "delivered" in box.results, persistence=hasty, meanwhile=let_go)
    assert set(box.results) == {"failed", "delivered"}


def test_nobody_listens_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    box = Outbox("http://127.0.0.1:1/", tmp_path, event(1))
    box.run(lambda: len(box.results) >= 3)
    assert set(box.results) == {"failed"}
    assert len(caplog.records) == 1


def test_what_is_too_old_is_given_up_and_the_next_goes_on(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses = [500]
    box = Outbox(receiver.url, tmp_path, event(1, at=NOW - 90_000), event(2))
    box.run(lambda: "delivered" in box.results)
    assert box.results == ["failed", "given up", "delivered"]
    assert receiver.numbers == [1, 2]


def test_a_killed_coordinator_goes_on_with_what_has_not_arrived(
    receiver: Receiver, tmp_path: Path
) -> None:
    box = Outbox(receiver.url, tmp_path, event(1), event(2), event(3))
    receiver.statuses = [204, 500, 500]
    box.run(lambda: "failed" in box.results)
    box.run(lambda: box.results.count("delivered") == 3, newest=3)
    assert receiver.numbers[0] == 1
    assert sorted(set(receiver.numbers)) == [1, 2, 3]
    box.run(lambda: True, newest=3)
    assert receiver.numbers[-1] == 3


def test_a_new_endpoint_is_not_told_the_past_and_hears_what_comes(
    receiver: Receiver, tmp_path: Path
) -> None:
    box = Outbox(receiver.url, tmp_path, event(1), event(2))

    async def happen(endpoint: Endpoint) -> None:
        await asyncio.sleep(0)
        box.events.append(event(3))
        endpoint.wake()

    box.run(lambda: "delivered" in box.results, newest=2, meanwhile=happen)
    assert receiver.numbers == [3]


def test_a_lost_database_does_not_silence_its_endpoints(receiver: Receiver, tmp_path: Path) -> None:
    box = Outbox(receiver.url, tmp_path, event(500))
    box.run(lambda: "delivered" in box.results, newest=499)
    Delivered(box.memory).done(receiver.url, 500)
    box.events = [event(1)]
    box.results.clear()
    box.run(lambda: "delivered" in box.results)
    assert receiver.numbers == [500, 1]


@pytest.mark.parametrize("text", ["", "[]", '{"a": "b"}', "\xff"])
def test_a_damaged_memory_begins_anew_and_is_said(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = tmp_path / "webhooks.json"
    memory.write_bytes(text.encode("latin-1"))
    assert Delivered(memory).begin("http://here", 5) == 5
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://host/", "http"),
        ("/path", "http"),
        ("http://", "host"),
        ("http://host:port/", "ort"),
        ("https://anna:secret@host/", "password"),
        ("http://[::1/", "IPv6"),
        ("http://ho\nst/\x00", "rintable"),
    ],
)
def test_what_is_no_address_is_refused_at_the_start(url: str, fault: str) -> None:
    told = bad_url(url)
    assert told is not None
    assert fault in told


def test_good_addresses() -> None:
    for url in ("http://127.0.0.1:8080/x?y=z", "https://example.org", "http://[::1]:80/"):
        assert bad_url(url) is None


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, value: str | None) -> Iterator[None]:
    with monkeypatch.context() as patch:
        if value is None:
            patch.delenv("COORDINATOR_WEBHOOK_SECRET", raising=False)
        else:
            patch.setenv("COORDINATOR_WEBHOOK_SECRET", value)
        yield


def test_the_secret_is_named_told_or_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, named = tmp_path / "webhook.secret", tmp_path / "named"
    named.write_text("  a named secret of some length\n")
    with environment(monkeypatch, "a secret of the environment"):
        assert load_secret(None, own) == b"a secret of the environment"
        assert load_secret(named, own) == b"a named secret of some length"
    with environment(monkeypatch, None):
        made = load_secret(None, own)
        assert load_secret(None, own) == made
    assert len(made) >= 32
    assert own.stat().st_mode & 0o777 == 0o600


def test_a_short_secret_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "short"
    short.write_text("p4ssw0rd\n")
    for named, told in ((short, None), (None, ""), (tmp_path / "gone", None)):
        with environment(monkeypatch, told), pytest.raises(UserError) as refused:
            load_secret(named, tmp_path / "own")
        assert refused.value.code == Exit.BAD_CONFIG
        assert "p4ssw0rd" not in str(refused.value)
