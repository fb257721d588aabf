"""What operators see: metrics of what was done, health, and why reports were refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from coordinator.domain import Acknowledgement, InvalidReportError, RefusedError, StorageError
from coordinator.membership.admission import Admissions
from coordinator.membership.authority import Authority
from coordinator.operators.health import SERVICES, Health
from coordinator.operators.metering import REFUSALS_LOGGED, TakeMeter, result_of
from coordinator.operators.metrics import Metrics
from coordinator.operators.observing import Observatory
from coordinator.registration import sign
from coordinator.rpc.desk import Desk
from coordinator.rpc.servicer import CoordinatorServicer
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2_grpc, swarm_pb2
from tests.reporting import identity, signed_report

Status = health_pb2.HealthCheckResponse
NOW = 1_700_000_000.0


@dataclass
class Stage:
    """A coordinator with the run `demo` behind real gRPC."""

    service: CoordinatorService
    observatory: Observatory
    health: Health
    server: grpc.aio.Server
    channel: grpc.aio.Channel

    def figure(self, name: str, **labels: str) -> float | None:
        return self.observatory.metrics.registry.get_sample_value(name, labels)

    async def calls_ended(self, count: int) -> None:
        """A refusal reaches its caller before the call has ended on the server's side."""
        with anyio.fail_after(10):
            while self.figure("murmuration_report_seconds_count") != count:  # noqa: ASYNC110  a metric has no event
                await asyncio.sleep(0.005)

    async def checked(self, service: str = "") -> int:
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as held:
        store = Store.open(folder / "coordinator.sqlite")
        held.callback(store.close)
        worker = held.enter_context(ThreadPoolExecutor(1))
        key = SigningKey.load_or_create(folder / "authority.key")
        authority = Authority(key, store.membership, lambda: NOW)
        service = CoordinatorService(store, now=lambda: NOW)
        service.register(sign(preset("demo"), SigningKey.load_or_create(folder / "owner.key")))
        observatory = Observatory(service, worker, lambda: NOW)
        server = grpc.aio.server(interceptors=[observatory.calls])
        desk, admissions = (
            Desk(service, authority, worker, []),
            Admissions(service, authority, store, lambda: NOW),
        )
        servicer = CoordinatorServicer(desk, admissions, cast(Any, None), observatory.reports)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(servicer, server)
        health = Health(server)
        port = server.add_insecure_port("127.0.0.1:0")
        held.push_async_callback(server.stop, 0)
        await server.start()
        channel = await held.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Stage(service, observatory, health, server, channel)


def on_stage(folder: Path, play: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with stage(folder) as it:
            await play(it)

    asyncio.run(whole())


def test_reports_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    async def play(it: Stage) -> None:
        stub = coordinator_pb2_grpc.CoordinatorStub(it.channel)
        await stub.Report(signed_report(identity(), name="anna", tokens_per_second=250.0))
        for refused in (
            signed_report(identity(), run_id="nope"),
            swarm_pb2.Envelope(payload=b"forged"),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Report(refused)
        await it.calls_ended(3)
        results = [
            it.figure("murmuration_reports_total", result=result)
            for result in ("taken", "unknown run", "forged report")
        ]
        assert results == [1.0, 1.0, 1.0]
        calls = [
            it.figure("murmuration_grpc_calls_total", method="Report", code=code)
            for code in ("OK", "NOT_FOUND", "UNAUTHENTICATED")
        ]
        assert calls == [1.0, 1.0, 1.0]
        assert it.figure("murmuration_report_seconds_count") == 3.0
        assert it.figure("murmuration_report_batch_size_sum") == 3.0
        assert it.figure("murmuration_run_peers_live", run_id="demo") == 1.0
        assert it.figure("murmuration_run_tokens_per_second", run_id="demo") == 250.0
        assert it.figure("murmuration_events_total", run_id="demo", kind="joined") == 1.0
        assert it.figure("murmuration_run_validation_loss", run_id="demo") is None

    on_stage(tmp_path, play)


def test_a_stranger_cannot_make_up_labels(tmp_path: Path) -> None:
    async def play(it: Stage) -> None:
        for name in ("One", "Two"):
            call: Any = it.channel.unary_unary(f"/swarmpb.v1.Coordinator/{name}")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"")
        code = grpc.StatusCode.UNIMPLEMENTED.name
        assert it.figure("murmuration_grpc_calls_total", method="unknown", code=code) == 2.0

    on_stage(tmp_path, play)


def test_health_follows_the_store_and_ends_with_the_coordinator(tmp_path: Path) -> None:
    async def play(it: Stage) -> None:
        told = [
            (True, Status.SERVING),
            (False, Status.NOT_SERVING),
            (True, Status.SERVING),
        ]
        for storing, status in told:
            await it.health.tell(storing)
            assert [await it.checked(name) for name in ("", *SERVICES)] == [status] * 3
        await it.health.stop()
        await it.health.tell(False)
        await it.health.tell(True)
        assert await it.checked() == Status.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await it.checked("somebody.else")

    on_stage(tmp_path, play)


def test_reflection_lists_our_services_for_grpcurl(tmp_path: Path) -> None:
    async def play(it: Stage) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(it.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
        (answer,) = answers
        assert {
            "swarmpb.v1.Coordinator",
            "swarmpb.v1.Admin",
            "grpc.health.v1.Health",
        } <= {service.name for service in answer.list_services_response.service}

    on_stage(tmp_path, play)


# ---- the meter of reports, without gRPC ------------------------------------------------


class Taker:
    """Answers every report of a batch alike."""

    def __init__(self) -> None:
        self.answer: Acknowledgement | RefusedError = Acknowledgement(1, 0)

    def take(
        self, envelopes: Sequence[swarm_pb2.Envelope]
    ) -> Sequence[Acknowledgement | RefusedError]:
        return [self.answer] * len(envelopes)


def test_a_store_that_takes_nothing_is_noticed_and_so_is_its_recovery() -> None:
    taker = Taker()
    meter = TakeMeter(taker.take, Metrics())
    for answer, storing in (
        (Acknowledgement(1, 0), True),
        (StorageError("the disk is full"), False),
        (InvalidReportError("nonsense tells nothing of the disk"), False),
        (Acknowledgement(2, 0), True),
    ):
        taker.answer = answer
        meter([swarm_pb2.Envelope()])
        assert meter.storing is storing


def test_a_flood_of_refused_reports_is_some_lines_and_a_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    taker, seconds = Taker(), 0.0
    taker.answer = InvalidReportError("report refused: round is 7; at most 6 is taken")
    meter = TakeMeter(taker.take, Metrics(), now=lambda: seconds)
    meter([swarm_pb2.Envelope()] * 1000)
    assert len(caplog.records) == REFUSALS_LOGGED
    assert "round is 7" in caplog.text
    seconds = 100.0
    meter([swarm_pb2.Envelope()])
    assert f"{1000 - REFUSALS_LOGGED} more reports were refused" in caplog.text


def test_results_are_words_from_a_list() -> None:
    assert result_of(Acknowledgement(1, 0)) == "taken"
    names = {result_of(kind("")) for kind in RefusedError.__subclasses__() if _takes_a_line(kind)}
    assert {"invalid report", "forged report", "run full", "storage"} <= names


def _takes_a_line(kind: type[RefusedError]) -> bool:
    return kind.__init__ is RefusedError.__init__
