"""The peer's side of its coordinator: get the run, report progress, do without it for hours."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import grpc

from peer.run_metadata import RunMetadata, check_clock, check_published
from peer.swarm.clock import CLOCK
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
REPORT_SECONDS = 2.0
ROUNDS_A_REPORT = 256
KEPT_ROUNDS = 20_000
"""Outcomes kept while the coordinator is away: about a day of 5-second rounds."""
KEPT_VALIDATIONS = 1000
VALIDATIONS_A_REPORT = 32
_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNKNOWN,  # it failed over this report
}
"""The same report would be refused for ever; after anything else it is kept and sent again."""


class CoordinatorUnreachable(Exception):
    """No coordinator answers; says at which address."""


class CoordinatorClient:
    """Calls to one coordinator, each with a deadline."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 5000))
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._stub: coordinator_pb2_grpc.CoordinatorAsyncStub = (
            coordinator_pb2_grpc.CoordinatorStub(self._channel)
        )

    async def run(self, run_id: str) -> RunMetadata:
        """The metadata of a run, checked.

        Raises `CoordinatorUnreachable`, or `UserError`: UNKNOWN_RUN, PROTOCOL_MISMATCH,
        CLOCK_OFF, BAD_SPEC, REFUSED.
        """
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        asked = CLOCK.now()
        try:
            info = await self._stub.GetRun(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, run_id) from error
        answered = CLOCK.now()
        # the version first: what another one means by its fields is not known
        published = check_published(info, run_id)
        check_clock(info.server_time_ms, asked, answered)
        return published

    async def report(
        self, identity: PeerIdentity, report: coordinator_pb2.ProgressReport
    ) -> coordinator_pb2.ReportReply:
        """Hand over a progress report; raises `grpc.aio.AioRpcError`."""
        envelope = identity.seal("report", report.SerializeToString())
        return await self._stub.Report(envelope, timeout=CALL_SECONDS)

    async def close(self) -> None:
        await self._channel.close()

    def _explain(self, error: grpc.aio.AioRpcError, run_id: str) -> Exception:
        code, detail = error.code(), error.details() or ""
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return CoordinatorUnreachable(f"no coordinator answers at {self.address}")
        if code is grpc.StatusCode.NOT_FOUND:
            return UserError(
                Exit.UNKNOWN_RUN,
                f"the coordinator at {self.address} knows no run named {run_id!r}; "
                f"`coordinator run list --coordinator {self.address}` shows those it knows",
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return UserError(
                Exit.PROTOCOL_MISMATCH,
                f"what answers at {self.address} is no coordinator of this version: update it, "
                "or name another with --coordinator",
            )
        return UserError(
            Exit.REFUSED, f"the coordinator at {self.address} refuses: {_first_line(detail)}"
        )


@dataclass(frozen=True)
class Contact:
    """How it stands with the coordinator, for the status line."""

    reachable: bool
    since: float
    """Unix seconds."""
    detail: str = ""
    """Why it cannot be reached, or why it refuses reports; empty if it takes them."""

    def describe(self, now: float) -> str:
        if not self.reachable:
            why = f" ({self.detail})" if self.detail else ""
            return f"unreachable for {now - self.since:.0f} s{why}; reports are kept"
        return f"reachable, but refuses reports: {self.detail}" if self.detail else "reachable"


class Reporter:
    """Reports progress every few seconds and keeps what could not be delivered."""

    def __init__(
        self,
        client: CoordinatorClient,
        identity: PeerIdentity,
        snapshot: Callable[[], coordinator_pb2.ProgressReport],
    ) -> None:
        self._client = client
        self._identity = identity
        self._snapshot = snapshot
        self._rounds: deque[coordinator_pb2.RoundOutcome] = deque(maxlen=KEPT_ROUNDS)
        self._validations: deque[coordinator_pb2.Validation] = deque(maxlen=KEPT_VALIDATIONS)
        self._sequence = 0
        self._sending = anyio.Lock()
        self.contact = Contact(True, CLOCK.now())

    def add_round(self, outcome: coordinator_pb2.RoundOutcome) -> None:
        """Report an ended attempt, once."""
        self._rounds.append(outcome)

    def add_validation(self, validation: coordinator_pb2.Validation) -> None:
        """Report a validation loss, once."""
        self._validations.append(validation)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.send()
            await anyio.sleep(REPORT_SECONDS)

    async def send(self) -> None:
        """Deliver what there is; what does not arrive stays for the next time."""
        async with self._sending:
            more = True
            while more:
                more = await self._send_one() and bool(self._rounds or self._validations)

    async def _send_one(self) -> bool:
        report = self._snapshot()
        # milliseconds: still growing after this peer has lost its state folder
        self._sequence = max(self._sequence + 1, int(CLOCK.now() * 1000))
        report.sequence = self._sequence
        report.written_at_ms = int(CLOCK.now() * 1000)
        report.rounds.extend(list(self._rounds)[:ROUNDS_A_REPORT])
        report.validations.extend(list(self._validations)[:VALIDATIONS_A_REPORT])
        try:
            await self._client.report(self._identity, report)
        except grpc.aio.AioRpcError as error:
            detail = _first_line(error.details() or error.code().name)
            if error.code() not in _REFUSED:
                self._note(False, detail)
                return False
            if detail != self.contact.detail:
                log.warning("the coordinator refuses a report: %s", detail)
            self._note(True, detail)
        else:
            self._note(True, "")
        for _ in report.rounds:
            self._rounds.popleft()
        for _ in report.validations:
            self._validations.popleft()
        return True

    def _note(self, reachable: bool, detail: str) -> None:
        same = reachable == self.contact.reachable
        self.contact = Contact(reachable, self.contact.since if same else CLOCK.now(), detail)


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")[:100]
