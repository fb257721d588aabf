"""The HTTP interface: what it consists of, and what its errors look like."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from coordinator import domain
from coordinator.web.answers import BusyError
from coordinator.web.api import Questions, api
from coordinator.web.description import describe
from coordinator.web.guard import Guard
from coordinator.web.pages import Assets, pages
from coordinator.web.replies import refusal
from swarmpb.version import SOFTWARE_VERSION

RETRY_SECONDS = "5"


def build_app(questions: Questions, *more: APIRouter) -> ASGIApp:
    """Everything that `coordinator serve` answers over HTTP; `more`: what is not for spectators."""
    app = FastAPI(
        title="Murmuration coordinator",
        version=SOFTWARE_VERSION,
        description="What the dashboard shows, as JSON. Reading only.",
        docs_url=None,  # those pages load their scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # served by `api`, made once
        redirect_slashes=False,
    )
    app.include_router(api(questions, lambda: describe(app)))
    for router in more:
        app.include_router(router)
    app.include_router(pages(Assets()))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(domain.RefusedError, _refused)
    app.add_exception_handler(BusyError, _busy)
    return Guard(app)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for these only
    faults = [f"{'.'.join(map(str, it['loc'][1:]))}: {it['msg']}" for it in error.errors()]
    return refusal(422, "; ".join(faults)[:500])


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for these only
    words = {404: "there is nothing here; / has the list of runs"}
    line = words.get(error.status_code, str(error.detail))
    return refusal(error.status_code, line, dict(error.headers or {}))


async def _refused(_: Request, error: Exception) -> Response:
    unknown = isinstance(error, domain.UnknownRunError | domain.UnknownPeerError)
    unavailable = isinstance(error, domain.StorageError)
    return refusal(404 if unknown else 503 if unavailable else 400, str(error))


async def _busy(_: Request, error: Exception) -> Response:
    return refusal(503, str(error), {"Retry-After": RETRY_SECONDS})
