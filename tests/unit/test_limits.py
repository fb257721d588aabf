"""How often strangers may ask, in numbers and over a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from coordinator.limits import (
    BODIES_AWAITED,
    CALLS_OF_ADDRESS,
    OF_ADDRESS,
    STREAMS,
    STREAMS_OF_ADDRESS,
    Buckets,
    CallLimits,
    Rate,
    address_of,
)
from coordinator.operators.health import Health
from coordinator.rpc.call_gate import CallGate
from coordinator.rpc.servicer import MAX_CALLS
from coordinator.web.connections import MOST_PER_ADDRESS, crowded
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc

pytestmark = pytest.mark.anyio


@given(
    st.floats(0.1, 100), st.integers(1, 50), st.lists(st.floats(0, 10), min_size=1, max_size=200)
)
def test_a_bucket_never_gives_more_than_its_rate(
    per_second: float, at_once: int, pauses: list[float]
) -> None:
    bucket, now, granted = Buckets(Rate(per_second, at_once)), 0.0, 0
    for pause in pauses:
        now += pause
        granted += bucket.take("anna", now) == 0
    assert granted <= at_once + per_second * now + 1e-6


def test_who_waits_as_long_as_told_is_served() -> None:
    bucket = Buckets(Rate(per_second=0.5, at_once=2))
    assert [bucket.take("anna", 0.0) for _ in range(3)] == [0, 0, 2]
    assert bucket.take("bert", 0.0) == 0, "another's haste is not his"
    assert bucket.take("anna", 2.0) == 0


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    bucket = Buckets(Rate(per_second=1, at_once=1))
    assert bucket.take("anna", 100.0) == 0
    assert bucket.take("anna", 0.0) > 0
    assert bucket.take("anna", 100.5) > 0


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    bucket = Buckets(Rate(1, 1), most=100)
    for number in range(10_000):
        bucket.take(str(number), 0.0)
    assert len(bucket) == 100


def test_a_thousand_peers_behind_one_address_join_report_and_come_back() -> None:
    limits, now = CallLimits(), 0.0
    for method in ("GetRun", "Admit"):
        assert not any(limits.take("10.0.0.7", method, now) for _ in range(1000))
    for _ in range(300):  # ten minutes of reports
        now += 2.0
        assert not any(limits.take("10.0.0.7", "Report", now) for _ in range(1000))
    assert limits.take("10.0.0.7", "Report", now) == 0
    assert CALLS_OF_ADDRESS.at_once < 10**4


def test_dear_calls_have_limits_of_their_own() -> None:
    for method, rate in OF_ADDRESS.items():
        limits = CallLimits()
        granted = sum(limits.take("10.0.0.7", method, 0.0) == 0 for _ in range(2000))
        assert granted == rate.at_once, method


@pytest.mark.parametrize(
    ("caller", "address"),
    [
        ("ipv4:127.0.0.1:40000", ""),
        ("ipv6:%5B::1%5D:40000", ""),
        ("ipv6:%5B::ffff:127.0.0.1%5D:40000", ""),
        ("unix:/run/coordinator.sock", ""),
        ("ipv4:10.0.0.7:40000", "10.0.0.7"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:40000", "10.0.0.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:40000", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:ffff::%5D:1", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_caller_is_counted_by_what_it_cannot_change_at_will(caller: str, address: str) -> None:
    assert address_of(caller) == address


# ---- over gRPC -------------------------------------------------------------------------


class Strangers(CallLimits):
    """Limits for which this machine is no other than the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.given_back = asyncio.Event()
        """Set once a stream has ended."""

    def take(self, address: str, method: str, now: float) -> float:
        return super().take(address or "stranger", method, now)

    def await_body(self, address: str) -> bool:
        return super().await_body(address or "stranger")

    def body_came(self, address: str) -> None:
        super().body_came(address or "stranger")

    def open_stream(self, address: str) -> bool:
        return super().open_stream(address or "stranger")

    def stream_ended(self, address: str) -> None:
        super().stream_ended(address or "stranger")
        self.given_back.set()


class Runs(coordinator_pb2_grpc.CoordinatorServicer):
    async def ListRuns(self, request: Any, context: Any) -> Any:  # noqa: N802
        return coordinator_pb2.ListRunsReply()

    GetRun = Report = Admit = RestoreRun = GetProgress = GetReceipts = None  # type: ignore[assignment]  # not asked


@asynccontextmanager
async def guarded(limits: CallLimits, body_seconds: float) -> AsyncIterator[grpc.aio.Channel]:
    gate = CallGate(limits, lambda: 0.0, body_seconds)
    server = grpc.aio.server(interceptors=[gate])
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Runs(), server)
    health = Health(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await health.stop()
        await server.stop(0)


async def test_too_many_calls_are_refused_with_when_to_come_again() -> None:
    async with guarded(Strangers(), 10.0) as channel:
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        for _ in range(int(OF_ADDRESS["ListRuns"].at_once)):
            await stub.ListRuns(coordinator_pb2.ListRunsRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="try again in 1 s") as refused:
            await stub.ListRuns(coordinator_pb2.ListRunsRequest())
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"] == "50"


async def test_a_request_that_never_comes_is_given_up() -> None:
    limits = Strangers()
    async with guarded(limits, 0.2) as channel:
        # on the wire a call of one request is a stream of one
        slow: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
            "/swarmpb.v1.Coordinator/ListRuns"
        )
        with pytest.raises(grpc.aio.AioRpcError, match="not here within") as refused:
            await slow()
        assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        for _ in range(BODIES_AWAITED):
            assert limits.await_body("stranger")
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="slow requests") as refused:
            await stub.ListRuns(coordinator_pb2.ListRunsRequest())
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        limits.body_came("stranger")
        assert await stub.ListRuns(coordinator_pb2.ListRunsRequest()) is not None


def test_streams_held_open_from_everywhere_leave_room_for_reports() -> None:
    limits = CallLimits()
    addresses = [f"10.0.0.{number}" for number in range(100)]
    held = sum(limits.open_stream(it) for it in addresses for _ in range(STREAMS_OF_ADDRESS + 1))
    assert held == STREAMS < MAX_CALLS / 4
    assert limits.open_stream(""), "whoever works on this machine itself"
    limits.stream_ended(addresses[0])
    assert limits.open_stream("10.9.9.9")


async def test_nobody_takes_all_places_by_watching_and_a_watcher_that_goes_gives_its_back() -> None:
    limits = Strangers()
    async with guarded(limits, 10.0) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        watching = [watch(health_pb2.HealthCheckRequest()) for _ in range(STREAMS_OF_ADDRESS)]
        for call in watching:
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        for one_more in (watch(health_pb2.HealthCheckRequest()), ask(iter([request]))):
            with pytest.raises(grpc.aio.AioRpcError, match="too many open streams") as refused:
                await one_more.read()
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        await stub.ListRuns(coordinator_pb2.ListRunsRequest())
        watching[0].cancel()
        await limits.given_back.wait()
        assert (await ask(iter([request])).read()).HasField("list_services_response")
        for call in watching:
            call.cancel()


def test_addresses_of_one_household_count_as_one_over_http_too() -> None:
    one = [f"2001:db8:1:2::{number:x}" for number in range(MOST_PER_ADDRESS)]
    assert crowded("2001:db8:1:2:ffff::1", one) is not None
    assert crowded("2001:db8:1:3::1", one) is None
    assert crowded("::1", ["::1"] * MOST_PER_ADDRESS) is None, "a reverse proxy"
