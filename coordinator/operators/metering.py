"""Counts calls and requests as they pass, and says why reports are refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.domain import (
    Acknowledgement,
    RefusedError,
    StorageError,
)
from coordinator.happenings.happening import Allowance
from coordinator.operators.metrics import Metrics
from swarmpb.v1 import swarm_pb2

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # grpc's own class takes no types

log = logging.getLogger(__name__)

REPORT = "/swarmpb.v1.Coordinator/Report"
REFUSALS_LOGGED = 20
"""Lines about refused reports in a minute; strangers choose how many there are."""
MINUTE = 60.0

Answer = Acknowledgement | RefusedError
Take = Callable[[Sequence[swarm_pb2.Envelope]], Sequence[Answer]]


def result_of(answer: object) -> str:
    """What became of a report, in a word: `taken`, or the refusal's name, as `unknown run`."""
    if not isinstance(answer, RefusedError):
        return "taken"
    name = type(answer).__name__.removesuffix("Error")
    return "".join(f" {it.lower()}" if it.isupper() else it for it in name).strip()


class TakeMeter:
    """Takes batches of reports as `take` does, counts them, and logs a few refusals a minute."""

    def __init__(
        self, take: Take, metrics: Metrics, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`now`: seconds on a clock that nobody sets."""
        self._take = take
        self._metrics = metrics
        self._now = now
        self._allowance = Allowance(REFUSALS_LOGGED, MINUTE)
        self.storing = True
        """Whether the store took what was written to it last."""

    def __call__(self, envelopes: Sequence[swarm_pb2.Envelope]) -> Sequence[Answer]:
        answers = self._take(envelopes)
        if any(isinstance(answer, Acknowledgement) for answer in answers):
            self.storing = True
        elif any(isinstance(answer, StorageError) for answer in answers):
            self.storing = False
        self._metrics.batch.observe(len(envelopes))
        for answer in answers:
            self._metrics.reports.labels(result_of(answer)).inc()
            if isinstance(answer, RefusedError):
                self._say(answer)
        return answers

    def _say(self, refusal: RefusedError) -> None:
        now = self._now()
        if self._allowance.take(now):
            log.warning("%s", refusal)
        more = self._allowance.collect(now)
        if more:
            log.warning("%d more reports were refused in the minutes before", more)


class CallMeter(grpc.aio.ServerInterceptor):
    """Counts gRPC calls by method and status, and takes the time of reports."""

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.perf_counter) -> None:
        self._metrics = metrics
        self._now = now

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:  # strangers choose the names of methods that are not there
            self._metrics.calls.labels("unknown", grpc.StatusCode.UNIMPLEMENTED.name).inc()
            return None
        if handler.unary_unary is None:
            return handler
        return self._metered(handler, handler_call_details.method)

    def _metered(self, handler: Handler, method: str) -> Handler:
        answer: Any = handler.unary_unary  # its types are those of servers with threads
        name = method.rpartition("/")[2]

        async def metered(request: Any, context: Any) -> Any:
            began = self._now()
            code = grpc.StatusCode.OK
            try:
                return await answer(request, context)
            except BaseException:  # goes on below: whatever ends a call has a status
                told = context.code()
                code = told if isinstance(told, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
                raise
            finally:
                self._metrics.calls.labels(name, code.name).inc()
                if method == REPORT:
                    self._metrics.report_seconds.observe(self._now() - began)

        return grpc.unary_unary_rpc_method_handler(
            metered,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class HttpMeter:
    """An ASGI application around another that counts what is answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.http.labels(str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
