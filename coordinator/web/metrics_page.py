"""`/metrics`: the page that Prometheus reads."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from fastapi import APIRouter
from starlette.responses import Response

from coordinator.operators.metrics import CONTENT_TYPE, Metrics

FRESH_SECONDS = 1.0
"""Whoever asks sooner gets the page of before: strangers may ask, too."""


def metrics_page(metrics: Metrics, worker: Executor) -> APIRouter:
    """The route; the figures are read by `worker`, the service's one thread."""
    router = APIRouter()
    turn = asyncio.Lock()
    page, made_at = b"", float("-inf")

    @router.get("/metrics", include_in_schema=False)
    async def metrics_now() -> Response:
        nonlocal page, made_at
        loop = asyncio.get_running_loop()
        async with turn:
            if loop.time() - made_at >= FRESH_SECONDS:
                page = await loop.run_in_executor(worker, metrics.exposition)
                made_at = loop.time()
        return Response(page, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return router
