"""`/healthz`: whether this coordinator can do its work, for load balancers and supervisors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from coordinator.web.replies import refusal

FRESH_SECONDS = 1.0
"""Whoever asks sooner gets the answer of before: strangers may ask, too."""
PATIENCE_SECONDS = 5.0
"""How long the service's thread may take to get to this question."""


class Health:
    """Asks at most once a second, whoever wants to know."""

    def __init__(self, trouble: Callable[[], str | None], worker: Executor) -> None:
        """`trouble`, called in the service's one thread: a line, or None if there is none."""
        self._trouble = trouble
        self._worker = worker
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[str | None] | None = None

    async def trouble(self) -> str | None:
        """What is wrong, in a line; None: nothing."""
        loop = asyncio.get_running_loop()
        pending = self._asking is not None and not self._asking.done()
        if not pending and loop.time() - self._asked_at >= FRESH_SECONDS:
            self._asked_at = loop.time()
            self._asking = loop.run_in_executor(self._worker, self._trouble)
        assert self._asking is not None  # noqa: S101  the first time is long after -inf
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking), PATIENCE_SECONDS)
        except asyncio.TimeoutError:
            return f"the service has not answered for {PATIENCE_SECONDS:.0f} s"


def health_page(trouble: Callable[[], str | None], worker: Executor) -> APIRouter:
    """The route; `trouble` as in `Health`."""
    router = APIRouter(include_in_schema=False)
    health = Health(trouble, worker)

    @router.get("/healthz")
    async def healthz() -> Response:
        wrong = await health.trouble()
        if wrong is not None:
            return refusal(503, wrong, {"Cache-Control": "no-store"})
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})

    return router
