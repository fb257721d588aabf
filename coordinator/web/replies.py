"""From prepared bytes to an HTTP response: entity tags, compression, errors as one line."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse, Response

from coordinator.web.answers import Answer

JSON = "application/json"
REVALIDATE = "no-cache"
"""Browsers may keep it, and ask each time whether it still holds."""


def reply(
    request: Request,
    answer: Answer,
    media_type: str = JSON,
    cache_control: str = REVALIDATE,
    status: int = 200,
) -> Response:
    """`answer` as this client wants it: not at all if it has it, compressed if it can read that."""
    headers = {"ETag": answer.etag, "Cache-Control": cache_control, "Vary": "Accept-Encoding"}
    if answer.etag in _listed(request, "if-none-match"):
        return Response(status_code=304, headers=headers)
    body = answer.body
    if answer.compressed is not None and "gzip" in _listed(request, "accept-encoding"):
        body = answer.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers, media_type)


def refusal(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    """An error as every client gets it: one line that says what to do."""
    return JSONResponse({"error": " ".join(line.split())}, status, headers)


def _listed(request: Request, header: str) -> set[str]:
    """The parts of a header that is a list, without weights and marks of weakness."""
    parts = request.headers.get(header, "").split(",")
    return {part.partition(";")[0].strip().removeprefix("W/") for part in parts}
