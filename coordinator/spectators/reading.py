"""What a spectator is shown, made from ledgers and the store. Runs in the service's thread.

Each question is kept short, because reports wait behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from coordinator.domain import Event, Receipt, Run, UnknownPeerError
from coordinator.reports.progress import Ledger
from coordinator.service import CoordinatorService
from coordinator.spectators import headline, participants, views
from coordinator.spectators.looking_back import LookingBack, read_rounds
from coordinator.storage.store import Store
from swarmpb.membership import StandingOrders
from swarmpb.redaction import redacted
from swarmpb.spec import RunSpec, parse_canonical

LEADERS = 100
NEWEST_ATTEMPTS = 60
"""At rounds: among them are the commits that tell how fast a run goes on."""
ROUNDS_FOLLOWED = 5
"""What peers tell of older rounds is on their page, and not in the stream."""
CAUGHT_UP = 100
"""So many events at most are told to somebody who comes back."""


@dataclass(frozen=True)
class Cursor:
    """How far somebody has been told what happens."""

    event: int
    """The newest event's number,"""
    rounds: tuple[views.RoundLine, ...] = ()
    """and the newest rounds, as they were told."""


@dataclass(frozen=True)
class News:
    """What there is to tell of a run at one moment."""

    overview: views.RunOverview
    rounds: tuple[views.RoundLine, ...]
    """New since the cursor that was asked with, or known better since, the oldest first."""
    events: tuple[views.EventLine, ...]
    """New since then, the oldest first."""
    cursor: Cursor


class Reading:
    """Answers the questions of `/api/v1`. Every method raises `UnknownRunError`."""

    def __init__(
        self,
        service: CoordinatorService,
        store: Store,
        orders: Callable[[str], StandingOrders | None],
        join_command: Callable[[str], str],
        now: Callable[[], float],
        parameters: Callable[[Run], int | None] = lambda _: None,
    ) -> None:
        """`orders`: what holds in a run, by its id; None: nobody speaks for it.

        `join_command`: what a volunteer types to join a run; `now` tells unix seconds;
        `parameters`: of a run's model, None if that is not known."""
        self._service = service
        self._store = store
        self._orders = orders
        self._join_command = join_command
        self._now = now
        self._parameters = parameters
        self._specs: dict[bytes, RunSpec] = {}
        self._pasts: dict[str, tuple[Hashable, headline.Past]] = {}

    def runs(self) -> tuple[views.RunLine, ...]:
        """All runs, the oldest first."""
        return tuple(
            headline.line(run, self._service.ledger(run.run_id), self._wishes(run), self._now())
            for run in self._service.runs()
        )

    def overview(self, run_id: str) -> views.RunOverview:
        """The headline of a run."""
        run = self._service.run(run_id)
        return headline.overview(
            run=run,
            spec=self._spec(run_id),
            ledger=self._service.ledger(run_id),
            wishes=self._wishes(run),
            standing=self._service.events.standing(run_id),
            past=self._past(run_id, self._service.ledger(run_id)),
            parameters=self._parameters(run),
            join_command=self._join_command(run_id),
            now=self._now(),
        )

    def participants(self, run_id: str, wanted: participants.Wanted) -> views.Participants:
        """A page of the table."""
        ledger = self._service.ledger(run_id)
        return participants.page(ledger, wanted, self._now(), self._banned(run_id))

    def participant(self, run_id: str, peer_id: str) -> views.Participant:
        """One row of it; `UnknownPeerError` if the run has no such peer."""
        ledger = self._service.ledger(run_id)
        peer = ledger.peers.get(peer_id)
        if peer is None:
            raise UnknownPeerError(run_id, peer_id)
        row = participants.participant(ledger, peer, self._now(), self._banned(run_id)(peer_id))
        totals = self._store.history.totals(run_id, peer_id)
        return replace(row, joined_at=totals[0].joined_at) if totals else row

    def receipts(self, run_id: str, peer_id: str, before: int | None, limit: int) -> views.Receipts:
        """At most `limit` receipts of rounds before `before`; None: the newest."""
        self.participant(run_id, peer_id)
        # one more than asked tells whether there is anything older
        found = self._service.credits.of_peer(run_id, peer_id, before, limit + 1)
        shown = tuple(_receipt(receipt) for receipt in found[:limit])
        older = shown[-1].round if len(found) > limit else None
        return views.Receipts(shown, older, self._store.history.receipts_since(run_id))

    def leaders(self, run_id: str) -> views.Leaderboard:
        """Who has contributed most, of all time."""
        run, ledger = self._service.run(run_id), self._service.ledger(run_id)
        wanted = participants.Wanted(limit=LEADERS)
        rows = participants.page(ledger, wanted, self._now(), self._banned(run_id)).rows
        return views.Leaderboard(
            "all",
            run.created_at_ms / 1000,
            tuple(
                views.LeaderLine(place, it.peer_id, it.name, it.tokens, it.rounds, it.share)
                for place, it in enumerate(rows, start=1)
                if it.tokens
            ),
        )

    def events(self, run_id: str, before: int | None, limit: int) -> views.Events:
        """At most `limit` events with numbers below `before`; None: the newest."""
        self._service.run(run_id)
        found = self._store.events.newest(before, run_id, limit + 1)
        shown = tuple(self._event(event) for event in found[:limit])
        return views.Events(shown, shown[-1].number if len(found) > limit else None)

    def happened(self, run_id: str, after: int, upto: int) -> tuple[views.EventLine, ...]:
        """The newest `CAUGHT_UP` events with numbers in this range, the oldest first."""
        self._service.run(run_id)
        found = self._store.events.newest(upto + 1, run_id, CAUGHT_UP)
        return tuple(self._event(event) for event in reversed(found) if event.number > after)

    def news(self, run_id: str, since: Cursor | None) -> News:
        """What is new `since` then; None: only how the run stands."""
        overview = self.overview(run_id)
        found = self._store.events.newest(None, run_id, 1 if since is None else CAUGHT_UP)
        newest = found[0].number if found else 0
        new = () if since is None else self.happened(run_id, since.event, newest)
        rounds, _ = read_rounds(self._store.history, run_id, None, ROUNDS_FOLLOWED, self.name)
        told = rounds if since is None else since.rounds
        changed = tuple(line for line in reversed(rounds) if line not in told)
        return News(overview, changed, new, Cursor(newest, rounds))

    def looking_back(self) -> LookingBack:
        """The answers about the past, for another thread; the caller closes them."""
        return LookingBack(self._store.reader(), self.name, self._now)

    def check(self, run_id: str) -> None:
        """`UnknownRunError` if there is no such run. May be called in any thread."""
        self._service.run(run_id)

    def name(self, run_id: str, peer_id: str) -> str:
        """The pseudonym of a peer, as far as it is known. May be called in any thread."""
        known = self._service.ledger(run_id).peers.get(peer_id)
        return participants.shown_name(known.name if known else "", peer_id)

    def _past(self, run_id: str, ledger: Ledger) -> headline.Past:
        """Read anew only when there is something new."""
        state = (ledger.newest_commit, ledger.newest_validation)
        known = self._pasts.get(run_id)
        if known is None or known[0] != state:
            known = self._pasts[run_id] = (state, self._read_past(run_id))
        return known[1]

    def _read_past(self, run_id: str) -> headline.Past:
        history = self._store.history
        newest, _ = history.rounds(run_id, limit=NEWEST_ATTEMPTS)
        validations = history.first_and_newest_validation(run_id)
        at, validation = validations[1] if validations else (None, None)
        return headline.Past(
            commits=[(it.at, it.run_tokens) for it in reversed(newest) if it.committed],
            validated_round=validation.round if validation else None,
            validated_at=at,
        )

    def _event(self, event: Event) -> views.EventLine:
        name = self.name(event.run_id, event.peer_id)
        return views.EventLine(
            number=event.number,
            at=event.at,
            kind=event.kind.value,
            peer_id=event.peer_id,
            name=name if event.peer_id else "",
            round=event.round,
            text=redacted(event.text),
        )

    def _wishes(self, run: Run) -> headline.Wishes:
        return headline.Wishes.of(run, self._orders(run.run_id))

    def _banned(self, run_id: str) -> Callable[[str], bool]:
        orders = self._orders(run_id)
        return orders.bans if orders is not None and orders.banned else lambda _: False

    def _spec(self, run_id: str) -> RunSpec:
        """Read once: a spec never changes, though a deleted run's name may get another."""
        run = self._service.run(run_id)
        if run.spec_hash not in self._specs:
            self._specs[run.spec_hash] = parse_canonical(run.spec)
        return self._specs[run.spec_hash]


def _receipt(receipt: Receipt) -> views.ReceiptLine:
    return views.ReceiptLine(
        round=receipt.round,
        at=receipt.at,
        claimed_tokens=receipt.claimed_tokens,
        merged_tokens=receipt.merged_tokens,
        included=receipt.included,
        reason=redacted(receipt.reason),
        observed=receipt.observed,
        witnesses=receipt.witnesses,
    )
