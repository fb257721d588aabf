"""The door of the HTTP interface: what is refused before anything looks at it."""

from __future__ import annotations

import asyncio
import logging
import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.limits import Buckets, Rate, address_of
from coordinator.web.replies import refusal

log = logging.getLogger(__name__)

MOST_PATH = 512
MOST_QUERY = 1024
"""Bytes, as they travel."""
REQUESTS_OF_ADDRESS = Rate(per_second=50, at_once=500)
"""Of one address, behind which a class of students may be; not of this machine's own."""
MOST_HEADER_BYTES = 16 << 10

SECURITY_HEADERS = {
    # the pages need nothing that is written into them; of the libraries, plotly tries to add a
    # style sheet for maps when it is loaded, in vain
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI application around another: reading only, no bodies, bounded addresses.

    What goes wrong inside is logged, and the client gets one line.
    """

    def __init__(self, app: ASGIApp, rate: Rate = REQUESTS_OF_ADDRESS) -> None:
        self._app = app
        self._buckets = Buckets(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._too_many(scope) or _refused(scope)
        if refused is not None:
            await refused(scope, receive, guarded_send)
            return
        if scope["method"] == "HEAD":
            # the server leaves the body out; the routes need not know
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, receive, guarded_send)
        except Exception:
            log.exception("a bug of ours: no answer to %r", scope["path"])
            if started:
                raise
            line = "a bug of ours; the coordinator's log has more"
            await refusal(500, line)(scope, receive, guarded_send)

    def _too_many(self, scope: Scope) -> Response | None:
        host = (scope.get("client") or ("", 0))[0]
        address = address_of(f"ipv6:[{host}]:0" if ":" in host else f"ipv4:{host}:0")
        now = asyncio.get_running_loop().time()
        wait = math.ceil(self._buckets.take(address, now)) if address and host else 0
        if not wait:
            return None
        line = f"too many requests from your address; try again in {wait} s"
        return refusal(429, line, {"Retry-After": str(wait)})


def _refused(scope: Scope) -> Response | None:
    if scope["method"] not in ("GET", "HEAD"):
        return refusal(405, "this interface is for reading: use GET", {"Allow": "GET, HEAD"})
    if scope["method"] == "HEAD" and scope["path"].endswith("/stream"):
        return refusal(405, "a stream has no end: use GET", {"Allow": "GET"})
    headers = Headers(scope=scope)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return refusal(413, "a request for reading has no body", {"Connection": "close"})
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
        return refusal(431, f"at most {MOST_HEADER_BYTES} bytes of headers")
    if len(scope["raw_path"]) > MOST_PATH or len(scope["query_string"]) > MOST_QUERY:
        return refusal(414, f"at most {MOST_PATH} bytes of path and {MOST_QUERY} of query")
    return None
