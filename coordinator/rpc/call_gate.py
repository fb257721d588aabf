"""The first that every gRPC call meets: how often its address asks, and how slowly its body comes.

gRPC reads a request before it asks us, for as long as the caller likes; so each method of one
request is served as one that takes a stream, of which the first message is awaited here. An answer
that has no end takes one of few places, for all calls together have a bound that reports need.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from coordinator.limits import BODY_SECONDS, CallLimits, address_of

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # grpc's own class takes no types
    Context = grpc.aio.ServicerContext[Any, Any]


class CallGate(grpc.aio.ServerInterceptor):
    """Refuses with RESOURCE_EXHAUSTED and when to come again, or DEADLINE_EXCEEDED."""

    def __init__(
        self, limits: CallLimits, now: Callable[[], float], body_seconds: float = BODY_SECONDS
    ) -> None:
        """`now` tells seconds of any clock."""
        self._limits = limits
        self._now = now
        self._body_seconds = body_seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method.rpartition("/")[2]
        if handler.request_streaming or handler.response_streaming:
            answer = handler.stream_stream or handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(answer, method, asked_once=not handler.request_streaming),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.stream_unary_rpc_method_handler(
            self._answering(handler.unary_unary, method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _answering(self, answer: Any, method: str) -> Any:
        async def guarded(_requests: object, context: Context) -> Any:
            return await answer(await self._body(context, method), context)

        return guarded

    def _streaming(self, answer: Any, method: str, asked_once: bool) -> Any:
        async def guarded(requests: object, context: Context) -> None:
            address = address_of(context.peer())
            if not asked_once:
                await self._take(context, address, method)
            if not self._limits.open_stream(address):
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, "too many open streams; close some"
                )
            try:
                asked = await self._body(context, method) if asked_once else requests
                told = answer(asked, context)
                if inspect.isawaitable(told):  # it writes by itself, as gRPC's own Watch does
                    await told
                    return
                async for message in told:
                    await context.write(message)
            finally:
                self._limits.stream_ended(address)

        return guarded

    async def _take(self, context: Context, address: str, method: str) -> None:
        """End a call of an address that calls too often."""
        wait = self._limits.take(address, method, self._now())
        if wait:
            context.set_trailing_metadata(pushback(wait))
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"too many calls from your address; try again in {math.ceil(wait)} s",
            )

    async def _body(self, context: Context, method: str) -> Any:
        address = address_of(context.peer())
        await self._take(context, address, method)
        if not self._limits.await_body(address):
            context.set_trailing_metadata(pushback(self._body_seconds))
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many slow requests from your address"
            )
        try:
            request = await asyncio.wait_for(context.read(), self._body_seconds)
        except asyncio.TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the request was not here within {self._body_seconds:.0f} s",
            )
        finally:
            self._limits.body_came(address)
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there is no request")
        return request


def pushback(seconds: float) -> tuple[tuple[str, str]]:
    """gRPC's name for how long to stay away."""
    return (("grpc-retry-pushback-ms", str(math.ceil(seconds * 1000))),)
