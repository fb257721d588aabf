"""What happened reaches the coordinator once and in order, however long it was away."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import grpc
import pytest

from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.journal import Journal
from peer.members import Members
from peer.reporter import (
    LONGEST_PAUSE,
    REPORT_SECONDS,
    ROWS_A_REPORT,
    UNKNOWN_TRIES,
    VALIDATIONS_A_REPORT,
    Contact,
    Reporter,
    pause,
)
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity, open_envelope
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc, membership_pb2, swarm_pb2
from swarmpb.version import PROTOCOL_VERSION
from tests.standing import Throne
from tests.tiny import tiny_spec

pytestmark = pytest.mark.anyio

IDENTITY = PeerIdentity.generate()
Context = grpc.aio.ServicerContext[Any, Any]


SPEC = coordinator_pb2.SignedSpec(spec=b"the run's")
THRONE = Throne(spec_hash=tiny_spec().hash())


class FakeCoordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Takes reports, or answers them with `status` if that is set."""

    def __init__(self) -> None:
        self.taken: list[coordinator_pb2.ProgressReport] = []
        self.taken_row = 0
        self.sequence = 0
        self.poison: set[int] = set()
        """Rounds that it refuses for good, with all that comes with them."""
        self.restores: grpc.StatusCode | None = grpc.StatusCode.PERMISSION_DENIED
        self.refused = 0
        self.status: grpc.StatusCode | None = None
        self.detail = "not now\nand a second line"
        self.answering = anyio.Event()
        self.answering.set()
        self.asked = anyio.Event()
        self.wanted: list[bytes] = []
        """Attempts whose roster it asks for."""
        self.orders: membership_pb2.SignedOrders | None = None
        self.published: coordinator_pb2.RunInfo | None = None

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
        if self.poison & {it.round for it in report.rounds}:
            self.refused += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "it makes no sense")
        self.taken.append(report)
        if report.after_row <= self.taken_row:
            self.taken_row = max(self.taken_row, report.last_row)
        self.sequence = max(self.sequence, report.sequence)
        return coordinator_pb2.ReportReply(
            accepted_sequence=self.sequence,
            taken_row=self.taken_row,
            wanted_rosters=self.wanted,
            orders=self.orders,
        )

    async def Admit(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetReceipts(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def RestoreRun(  # noqa: N802
        self, request: coordinator_pb2.RestoreRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        assert request.spec == SPEC
        self.orders = request.orders if request.HasField("orders") else None
        if self.restores is not None:
            await context.abort(self.restores, "an owner that is not known here")
        self.status = None
        return coordinator_pb2.RunInfo()

    def lose_everything(self) -> None:
        """As after a new disk."""
        self.taken, self.taken_row, self.sequence = [], 0, 0
        self.status = grpc.StatusCode.NOT_FOUND

    async def GetRun(  # noqa: N802
        self, request: coordinator_pb2.GetRunRequest, context: Context
    ) -> coordinator_pb2.RunInfo:
        if self.published is not None:
            return self.published
        assert self.status is not None
        await context.abort(self.status, self.detail)
        raise AssertionError("abort always raises")

    async def _not_asked(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    ListRuns = GetProgress = _not_asked

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
async def reporting(port: int, folder: Path | None = None) -> AsyncIterator[Reporter]:
    """A reporter with a journal in `folder`; without one, its disk takes nothing."""
    client = CoordinatorClient(f"127.0.0.1:{port}")
    journal = Journal((folder or Path("/nowhere")) / "journal.sqlite")
    await journal.open()

    def snapshot() -> coordinator_pb2.ProgressReport:
        return coordinator_pb2.ProgressReport(run_id="tiny", peer_id=IDENTITY.peer_id)

    try:
        reporter = Reporter(
            client, IDENTITY, journal, SPEC, Members(THRONE.run, IDENTITY.peer_id, time.time)
        )
        reporter.snapshot = snapshot
        reporter.rosters = lambda attempts: [
            coordinator_pb2.RoundRoster(attempt=attempt) for attempt in attempts
        ]
        yield reporter
    finally:
        await journal.close()
        await client.close()


Both = tuple[FakeCoordinator, Reporter]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    fake = FakeCoordinator()
    async with listening(fake) as port, reporting(port, tmp_path) as reporter:
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


async def test_what_happened_is_reported_once(both: Both) -> None:
    fake, reporter = both
    add(reporter, 1, 2)
    reporter.add_validation(coordinator_pb2.Validation(round=2, loss=1.5))
    await reporter.send()
    await reporter.send()
    assert fake.rounds == [1, 2]
    assert fake.validations == [2]
    assert reporter.contact.describe(0) == "reachable"


async def test_outcomes_are_kept_while_the_coordinator_is_away_and_come_in_order(
    tmp_path: Path,
) -> None:
    fake = FakeCoordinator()
    async with listening(fake) as port:
        pass  # it has a port, and is gone
    async with reporting(port, tmp_path) as reporter:
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


async def test_being_away_counts_from_the_first_time(both: Both) -> None:
    fake, reporter = both
    fake.status = grpc.StatusCode.UNAVAILABLE
    await reporter.send()
    since = reporter.contact.since
    await reporter.send()
    assert reporter.contact == Contact(False, since, "not now")


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
async def test_a_coordinator_that_cannot_take_a_report_now_gets_it_later(
    both: Both, status: grpc.StatusCode
) -> None:
    """Restarted without its runs, overrun, or not the one that was meant."""
    fake, reporter = both
    add(reporter, 1, 2)
    fake.status = status
    await reporter.send()
    assert fake.refused == 1
    assert fake.rounds == []
    fake.status = None
    await reporter.send()
    assert fake.rounds == [1, 2]


async def test_what_is_refused_for_good_is_found_left_out_and_said_once(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    fake, reporter = both
    fake.poison = {7, 300}
    rounds = range(1, ROWS_A_REPORT + 100)
    add(reporter, *rounds)
    with caplog.at_level(logging.WARNING):
        await reporter.send()
    assert fake.rounds == [it for it in rounds if it not in fake.poison]
    assert fake.refused < 30, "halves, not one by one"
    said = [it.getMessage() for it in caplog.records]
    assert said.count("what happened in round 7 is not told: it is refused") == 1
    assert said.count("what happened in round 300 is not told: it is refused") == 1
    refused = fake.refused
    await reporter.send()
    assert fake.refused == refused, "not tried for ever"
    assert reporter.contact.describe(0) == "reachable"


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNKNOWN,
    ],
)
async def test_a_coordinator_that_refuses_everything_costs_no_row(
    both: Both, status: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    fake, reporter = both
    fake.status = status
    add(reporter, 1, 2, 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2 * UNKNOWN_TRIES):
            await reporter.send()
    assert [it.getMessage() for it in caplog.records if it.name.startswith("peer")] == [
        "the coordinator refuses a report: not now"
    ], "said once, not every two seconds"
    assert reporter.contact.describe(0) == "reachable, but refuses reports: not now"
    fake.status = None
    add(reporter, 4)
    await delivered(reporter)
    assert fake.rounds == [1, 2, 3, 4]
    assert reporter.contact.describe(0) == "reachable"


# ---- journals ----------------------------------------------------------------------------


async def test_a_killed_peer_tells_later_what_it_had_not_told_and_nothing_twice(
    tmp_path: Path,
) -> None:
    fake = FakeCoordinator()
    async with listening(fake) as port:
        async with reporting(port, tmp_path) as reporter:
            add(reporter, 1, 2)
            await reporter.send()
            fake.status = grpc.StatusCode.UNAVAILABLE
            add(reporter, 3)
            await reporter.send()
        fake.status = None
        async with reporting(port, tmp_path) as reporter:
            add(reporter, 4)
            await reporter.send()
    assert fake.rounds == [1, 2, 3, 4]


async def test_a_coordinator_that_lost_its_disk_gets_the_run_and_hears_everything_again(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    fake, reporter = both
    add(reporter, *range(1, 4))
    reporter.add_validation(coordinator_pb2.Validation(round=3))
    await reporter.send()
    fake.lose_everything()
    fake.restores = None
    add(reporter, 4)
    await reporter.send()
    assert (fake.rounds, fake.validations) == ([1, 2, 3, 4], [3])
    assert "it has it again, from this peer" in caplog.text
    # and one that only lost what it was told
    fake.taken, fake.taken_row = [], 0
    add(reporter, 5)
    await reporter.send()
    assert sorted(set(fake.rounds)) == [1, 2, 3, 4, 5]


async def test_a_coordinator_that_will_not_restore_the_run_is_told_of_it_once(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    fake, reporter = both
    add(reporter, 1)
    fake.lose_everything()
    for _ in range(3):
        await reporter.send()
    assert caplog.text.count("an owner that is not known here") == 1
    assert "refuses reports: an owner that is" in reporter.contact.describe(0)
    fake.status = None  # its operator mends it
    await reporter.send()
    assert fake.rounds == [1]


async def test_a_coordinator_that_forgets_the_run_again_and_again_is_not_besieged(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, reporter = both
    fake.lose_everything()
    fake.restores = None

    async def restored_in_vain(*_: Any) -> coordinator_pb2.RunInfo:
        return coordinator_pb2.RunInfo()

    monkeypatch.setattr(fake, "RestoreRun", restored_in_vain)
    with anyio.fail_after(30):
        await reporter.send()
    assert fake.refused <= 2


async def test_a_peer_whose_clock_was_set_back_goes_on_after_its_last_report(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, reporter = both
    fake.sequence = 10**15
    await reporter.send()
    await reporter.send()
    assert fake.taken[-1].sequence > 10**15


def test_peers_of_a_coordinator_that_comes_back_come_one_after_the_other() -> None:
    assert pause(0, False, 0.5) == REPORT_SECONDS
    assert 0 < pause(0, True, 0.0) < pause(0, True, 0.99) < REPORT_SECONDS
    longest = [pause(failures, True, 0.999) for failures in range(1, 2000)]
    assert longest == sorted(longest)
    assert longest[-1] <= LONGEST_PAUSE
    tries = [pause(9, False, chance / 1000) for chance in range(1000)]
    assert max(tries) - min(tries) > LONGEST_PAUSE / 2 - 1


async def test_what_happens_while_a_report_is_under_way_is_not_lost(both: Both) -> None:
    fake, reporter = both
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
    monkeypatch.setattr("peer.reporter.CLOCK", clock)
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


async def test_many_outcomes_are_delivered_in_reports_of_a_bounded_size(both: Both) -> None:
    fake, reporter = both
    add(reporter, *range(1, 2 * ROWS_A_REPORT + 2))
    for round_ in range(VALIDATIONS_A_REPORT + 1):
        reporter.add_validation(coordinator_pb2.Validation(round=round_))
    await reporter.send()
    assert max(len(report.rounds) + len(report.validations) for report in fake.taken) == (
        ROWS_A_REPORT
    )
    assert max(len(report.validations) for report in fake.taken) == VALIDATIONS_A_REPORT
    assert len(fake.taken) == 5  # the first asks what is known, the last ones have the losses
    assert fake.rounds == list(range(1, 2 * ROWS_A_REPORT + 2))
    assert fake.validations == list(range(VALIDATIONS_A_REPORT + 1))


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


# ---- rosters ---------------------------------------------------------------------------


def rosters_in(report: coordinator_pb2.ProgressReport) -> list[bytes]:
    return [roster.attempt for roster in report.rosters]


async def test_rosters_that_are_asked_for_come_with_the_next_report(both: Both) -> None:
    fake, reporter = both
    fake.wanted = [b"one", b"two"]
    await delivered(reporter)
    fake.wanted = []
    await delivered(reporter)
    await delivered(reporter)
    assert [rosters_in(it) for it in fake.taken] == [[], [b"one", b"two"], []]


async def test_rosters_that_were_not_taken_are_told_again(both: Both) -> None:
    fake, reporter = both
    fake.wanted = [b"one"]
    await delivered(reporter)
    fake.status = grpc.StatusCode.UNAVAILABLE
    await reporter.send()
    fake.status, fake.wanted = None, []
    await delivered(reporter)
    assert rosters_in(fake.taken[-1]) == [b"one"]


async def test_a_refused_report_is_not_refused_for_its_rosters_for_ever(both: Both) -> None:
    fake, reporter = both
    fake.wanted = [b"one"]
    await delivered(reporter)
    fake.status = grpc.StatusCode.INVALID_ARGUMENT
    await reporter.send()
    fake.status, fake.wanted = None, []
    await delivered(reporter)
    assert rosters_in(fake.taken[-1]) == []


# ---- what the coordinator says back ----------------------------------------------------


async def test_orders_in_an_answer_are_obeyed(both: Both) -> None:
    fake, reporter = both
    fake.orders = THRONE.orders(banned=(IDENTITY.peer_id,))
    await reporter.send()
    assert reporter._members.course.banned


async def test_orders_that_are_not_genuine_are_not_and_reports_go_on(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    fake, reporter = both
    fake.orders = Throne().orders(banned=(IDENTITY.peer_id,))
    add(reporter, 1)
    await reporter.send()
    assert reporter._members.orders is None
    assert "the coordinator's orders are not genuine" in caplog.text
    assert fake.rounds == [1]


async def test_a_peer_that_is_not_dealt_with_looks_for_the_signed_reason(both: Both) -> None:
    """A refusal alone is signed by nobody, and stops no peer."""
    fake, reporter = both
    fake.status, fake.detail = grpc.StatusCode.PERMISSION_DENIED, "this peer is banned"
    await reporter.send()
    assert reporter._members.orders is None
    assert "this peer is banned" in reporter.contact.describe(0)
    fake.published = published(THRONE.orders(banned=(IDENTITY.peer_id,)))
    await reporter.send()
    assert reporter._members.course.banned


async def test_a_coordinator_that_lost_the_run_gets_its_orders_back_too(both: Both) -> None:
    fake, reporter = both
    orders = THRONE.orders()
    reporter._members.take(orders)
    fake.lose_everything()
    fake.restores = None
    await reporter.send()
    assert fake.orders == orders


def published(orders: membership_pb2.SignedOrders) -> coordinator_pb2.RunInfo:
    spec = tiny_spec()
    return coordinator_pb2.RunInfo(
        run_id=spec.run_id,
        spec=coordinator_pb2.SignedSpec(
            spec=spec.canonical(),
            hash=spec.hash(),
            owner_key=THRONE.owner.public_key,
            signature=THRONE.owner.sign("spec", spec.hash()),
        ),
        protocol_version=PROTOCOL_VERSION,
        server_time_ms=int(time.time() * 1000),
        orders=orders,
    )
