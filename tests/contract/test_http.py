"""The HTTP interface before strangers: what is asked, how it is asked, and what is in the store."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from coordinator.limits import Rate
from coordinator.reports import intake
from coordinator.spectators.provenance import PROVENANCE
from coordinator.web import connections
from coordinator.web.api import Questions, api
from coordinator.web.connections import crowded
from coordinator.web.description import describe
from coordinator.web.guard import MOST_PATH, Guard
from tests.reporting import identity, round_message, signed_report
from tests.spectators import Stage, eventually, stage

ADDRESS = "203.0.113.7"
NASTY = (
    "'; DROP TABLE peers; --",
    '<script>alert("x")</script>',
    "\x1b[2J\u202e\x00 {{7*7}} ${jndi:ldap://x} %s %n",
    f"{ADDRESS}:4001 \U0001f980 \ud7ff",
)
RUN = "/api/v1/runs/demo"


def document() -> dict[str, Any]:
    """The interface as it describes itself, without the stream, which has no end."""
    app = FastAPI(title="Coordinator", version="1")
    app.include_router(api(cast(Any, Questions(*[None] * 4)), dict))  # type: ignore[arg-type]  # asks nothing
    found = describe(app)
    del found["paths"][f"{RUN.replace('demo', '{run_id}')}/stream"]
    return found


CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": [404, 414, 422]}}}
)
SCHEMA = schemathesis.openapi.from_dict(document(), config=CONFIG)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A coordinator that hostile peers have reported to."""
    with stage(tmp_path_factory.mktemp("coordinator")) as it:
        for number, words in enumerate(NASTY):
            _report_nastily(it, number, words)
        yield it


def _report_nastily(at: Stage, number: int, words: str) -> None:
    author = identity(number)
    report = signed_report(
        author,
        name=words,
        reason=f"{words} dial /ip4/{ADDRESS}/tcp/4001/p2p/{author.peer_id}",
        version=words,
        phase=words,
        tokens=intake.MAX_TOKENS,
        tokens_per_second=intake.MAX_TOKENS_PER_SECOND,
        round=intake.MAX_ROUND,
        sequence=intake.MAX_SEQUENCE,
        train_loss=1e300,
        addresses=[f"/ip4/{ADDRESS}/tcp/4001/p2p/{author.peer_id}"],
        rounds=[
            round_message(1, reason=words, own_tokens=intake.MAX_TOKENS, bytes_sent=1 << 50),
            round_message(2, committed=False, reason=f"{ADDRESS}: {words}"),
        ],
    )
    at.do(lambda: at.service.take_report(report))


# ---- whatever is asked -----------------------------------------------------------------


@SCHEMA.parametrize()
@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_question_gets_what_the_document_says(
    at: Stage, case: schemathesis.Case[Any]
) -> None:
    case.call_and_validate(base_url=at.url)
    # once more about the run and a peer that are there
    known = {"run_id": "demo", "peer_id": identity(0).peer_id}
    here = {name: known[name] for name in case.path_parameters or {}}
    case.path_parameters = here
    response = case.call(base_url=at.url)
    case.validate_response(response, excluded_checks=[negative_data_rejection])


def every_path() -> list[str]:
    peer = identity(0).peer_id
    paths = list(document()["paths"])
    return [it.replace("{run_id}", "demo").replace("{peer_id}", peer) for it in paths]


def test_no_answer_tells_where_a_participant_is(at: Stage) -> None:
    for path in (*every_path(), f"{RUN}/participants?search=script&sort=name"):
        response = httpx.get(at.url + path)
        assert response.status_code == 200, path
        assert ADDRESS not in response.text, path


def test_nasty_names_are_text(at: Stage) -> None:
    rows = httpx.get(f"{at.url}{RUN}/participants").json()["rows"]
    names = {row["name"] for row in rows}
    assert {NASTY[0], NASTY[1]} <= names
    assert not any("\x1b" in name or "\u202e" in name or "\x00" in name for name in names)
    found = httpx.get(f"{at.url}{RUN}/participants", params={"search": "'; DROP"}).json()
    assert found["total"] == 1
    assert httpx.get(f"{at.url}/api/v1/runs").json()[0]["run_id"] == "demo", "the table is there"
    for row in rows:
        path = f"{RUN}/participants/{row['peer_id']}"
        assert httpx.get(at.url + path).headers["content-type"] == "application/json"


def test_the_document_says_where_each_figure_comes_from(at: Stage) -> None:
    told = httpx.get(f"{at.url}/openapi.json").json()
    fields = told["components"]["schemas"]["Participant"]["properties"]
    assert "Source: self-reported." in fields["tokens_per_second"]["description"]
    assert httpx.get(f"{at.url}/api/v1/provenance").json() == PROVENANCE


# ---- however it is asked ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_there_is_nothing_but_reading(at: Stage, method: str) -> None:
    response = httpx.request(method, f"{at.url}/api/v1/runs")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert "use GET" in response.json()["error"]


def test_a_head_is_told_what_a_get_would_be(at: Stage) -> None:
    response = httpx.head(f"{at.url}/api/v1/provenance")
    assert response.status_code == 200
    assert int(response.headers["content-length"]) > 0
    assert not response.content
    assert httpx.head(f"{at.url}{RUN}/stream").status_code == 405, "it has no end"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /" + b"a" * MOST_PATH + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /?" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 400_000, 400),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /static/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /static/%2e%2e/%2e%2e/pages.py HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /static//etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%ff%00%0a HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
def test_odd_requests_get_one_line(at: Stage, request_: bytes, status: int) -> None:
    with socket.create_connection(at.address, timeout=20) as client:
        client.sendall(request_)
        with client.makefile("rb") as file:
            assert int(file.readline().split()[1]) == status
            length = 0
            while (line := file.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            error = json.loads(file.read(length))["error"]
    assert error
    assert "\n" not in error


def test_an_address_that_asks_too_often_is_told_when_to_come_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("here")(scope, receive, send)

    async def ask() -> None:
        guard = Guard(app, Rate(per_second=0.1, at_once=2))

        async def statuses(host: str) -> list[int]:
            transport = httpx.ASGITransport(guard, client=(host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                answers = [await client.get("/") for _ in range(3)]
            if answers[-1].status_code == 429:
                assert 0 < int(answers[-1].headers["retry-after"]) <= 10
                assert "too many requests" in answers[-1].json()["error"]
            return [it.status_code for it in answers]

        assert await statuses("203.0.113.7") == [200, 200, 429]
        assert await statuses("203.0.113.8") == [200, 200, 429]
        assert await statuses("2001:db8::1") == [200, 200, 429]
        assert await statuses("2001:db8::2") == [429, 429, 429], "of the same household"
        assert await statuses("127.0.0.1") == [200, 200, 200], "a proxy may stand here"

    asyncio.run(ask())


def hung_up(client: socket.socket) -> bool:
    """Wait until the other side has ended the connection."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.3)
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_who_never_ends_a_request_is_cut_off(tmp_path: Any, sent: bytes) -> None:
    with stage(tmp_path) as at, socket.create_connection(at.address, timeout=20) as client:
        client.sendall(sent)
        assert hung_up(client)
        assert httpx.get(f"{at.url}/healthz").status_code == 200


@pytest.mark.usefixtures("impatient")
def test_who_never_reads_an_answer_is_cut_off(tmp_path: Any) -> None:
    request = b"GET /static/vendor/plotly.min.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with stage(tmp_path) as at, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(at.address)
        for _ in range(4):  # more than the machine's own buffers hold
            client.sendall(request)
        eventually(lambda: not is_open(client))


def is_open(client: socket.socket) -> bool:
    """Whether the other side has not reset the connection; nothing is read."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_one_connection_too_many_is_told_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    with stage(tmp_path) as at, httpx.Client() as first, httpx.Client() as second:
        assert first.get(f"{at.url}/healthz").json() == {"status": "ok"}
        assert second.get(f"{at.url}/healthz").status_code == 200
        refused = httpx.get(f"{at.url}/healthz")
        assert refused.status_code == 503
        assert "as many connections" in refused.json()["error"]


def test_one_address_has_so_many_connections_and_a_proxy_beside_us_any_number() -> None:
    most = connections.MOST_PER_ADDRESS
    assert crowded("203.0.113.7", ["203.0.113.7"] * (most - 1)) is None
    assert crowded("203.0.113.7", ["203.0.113.7"] * most)
    assert crowded("203.0.113.8", ["203.0.113.7"] * most) is None
    assert crowded("127.0.0.1", ["127.0.0.1"] * most) is None


# ---- files, caches, health -------------------------------------------------------------


def test_an_answer_that_a_browser_has_is_not_sent_again(at: Stage) -> None:
    first = httpx.get(f"{at.url}/api/v1/provenance")
    tag = first.headers["etag"]
    for told in (tag, f"W/{tag}", f'"other", {tag}'):
        again = httpx.get(f"{at.url}/api/v1/provenance", headers={"If-None-Match": told})
        assert again.status_code == 304
        assert not again.content


def test_pages_name_their_files_with_versions_that_stay(at: Stage) -> None:
    for page in ("/", "/runs/demo", f"/runs/demo/participants/{identity(0).peer_id}"):
        response = httpx.get(at.url + page)
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    plotly = "/static/vendor/plotly.min.js"
    unnamed = httpx.get(at.url + plotly)
    assert unnamed.headers["cache-control"] == "no-cache"
    assert unnamed.headers["content-encoding"] == "gzip"
    named = httpx.get(f"{at.url}{plotly}?v={unnamed.headers['etag'].strip(chr(34))}")
    assert "immutable" in named.headers["cache-control"]
    plain = httpx.get(at.url + plotly, headers={"Accept-Encoding": "identity"})
    assert plain.content == unnamed.content
    assert "content-encoding" not in plain.headers


def test_health_tells_what_is_wrong(tmp_path: Any) -> None:
    wrong: list[str | None] = [None]
    with stage(tmp_path, lambda: wrong[0]) as at:
        assert httpx.get(f"{at.url}/healthz").json() == {"status": "ok"}
        wrong[0] = "the disk takes nothing"
        eventually(lambda: httpx.get(f"{at.url}/healthz").status_code == 503)
        assert httpx.get(f"{at.url}/healthz").json() == {"error": "the disk takes nothing"}
