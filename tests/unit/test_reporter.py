"""Reports reach the coordinator once and in order, however long it was away."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import grpc
import pytest

from peer.coordinator_client import (
    KEPT_ROUNDS,
    ROUNDS_A_REPORT,
    VALIDATIONS_A_REPORT,
    Contact,
    CoordinatorClient,
    CoordinatorUnreachable,
    Reporter,
)
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity, open_envelope
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, swarm_pb2

pytestmark = pytest.mark.anyio

IDENTITY = PeerIdentity.generate()
Context = grpc.aio.ServicerContext[Any, Any]


class FakeCoordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Takes reports, or answers them with `status` if that is set."""

    def __init__(self) -> None:
        self.taken: list[coordinator_pb2.ProgressReport] = []
        self.refused = 0
        self.status: grpc.StatusCode | None = None
        self.detail = "not now\nand a second line"
        self.answering = anyio.Event()
        self.answering.set()
        self.asked = anyio.Event()

    async def Report(  # noqa: N802  named by the proto
        self, request: swarm_pb2.Envelope, context: Context
    ) -> coordinator_pb2.ReportReply:
        self.asked.set()
        await self.answering.wait()
        if self.status is not None:
            self.refused += 1
            await context.abort(self.status, self.detail)
        signer, payload = open_envelope(request, "report")
        report = coordinator_pb2.ProgressReport.FromString(payload)
        assert signer == report.peer_id
        self.taken.append(report)
        return coordinator_pb2.ReportReply(accepted_sequence=report.sequence)

    async def GetRun(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        assert self.status is not None
        await context.abort(self.status, self.detail)
        raise AssertionError("abort always raises")

    async def _not_asked(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    RegisterRun = ListRuns = GetProgress = _not_asked

    @property
    def rounds(self) -> list[int]:
        return [outcome.round for report in self.taken for outcome in report.rounds]

    @property
    def validations(self) -> list[int]:
        return [validation.round for report in self.taken for validation in report.validations]


@asynccontextmanager
async def listening(fake: FakeCoordinator, port: int = 0) -> AsyncIterator[int]:
    """The fake on a loopback port, with real gRPC."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(fake, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


@asynccontextmanager
async def reporting(port: int) -> AsyncIterator[Reporter]:
    client = CoordinatorClient(f"127.0.0.1:{port}")

    def snapshot() -> coordinator_pb2.ProgressReport:
        return coordinator_pb2.ProgressReport(run_id="tiny", peer_id=IDENTITY.peer_id)

    try:
        yield Reporter(client, IDENTITY, snapshot)
    finally:
        await client.close()


@asynccontextmanager
async def both() -> AsyncIterator[tuple[FakeCoordinator, Reporter]]:
    fake = FakeCoordinator()
    async with listening(fake) as port, reporting(port) as reporter:
        yield fake, reporter


def add(reporter: Reporter, *rounds: int) -> None:
    for round_ in rounds:
        reporter.add_round(coordinator_pb2.RoundOutcome(round=round_))


async def delivered(reporter: Reporter) -> None:
    """Send until the coordinator was reached; gRPC reconnects in its own time."""
    with anyio.fail_after(30):
        await reporter.send()
        while not reporter.contact.reachable:
            await reporter.send()


async def test_what_happened_is_reported_once() -> None:
    async with both() as (fake, reporter):
        add(reporter, 1, 2)
        reporter.add_validation(coordinator_pb2.Validation(round=2, loss=1.5))
        await reporter.send()
        await reporter.send()
        assert len(fake.taken) == 2
        assert fake.rounds == [1, 2]
        assert fake.validations == [2]
        assert reporter.contact.describe(0) == "reachable"


async def test_outcomes_are_kept_while_the_coordinator_is_away_and_come_in_order() -> None:
    fake = FakeCoordinator()
    async with listening(fake) as port:
        pass  # it has a port, and is gone
    async with reporting(port) as reporter:
        add(reporter, 1, 2)
        await reporter.send()
        add(reporter, 3)
        await reporter.send()
        assert not reporter.contact.reachable
        text = reporter.contact.describe(reporter.contact.since + 75.4)
        assert text.startswith("unreachable for 75 s (")
        assert text.endswith("; reports are kept")
        async with listening(fake, port):
            await delivered(reporter)
            add(reporter, 4)
            await reporter.send()
        assert fake.rounds == [1, 2, 3, 4]
        assert reporter.contact.describe(0) == "reachable"


async def test_being_away_counts_from_the_first_time() -> None:
    async with both() as (fake, reporter):
        fake.status = grpc.StatusCode.UNAVAILABLE
        await reporter.send()
        since = reporter.contact.since
        await reporter.send()
        assert reporter.contact == Contact(False, since, "not now")


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
async def test_a_coordinator_that_cannot_take_a_report_now_gets_it_later(
    status: grpc.StatusCode,
) -> None:
    """Restarted without its runs, overrun, or not the one that was meant."""
    async with both() as (fake, reporter):
        add(reporter, 1, 2)
        fake.status = status
        await reporter.send()
        assert fake.refused == 1
        assert fake.rounds == []
        fake.status = None
        await reporter.send()
        assert fake.rounds == [1, 2]


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNKNOWN,
    ],
)
async def test_a_refused_report_does_not_block_later_ones(
    status: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    async with both() as (fake, reporter):
        fake.status = status
        add(reporter, *range(ROUNDS_A_REPORT + 1))
        with caplog.at_level(logging.WARNING):
            await reporter.send()
        assert fake.refused == 2
        assert [it.getMessage() for it in caplog.records if it.name.startswith("peer")] == [
            "the coordinator refuses a report: not now"
        ], "said once, not every two seconds"
        assert reporter.contact.describe(0) == "reachable, but refuses reports: not now"
        fake.status = None
        add(reporter, 1000)
        await reporter.send()
        assert fake.rounds == [1000]
        assert reporter.contact.describe(0) == "reachable"


async def test_what_happens_while_a_report_is_under_way_is_not_lost() -> None:
    async with both() as (fake, reporter):
        fake.answering = anyio.Event()
        add(reporter, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.send)
            await fake.asked.wait()
            add(reporter, 2)
            tasks.start_soon(reporter.send)
            fake.answering.set()
        assert fake.rounds == [1, 2]


async def test_the_sequence_grows_within_a_daemon_and_across_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=lambda: 1000.0)
    monkeypatch.setattr("peer.coordinator_client.CLOCK", clock)
    fake = FakeCoordinator()
    async with listening(fake) as port:
        async with reporting(port) as reporter:
            for _ in range(3):  # within one millisecond
                await reporter.send()
        clock.now = lambda: 1001.0
        async with reporting(port) as reporter:
            await reporter.send()
    sequences = [report.sequence for report in fake.taken]
    assert sequences == [1_000_000, 1_000_001, 1_000_002, 1_001_000]
    assert fake.taken[0].written_at_ms == 1_000_000


async def test_many_outcomes_are_delivered_in_reports_of_a_bounded_size() -> None:
    async with both() as (fake, reporter):
        add(reporter, *range(1, 2 * ROUNDS_A_REPORT + 2))
        for round_ in range(VALIDATIONS_A_REPORT + 1):
            reporter.add_validation(coordinator_pb2.Validation(round=round_))
        await reporter.send()
        assert [len(report.rounds) for report in fake.taken] == [
            ROUNDS_A_REPORT,
            ROUNDS_A_REPORT,
            1,
        ]
        assert fake.rounds == list(range(1, 2 * ROUNDS_A_REPORT + 2))
        assert fake.validations == list(range(VALIDATIONS_A_REPORT + 1))


async def test_after_days_the_oldest_outcomes_give_way_to_the_newest() -> None:
    async with both() as (fake, reporter):
        add(reporter, *range(KEPT_ROUNDS + 3))
        with anyio.fail_after(60):
            await reporter.send()
        assert fake.rounds == list(range(3, KEPT_ROUNDS + 3))


# ---- asking for a run --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (grpc.StatusCode.NOT_FOUND, Exit.UNKNOWN_RUN, "knows no run named 'tiny'"),
        (grpc.StatusCode.UNIMPLEMENTED, Exit.PROTOCOL_MISMATCH, "--coordinator"),
        (grpc.StatusCode.PERMISSION_DENIED, Exit.REFUSED, "refuses: not now"),
    ],
)
async def test_an_answer_that_is_no_run_says_what_to_do(
    status: grpc.StatusCode, code: Exit, advice: str
) -> None:
    fake = FakeCoordinator()
    fake.status = status
    async with listening(fake) as port:
        client = CoordinatorClient(f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=advice) as caught:
            await client.run("tiny")
        await client.close()
    assert caught.value.code == code
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_no_answer_says_where_nobody_answered() -> None:
    async with listening(FakeCoordinator()) as port:
        pass
    client = CoordinatorClient(f"127.0.0.1:{port}")
    with pytest.raises(CoordinatorUnreachable, match=f"no coordinator answers at 127.0.0.1:{port}"):
        await client.run("tiny")
    await client.close()
