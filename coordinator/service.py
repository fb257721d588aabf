"""What a coordinator does with runs and reports, told apart from how it is asked.

Nothing in here knows an event loop or a caller. The methods block on the disk and
are called by one thread at a time, so what is on disk and what is in memory never drift apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from coordinator.domain import (
    Acknowledgement,
    BusyError,
    ForeignRunError,
    PeerState,
    RefusedError,
    Report,
    Run,
    RunFacts,
    RunFullError,
    StorageError,
    UnknownRunError,
)
from coordinator.happenings.event_log import EventLog
from coordinator.happenings.watch import Expected
from coordinator.limits import REPORTS_OF_PEER, Buckets
from coordinator.membership.authority import Authority
from coordinator.membership.refusals import NotAdmittedError
from coordinator.membership.signed_specs import require_same, verified
from coordinator.reports.batches import by_run, one_of_each_peer
from coordinator.reports.credits import Credits
from coordinator.reports.intake import read_report
from coordinator.reports.kept_ledger import read_ledger
from coordinator.reports.live_peers import live_at_the_end
from coordinator.reports.pace import Pace
from coordinator.reports.progress import Ledger, after_report
from coordinator.reports.receipts import Change
from coordinator.reports.room import HourlyRows, Limits, Room
from coordinator.storage.store import Store
from peer.swarm.clock import CLOCK
from swarmpb.membership import RunState, StandingOrders
from swarmpb.v1 import coordinator_pb2, membership_pb2, swarm_pb2

log = logging.getLogger(__name__)

Answer = Acknowledgement | RefusedError
"""To one report."""


class CoordinatorService:
    """Runs and their progress: on disk in the store, and ready to be shown in ledgers."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float] = CLOCK.now,
        limits: Limits | None = None,
        owners: Collection[bytes] = (),
        authority: Authority | None = None,
    ) -> None:
        """`now` tells unix seconds; `owners`: public keys of those whose runs are restored.

        authority: who says what holds in a run; without one every run is open to all.
        """
        self._store = store
        self._now = now
        self._owners = frozenset(owners)
        self._authority = authority
        self._limits = limits or Limits()
        self._haste = Buckets(REPORTS_OF_PEER)
        self._rows = HourlyRows()
        self.wants_model: Callable[[Run], bool] = lambda run: False
        """Whether the peers of a run that has ended shall stay for its model."""
        self._runs = {run.run_id: run for run in store.runs()}
        self._ledgers = {run_id: read_ledger(store, run_id) for run_id in self._runs}
        self.pace = Pace(live_at_the_end(it.peers for it in self._ledgers.values()), now())
        self.events = EventLog(store.events, now)
        for run_id, run in self._runs.items():
            self.events.watch(run, self._ledgers[run_id])
        if authority is not None:
            authority.load(self._runs.values())
        self.credits = Credits(store.receipts, store.history)

    def register(self, signed: coordinator_pb2.SignedSpec) -> Run:
        """Take a run in; the same spec again changes nothing.

        Raises `InvalidSpecError`, or `SpecChangedError` if the run id is taken.
        """
        spec = verified(signed)
        known = self._runs.get(spec.run_id)
        if known is not None:
            return require_same(known, signed)
        run = Run(
            run_id=spec.run_id,
            spec=signed.spec,
            spec_hash=signed.hash,
            owner_key=signed.owner_key,
            signature=signed.signature,
            description=spec.description,
            target_tokens=spec.stop.tokens,
            created_at_ms=int(self._now() * 1000),
        )
        self._store.add_run(run)
        self._runs[run.run_id] = run
        self._ledgers[run.run_id] = Ledger()
        self.events.watch(run, self._ledgers[run.run_id])
        told = {"run": run.run_id}
        log.info("run %s registered, spec %s", run.run_id, run.spec_hash.hex(), extra=told)
        return run

    def restore(self, signed: coordinator_pb2.SignedSpec) -> Run:
        """Take a run from somebody who takes part in it: this coordinator has lost it.

        Raises `InvalidSpecError`, `SpecChangedError`, or `ForeignRunError` for an owner whose
        runs are not restored here.
        """
        spec = verified(signed)
        if spec.run_id not in self._runs and signed.owner_key not in self._owners:
            raise ForeignRunError(
                f"run {spec.run_id} is not known here, nor is its owner; whoever runs this"
                " coordinator can let peers restore it: coordinator serve --restore-owner"
                f" {signed.owner_key.hex()}"
            )
        return self.register(signed)

    def orders(self, run_id: str) -> StandingOrders | None:
        """What holds in a run; None: nobody speaks for it, and it is open to all."""
        return self._authority.orders(run_id) if self._authority else None

    def delete(self, run_id: str) -> None:
        """Forget a run with all that is known of it; `UnknownRunError` if there is none."""
        self.run(run_id)
        self._store.delete_run(run_id)
        del self._runs[run_id], self._ledgers[run_id]
        self.events.forget(run_id)
        self.credits.drop(run_id)
        if self._authority is not None:
            self._authority.forget(run_id)

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        return list(self._runs.values())

    def run(self, run_id: str) -> Run:
        """A run by its id; `UnknownRunError` if there is none."""
        try:
            return self._runs[run_id]
        except KeyError:
            raise UnknownRunError(run_id) from None

    def ledger(self, run_id: str) -> Ledger:
        """What a run's progress is made of; `UnknownRunError` if there is no such run."""
        self.run(run_id)
        return self._ledgers[run_id]

    def peers_live(self, run_id: str) -> int:
        """How many peers of a run are live now; `UnknownRunError` if there is no such run."""
        return self.ledger(run_id).count_live(self._now())

    def progress(self, run_id: str) -> RunFacts:
        """The progress of a run now; `UnknownRunError` if there is no such run."""
        return self.ledger(run_id).facts(self._now())

    def ended_runs(self) -> list[Run]:
        """The runs that have ended, and whose peers are there still."""
        return [
            run
            for run in self._runs.values()
            if self._has_ended(run.run_id) and self.peers_live(run.run_id)
        ]

    def _has_ended(self, run_id: str) -> bool:
        orders = self._authority.orders(run_id) if self._authority is not None else None
        if orders is not None and orders.state == RunState.FINISHED:
            return True
        return self._ledgers[run_id].tokens >= self._runs[run_id].target_tokens

    def whereabouts(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """By run and live peer, the addresses that the peer reported."""
        now = self._now()
        found = {
            run_id: {
                peer.peer_id: ledger.addresses[peer.peer_id]
                for peer in ledger.peers_live(now)
                if ledger.addresses.get(peer.peer_id)
            }
            for run_id, ledger in self._ledgers.items()
        }
        return {run_id: addresses for run_id, addresses in found.items() if addresses}

    def take_report(self, envelope: swarm_pb2.Envelope) -> Acknowledgement:
        """Keep what a peer reports; returns once that is on disk.

        Raises `ForgedReportError`, `InvalidReportError`, `UnknownRunError`, `RunFullError`,
        `StorageError`. What comes again, or late, changes nothing that is newer.
        """
        (answer,) = self.take_reports([envelope])
        if isinstance(answer, RefusedError):
            raise answer
        return answer

    def take_reports(self, envelopes: Sequence[swarm_pb2.Envelope]) -> list[Answer]:
        """Keep what peers report, all in one go; answers in order, as of `take_report`."""
        answers: dict[int, Answer] = {}
        reports: dict[int, Report] = {}
        for place, envelope in enumerate(envelopes):
            try:
                report = self._read(envelope)
                barred = self._barred(report)
            except RefusedError as refusal:
                answers[place] = refusal
                continue
            if barred is not None:
                answers[place] = barred
            else:
                reports[place] = report
        for wave in one_of_each_peer(reports):
            answers |= self._take_wave(wave)
        return [answers[place] for place in range(len(envelopes))]

    def _read(self, envelope: swarm_pb2.Envelope) -> Report:
        now = self._now()
        report = read_report(envelope, now)
        self.run(report.run_id)
        if wait := self._haste.take(report.peer.peer_id, now):
            raise BusyError(wait)
        return report

    def _barred(self, report: Report) -> Answer | None:
        """The answer to a peer that may not take part: nothing that it tells is kept.

        It hears the orders that say so, once: a refusal alone is signed by nobody.
        """
        why = self._authority.bars(report) if self._authority else ""
        if not why:
            return None
        orders = self._orders_for(report)
        if orders is None:
            return NotAdmittedError(why)
        return Acknowledgement(report.peer.sequence, 0, orders=orders)

    def _take_wave(self, reports: Mapping[int, Report]) -> dict[int, Answer]:
        """Keep reports of as many peers in one transaction; answers by the same places."""
        room = Room(self._limits, self._rows, self._now())
        answers: dict[int, Answer] = {}
        taken: list[Report] = []
        try:
            with self._store.together():
                found = self._store.news_of(list(reports.values()))
                for place, new in zip(reports, found, strict=True):
                    ledger = self._ledgers[new.run_id]
                    after = after_report(ledger.peers.get(new.peer.peer_id), new)
                    news = replace(new, peer=after)
                    try:
                        room.admit(ledger, news)
                    except RunFullError as refusal:
                        answers[place] = refusal
                        continue
                    taken.append(news)
                    answers[place] = self._acknowledged(after, new)
                changes = self._keep(taken, room)
        except BaseException as error:  # memory must not run ahead of the disk
            self.credits.forget(taken)
            if isinstance(error, StorageError):
                return dict.fromkeys(reports, error)
            raise
        self._show(taken, room, changes)
        return {place: self._asking(reports[place], answers[place]) for place in reports}

    def _asking(self, report: Report, answer: Answer) -> Answer:
        """The answer, with what is wanted of its peer now that its report is kept."""
        if isinstance(answer, RefusedError):
            return answer
        wanted = self.credits.wanted(report.run_id, report.peer.peer_id, self._now())
        return replace(answer, wanted_rosters=wanted)

    def _acknowledged(self, after: PeerState, report: Report) -> Acknowledgement:
        run = self._runs[report.run_id]
        return Acknowledgement(
            after.sequence,
            after.taken_row if after.journal == report.peer.journal else 0,
            model_wanted=self._has_ended(run.run_id) and self.wants_model(run),
            orders=self._orders_for(report),
        )

    def _orders_for(self, report: Report) -> membership_pb2.SignedOrders | None:
        """The run's orders, if the peer knows only older ones."""
        standing = self.orders(report.run_id)
        return standing.signed if standing and standing.rank > report.orders_rank else None

    def _keep(self, taken: Sequence[Report], room: Room) -> dict[str, list[Change]]:
        """On disk, as far as nothing goes wrong before the transaction ends.

        By run, what that changes of receipts.
        """
        for run_id, forgotten in room.forgotten.items():
            for peer_id in forgotten:
                self._store.forget_peer(run_id, peer_id)
        self._store.keep_all(taken)
        return self.credits.keep(taken)

    def _show(
        self, taken: Sequence[Report], room: Room, changes: Mapping[str, Sequence[Change]]
    ) -> None:
        """In memory, what is on disk now."""
        for run_id, forgotten in room.forgotten.items():
            for peer_id in forgotten:
                self._ledgers[run_id].forget(peer_id)
        for news in taken:
            ledger = self._ledgers[news.run_id]
            self._rows.add(news, self._now())
            ledger.see(news.peer)
            for outcome in news.outcomes:
                ledger.add_outcome(outcome)
            for validation in news.validations:
                ledger.add_validation(validation)
            if news.coverage is not None:
                ledger.cover(news.coverage)
            if news.addresses:
                ledger.addresses[news.peer.peer_id] = news.addresses
        for run_id, of_run in by_run(taken).items():
            for change in changes[run_id]:
                self._ledgers[run_id].correct(change)
            for dispute in self.credits.settle(run_id, self._now()):
                self.events.record(run_id, dispute)
            self.events.reported(run_id, self._ledgers[run_id], of_run)

    def pass_time(self) -> None:
        """Look what time has done to the runs; called every second or two."""
        self.pace.adjust(sum(map(self.peers_live, self._runs)), self._now())
        for ledger in self._ledgers.values():
            ledger.live_seconds = self.pace.live_seconds
        for run in self._runs.values():
            expected = _expected(run, self.orders(run.run_id), self.pace.lost_seconds)
            self.events.passed(run.run_id, self._ledgers[run.run_id], expected)


def _expected(run: Run, standing: StandingOrders | None, lost_seconds: float) -> Expected:
    """What the owner wants of a run now."""
    if standing is None:
        return Expected(run.target_tokens, lost_seconds=lost_seconds)
    return Expected(
        target_tokens=standing.stop_tokens or run.target_tokens,
        rounds=standing.state in (RunState.OPEN, RunState.FINISHING),
        over=standing.state == RunState.FINISHED,
        lost_seconds=lost_seconds,
    )
