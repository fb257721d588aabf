"""What one run's peers are credited with: their words taken, and whom to ask for a manifest.

Knows no disk: receipts that are not in memory any more are had from whoever keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from coordinator.domain import EventKind, Receipt, Report
from coordinator.happenings.happening import Allowance, Happening
from coordinator.reports.asking import Asking
from coordinator.reports.receipts import Change, ReceiptBook
from coordinator.rosters import Roster

HOUR = 3600.0
DISPUTES_TOLD = 6
"""In an hour: one liar is in many rounds."""

Recall = Callable[[int], Iterable[Receipt]]
"""The receipts of a round that are kept."""


class Crediting:
    """The receipts of one run."""

    def __init__(self, recall: Recall, book: ReceiptBook | None = None) -> None:
        self._recall = recall
        self._book = book or ReceiptBook()
        self._asking = Asking()
        self._unsettled: Sequence[Report] = ()
        self._allowance = Allowance(DISPUTES_TOLD, HOUR)

    def take(self, news: Sequence[Report]) -> list[Receipt]:
        """The receipts that new outcomes, and the rosters that were asked for, change.

        They are to be kept together with the reports; then comes `settle`, or else `forget`.
        """
        self._unsettled, changes = news, list[Change]()
        for report in news:
            at = report.peer.received_at
            for outcome in report.outcomes:
                if outcome.committed and outcome.attempt:
                    self._find(outcome.round)
                    changes += self._book.hear(outcome, at)
            for roster in self._expected(report):
                self._find(roster.round)
                changes += self._book.tell(report.peer.peer_id, roster, at)
        return [change.after for change in changes]

    def settle(self, now: float) -> list[Happening]:
        """What was taken is kept; what of it is to be told to the run's owner."""
        disputes: list[Happening] = []
        for report in self._unsettled:
            peer_id = report.peer.peer_id
            for outcome in report.outcomes:
                if outcome.committed and outcome.attempt:
                    self._asking.heard(peer_id, outcome.round, outcome.attempt)
            for roster in self._expected(report):
                different = self._book.rosters_told(roster.round, roster.attempt)
                known = self._asking.is_disputed(roster.round, roster.attempt)
                self._asking.told(peer_id, roster.round, roster.attempt, different)
                if different > 1 and not known and self._allowance.take(now):
                    disputes.append(self._dispute(roster))
        self._unsettled = ()
        return disputes

    def _dispute(self, roster: Roster) -> Happening:
        tellers = self._book.tellers(roster.round, roster.attempt)
        return Happening(
            EventKind.DISPUTED,
            f"{' and '.join(f'…{peer_id[-8:]}' for peer_id in tellers)} tell different things of"
            f" what round {roster.round} has merged of whom; others are asked, and receipts follow"
            " what most tell: if this repeats, see who is in all of them",
            round=roster.round,
        )

    def forget(self) -> None:
        """What was taken could not be kept: it is not known here either."""
        for report in self._unsettled:
            outcomes = {outcome.round for outcome in report.outcomes}
            for round_ in outcomes | {roster.round for roster in report.rosters}:
                self._book.forget(round_)
        self._unsettled = ()

    def wanted(self, peer_id: str, now: float) -> tuple[bytes, ...]:
        """The attempts whose roster this peer is asked for with the answer to its report."""
        return self._asking.wanted(peer_id, now)

    def renewed(self, receipts: Iterable[Receipt]) -> list[Receipt]:
        """Kept receipts, with the witnesses that are known by now."""
        return [self._book.renewed(receipt) for receipt in receipts]

    def _expected(self, news: Report) -> Iterator[Roster]:
        """The rosters that its peer was asked for and has not told."""
        for roster in news.rosters:
            if self._asking.expects(news.peer.peer_id, roster.round, roster.attempt):
                yield roster

    def _find(self, round_: int) -> None:
        if not self._book.knows(round_):
            self._book.recall(round_, self._recall(round_))
