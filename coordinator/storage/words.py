"""What peers tell of rounds: each word is taken once, into the row of its attempt.

Words that come very late, about attempts that have been thinned, change no round any more; the
receipts that follow from them still count (`receipts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, select

from coordinator.domain import Outcome, Report, Validation
from coordinator.history import DAY
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.rows import AttemptRow, AttemptRows, PeerRow, PeerRows, Place, pieces
from coordinator.storage.thinned import Thinned

FEW_ROUNDS = 16
"""A report with more of them is one that catches up; it is asked about for itself, so that no
question has more values than a database takes."""
_Place = tuple[str, str, int]
"""Run, peer and round."""

LONGEST_AGO = 30 * DAY
"""Seconds. An attempt that is said to have ended longer ago is taken to have ended then."""


class WordStore:
    """Outcomes and validations, as they come."""

    def __init__(
        self, database: Database, peers: PeerRows, attempts: AttemptRows, thinned: Thinned
    ) -> None:
        self._database = database
        self._peers = peers
        self._attempts = attempts
        self._thinned = thinned

    def news_of(self, reports: Sequence[Report]) -> list[Report]:
        """The reports without what is known already or came too late, in order.

        What two of them tell alike counts as the news of the first.
        """
        if not any(report.outcomes or report.validations for report in reports):
            return list(reports)
        known = _Known()
        with self._database.transaction() as connection:
            for run_id in {report.run_id for report in reports}:
                of_run = [it for it in reports if it.run_id == run_id]
                self._recall(connection, run_id, of_run, known)
        return [known.news(report) for report in reports]

    def _recall(
        self, connection: Connection, run_id: str, reports: Sequence[Report], known: _Known
    ) -> None:
        """What the peers of one run said before of the rounds that they tell now."""
        peers = self._peers.find(connection, run_id, {it.peer.peer_id for it in reports})
        names = {row.peer: peer_id for peer_id, row in peers.items()}
        words, attempts, validations = schema.words, schema.attempts, schema.validations
        for numbers, rounds in _questions(peers, reports, lambda it: it.outcomes):
            query = (
                select(words.c.peer, words.c.round, attempts.c.attempt, words.c.committed)
                .join(attempts, attempts.c.id == words.c.attempt)
                .where(words.c.peer.in_(numbers), words.c.round.in_(rounds))
            )
            for peer, round_, attempt, committed in connection.execute(query):
                known.add((run_id, names[peer], round_), attempt, committed)
        for numbers, rounds in _questions(peers, reports, lambda it: it.validations):
            losses = select(validations.c.peer, validations.c.round).where(
                validations.c.run_id == run_id,
                validations.c.peer.in_(numbers),
                validations.c.round.in_(rounds),
            )
            known.losses |= {(run_id, names[peer], it) for peer, it in connection.execute(losses)}
        for report in reports:
            row = peers.get(report.peer.peer_id)
            for outcome in report.outcomes:
                # which of the old ones were told before, nobody knows any more
                if row is not None and outcome.round <= row.thinned_round:
                    known.add((run_id, outcome.peer_id, outcome.round), outcome.attempt, True)

    def keep(self, news: Sequence[Report]) -> None:
        """Keep what `news_of` found new."""
        if not any(report.outcomes or report.validations for report in news):
            return
        with self._database.transaction() as connection:
            self._keep_outcomes(connection, news)
            self._keep_validations(connection, news)

    def _keep_outcomes(self, connection: Connection, news: Sequence[Report]) -> None:
        places = {_place(report, it) for report in news for it in report.outcomes}
        attempts = self._attempts.find(connection, places)
        changed: dict[int, AttemptRow] = {}
        words: dict[tuple[int, int], dict[str, Any]] = {}
        for report in news:
            if not report.outcomes:
                continue
            peer_id, thinned = report.peer.peer_id, self._thinned.of(connection, report.run_id)
            peer = self._peers.find(connection, report.run_id, [peer_id])[peer_id]
            for outcome in report.outcomes:
                at, place = ended_at(outcome, report.peer.received_at), _place(report, outcome)
                attempt = attempts.get(place)
                if attempt is None and at < thinned.attempts_before:
                    continue
                if attempt is None:
                    attempt = attempts[place] = self._attempts.add(connection, place, at)
                attempt.hear(outcome)
                changed[attempt.id] = attempt
                if attempt.at >= thinned.receipts_before:
                    words[attempt.id, peer.peer] = {
                        "attempt": attempt.id,
                        "peer": peer.peer,
                        "round": outcome.round,
                        "committed": outcome.committed,
                    }
        self._attempts.write(connection, changed.values())
        if words:
            connection.execute(insert(schema.words), list(words.values()))

    def _keep_validations(self, connection: Connection, news: Sequence[Report]) -> None:
        rows = []
        for report in news:
            if report.validations:
                peer_id = report.peer.peer_id
                peer = self._peers.find(connection, report.run_id, [peer_id])[peer_id]
                rows += [_validation(report, peer.peer, it) for it in report.validations]
        if rows:
            connection.execute(insert(schema.validations), rows)


def ended_at(outcome: Outcome, received_at: float) -> float:
    """Unix seconds: when an attempt ended, as far as its teller can be believed."""
    told = outcome.finished_at_ms / 1000
    return min(max(told, received_at - LONGEST_AGO), received_at) if told else received_at


def _place(report: Report, outcome: Outcome) -> Place:
    return report.run_id, outcome.round, outcome.attempt


def _validation(report: Report, peer: int, validation: Validation) -> dict[str, Any]:
    return {
        "run_id": report.run_id,
        "round": validation.round,
        "peer": peer,
        "at": report.peer.received_at,
        "run_tokens": validation.run_tokens,
        "loss": validation.loss,
    }


class _Known:
    """What was told before, of the rounds that a batch of reports tells of."""

    def __init__(self) -> None:
        self._told: set[tuple[_Place, bytes]] = set()
        self._committed: set[_Place] = set()
        self.losses: set[_Place] = set()

    def add(self, place: _Place, attempt: bytes, committed: bool) -> None:
        self._told.add((place, attempt))
        if committed:
            self._committed.add(place)

    def news(self, report: Report) -> Report:
        """The report without what is known, which is known from now on."""
        outcomes, validations = [], []
        for outcome in report.outcomes:
            place = (report.run_id, outcome.peer_id, outcome.round)
            again = outcome.committed and place in self._committed
            if not again and (place, outcome.attempt) not in self._told:
                outcomes.append(outcome)
                self.add(place, outcome.attempt, outcome.committed)
        for validation in report.validations:
            place = (report.run_id, validation.peer_id, validation.round)
            if place not in self.losses:
                validations.append(validation)
                self.losses.add(place)
        return replace(report, outcomes=tuple(outcomes), validations=tuple(validations))


def _questions(
    peers: Mapping[str, PeerRow],
    reports: Iterable[Report],
    rows: Callable[[Report], Sequence[Outcome | Validation]],
) -> Iterator[tuple[set[int], set[int]]]:
    """Peers and rounds to ask for: many peers with a few rounds each are one question."""
    together: tuple[set[int], set[int]] = (set(), set())
    for report in reports:
        rounds = {row.round for row in rows(report)}
        peer = peers.get(report.peer.peer_id)
        if peer is None or not rounds:
            continue
        if len(rounds) > FEW_ROUNDS:
            for some in pieces(rounds):
                yield {peer.peer}, set(some)
        else:
            together[0].add(peer.peer)
            together[1].update(rounds)
    if together[0]:
        yield together
