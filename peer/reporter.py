"""A peer's reports to its coordinator: every few seconds, and after an outage all that it missed.

The peer keeps a journal, the coordinator says up to which row it has taken it: what it has not,
or has lost, is told from there on. Nothing is told twice for another reason than a lost answer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import grpc

from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable, first_line
from peer.journal import Journal, Row
from peer.members import Members
from peer.swarm.clock import CLOCK
from swarmpb.exits import UserError
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import coordinator_pb2, membership_pb2

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
LONGEST_REPORT_SECONDS = 30.0
"""A coordinator of a large swarm asks for less: within these bounds it is obeyed."""
ROWS_A_REPORT = 256
VALIDATIONS_A_REPORT = 32
MOST_WANTED = 16
LONGEST_PAUSE = 20.0
"""Between two tries to reach a coordinator that is away."""
UNKNOWN_TRIES = 3
"""A coordinator fails over a report, or dies with it; which of the two, only more tries tell."""
_WRITE_SECONDS = 0.5
_REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED}
"""The same report would be refused for ever; after anything else it is sent again."""
_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_MOST_SEQUENCE = 1 << 62


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


def obeyed(asked: float) -> float:
    """Seconds between two reports, when a coordinator asked for so many; 0: it does not care."""
    if not asked > 0:  # written so that NaN is nothing asked either
        return REPORT_SECONDS
    return min(LONGEST_REPORT_SECONDS, max(REPORT_SECONDS, asked))


def pause(failures: int, more: bool, chance: float, seconds: float = REPORT_SECONDS) -> float:
    """Seconds until the next report.

    failures: tries in a row that came to nothing; more: there is more to tell at once; chance:
    uniform in [0, 1); seconds: what the coordinator wants. Chance keeps the peers of a coordinator
    that comes back apart.
    """
    if failures:
        return min(LONGEST_PAUSE, REPORT_SECONDS * 2.0 ** min(failures, 8)) * (0.5 + chance / 2)
    return 0.1 + 0.4 * chance if more else seconds * (0.9 + 0.2 * chance)


class Reporter:
    """Reports progress, and tells the journal row by row."""

    def __init__(
        self,
        client: CoordinatorClient,
        identity: PeerIdentity,
        journal: Journal,
        spec: coordinator_pb2.SignedSpec,
        members: Members,
    ) -> None:
        """spec: the run's, for a coordinator that has lost it; members: takes its orders."""
        self._client = client
        self._identity = identity
        self.snapshot: Callable[[], coordinator_pb2.ProgressReport]
        """The peer's present state, asked for each report; to be set before the first one."""
        self.rosters: Callable[[Sequence[bytes]], list[coordinator_pb2.RoundRoster]]
        """Of attempts that the coordinator wants to hear of; to be set like `snapshot`."""
        self._wanted: Sequence[bytes] = ()
        self._journal = journal
        self._spec = spec
        self._members = members
        self._taken: tuple[bytes, int] | None = None
        """The journal's name, and its last row that the coordinator has."""
        self._sequence = 0
        self._seconds = REPORT_SECONDS
        """Between two reports, as the coordinator wants it."""
        self._failures = 0
        self._unknown = 0
        self._restored = False
        """Since the last report that was taken."""
        self._most = ROWS_A_REPORT
        """Rows in a report: fewer once one was refused, to find the one that is at fault."""
        self._suspect: Row | None = None
        self._sending = anyio.Lock()
        self.contact = Contact(True, CLOCK.now())
        self.model_wanted = False
        """The run has ended, and the coordinator wants to keep its model."""

    def add_round(self, outcome: coordinator_pb2.RoundOutcome) -> None:
        """Report an ended attempt, once."""
        self._journal.add(outcome)

    def add_validation(self, validation: coordinator_pb2.Validation) -> None:
        """Report a validation loss, once."""
        self._journal.add(validation)

    async def run(self) -> None:
        """Report until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._journal.keep_writing, _WRITE_SECONDS)
            while True:
                async with self._sending:
                    more = await self._send_one()
                await anyio.sleep(pause(self._failures, more, random.random(), self._seconds))

    async def send(self) -> None:
        """Deliver all that there is, unless it cannot be delivered now."""
        await self._journal.write()
        async with self._sending:
            while await self._send_one():
                pass

    async def _send_one(self) -> bool:
        """Whether there is more to send at once."""
        journal = self._journal
        await journal.write()  # what only the coordinator has, it may lose
        name, taken = journal.name, self._taken
        report = self._report(name)  # before the rows: no round in it that they do not tell
        rows: list[Row] = []
        if taken is not None and taken[0] == name:
            rows = await self._rows(taken[1])
        if rows:
            _tell(report, rows)
            report.after_row, report.last_row = taken[1] if taken else 0, rows[-1].number
        try:
            reply = await self._client.report(self._identity, report)
        except grpc.aio.AioRpcError as error:
            return await self._failed(error, rows)
        self.model_wanted = reply.model_wanted
        self._seconds = obeyed(reply.report_seconds)
        self._obey(reply.orders if reply.HasField("orders") else None)
        self._wanted = tuple(reply.wanted_rosters[:MOST_WANTED])
        self._taken = (name, reply.taken_row)
        self._sequence = max(self._sequence, min(reply.accepted_sequence, _MOST_SEQUENCE))
        journal.skip_to(min(reply.taken_row, _MOST_SEQUENCE))
        moved, held_back = self._taken != taken, not self._most
        await self._accepted()
        return (moved or held_back) and reply.taken_row < journal.highest

    async def _rows(self, after: int) -> list[Row]:
        """The next rows that fit into a report."""
        if not self._most or after >= self._journal.highest:
            return []
        rows = await self._journal.rows(after, self._most)
        losses = [at for at, row in enumerate(rows) if not _is_round(row)]
        return rows[: losses[VALIDATIONS_A_REPORT]] if len(losses) > VALIDATIONS_A_REPORT else rows

    def _report(self, name: bytes) -> coordinator_pb2.ProgressReport:
        report = self.snapshot()
        # milliseconds: still growing after this peer has lost its state folder
        self._sequence = max(self._sequence + 1, int(CLOCK.now() * 1000))
        report.sequence = self._sequence
        report.written_at_ms = int(CLOCK.now() * 1000)
        report.journal = name
        if self._wanted:
            report.rosters.extend(self.rosters(self._wanted))
        return report

    async def _accepted(self) -> None:
        self._failures = self._unknown = 0
        self._restored = False
        self._note(True, "")
        self._most = min(ROWS_A_REPORT, max(1, 2 * self._most))
        if self._suspect is not None:
            # without it the report was taken
            told = self._suspect.told
            log.warning("what happened in round %d is not told: it is refused", told.round)
            await self._journal.drop(self._suspect.number)
            self._suspect = None

    async def _failed(self, error: grpc.aio.AioRpcError, rows: list[Row]) -> bool:
        """Take note of a report that was not taken; whether to try again at once."""
        self.model_wanted = False
        code, detail = error.code(), first_line(error.details() or error.code().name)
        if code is grpc.StatusCode.NOT_FOUND:
            return await self._restore()
        if code is grpc.StatusCode.UNKNOWN:
            self._unknown += 1
        if code is grpc.StatusCode.PERMISSION_DENIED:
            self._failures += 1
            self._refused(detail)
            await self._ask_for_orders()
            return False
        if code not in _REFUSED and self._unknown < UNKNOWN_TRIES:
            self._failures += 1
            self._note(False, detail)
            return False
        self._failures += not rows
        self._wanted = ()  # the fault may be theirs
        self._refused(detail)
        self._suspect = rows[0] if len(rows) == 1 else None
        self._most = len(rows) // 2
        return bool(rows)

    async def _ask_for_orders(self) -> None:
        """A coordinator that does not deal with this peer may have signed why."""
        try:
            published = await self._client.run(self._members.run.run_id)
        except (CoordinatorUnreachable, UserError) as error:
            log.debug("no orders from the coordinator: %s", error)
        else:
            self._obey(published.orders)

    def _obey(self, orders: membership_pb2.SignedOrders | None) -> None:
        if orders is None:
            return
        try:
            self._members.take(orders)
        except BadSignatureError as error:
            log.warning("the coordinator's orders are not genuine: %s", error)

    async def _restore(self) -> bool:
        """Give the coordinator the run that it has lost; whether it took it."""
        orders = self._members.orders
        try:
            await self._client.restore(self._spec, orders.signed if orders else None)
        except grpc.aio.AioRpcError as error:
            self._failures += 1
            detail = first_line(error.details() or error.code().name)
            if error.code() in _SILENT:
                self._note(False, detail)
            else:
                self._refused(detail)
            return False
        self._taken = None
        if self._restored:
            self._failures += 1
            return False
        self._restored = True
        log.warning("the coordinator had lost this run: it has it again, from this peer")
        return True

    def _refused(self, detail: str) -> None:
        if not self.contact.reachable or detail != self.contact.detail:
            log.warning("the coordinator refuses a report: %s", detail)
        self._note(True, detail)

    def _note(self, reachable: bool, detail: str) -> None:
        same = reachable == self.contact.reachable
        self.contact = Contact(reachable, self.contact.since if same else CLOCK.now(), detail)


def _tell(report: coordinator_pb2.ProgressReport, rows: list[Row]) -> None:
    for row in rows:
        if isinstance(row.told, coordinator_pb2.RoundOutcome):
            report.rounds.append(row.told)
        else:
            report.validations.append(row.told)


def _is_round(row: Row) -> bool:
    return isinstance(row.told, coordinator_pb2.RoundOutcome)
