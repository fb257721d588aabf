"""What a spectator is shown of a run's past. Reads the store through a connection of its own.

Its methods are called in one thread, which is not the service's: reports do not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from coordinator.domain import Receipt
from coordinator.history import DAY, Attempt, RoundStretch, Sample
from coordinator.spectators import views
from coordinator.storage.history import History
from coordinator.storage.store import Reader
from swarmpb.redaction import redacted

WEEK_DAYS = 7
LEADERS = 100
MOST_ROUNDS = 200
"""On one page, whatever is asked."""
MEMBERS_SHOWN = 64
"""Of one round: as many as a round has."""
NOTHING = 1e-6
"""Tokens per second: what is left of a difference of sums."""

Name = Callable[[str, str], str]
"""The pseudonym of a peer, by run and peer id."""


class LookingBack:
    """Answers about the past of runs that are known to be there. `StorageError` if that fails."""

    def __init__(self, reader: Reader, name: Name, now: Callable[[], float]) -> None:
        """`now` tells unix seconds."""
        self._reader = reader
        self._name = name
        self._now = now

    def close(self) -> None:
        """Let go of the connection; nothing is asked any more."""
        self._reader.close()

    def series(self, run_id: str, points: int, since: float) -> views.Series:
        """At most `points` of each plot, from `since` on (unix seconds)."""
        now, curves = self._now(), self._reader.curves
        stretches = curves.rounds(run_id, since, now, points)
        samples = curves.samples(run_id, since, now, points)
        return views.Series(
            now=now,
            validation=tuple(
                views.LossPoint(it.at, it.run_tokens, it.round, it.loss)
                for it in curves.validations(run_id, since, points)
            ),
            training=tuple(
                views.LossPoint(it.at, it.run_tokens, it.round, it.train_loss)
                for it in stretches
                if it.train_loss is not None
            ),
            at=tuple(it.at for it in samples),
            peers_live=tuple(it.peers_live for it in samples),
            tokens_per_second=self._speeds(run_id, samples),
            rounds=_rounds(stretches),
        )

    def rounds(self, run_id: str, before: int | None, limit: int) -> views.Rounds:
        """About `limit` rounds and void attempts before round `before`; None: the newest."""
        limit = min(limit, MOST_ROUNDS)
        rows, older = read_rounds(self._reader.history, run_id, before, limit, self._name)
        return views.Rounds(rows, older)

    def leaders_of_the_week(self, run_id: str) -> views.Leaderboard:
        """Who has contributed most since the day that began a week ago."""
        start = int(self._now() - WEEK_DAYS * DAY) // DAY * DAY
        totals = self._reader.history.totals_since(run_id, start, DAY)
        whole = sum(it.merged_tokens for it in totals)
        rows = [it for it in totals[:LEADERS] if it.merged_tokens]
        return views.Leaderboard(
            "week",
            float(start),
            tuple(
                views.LeaderLine(
                    place=place,
                    peer_id=it.peer_id,
                    name=self._name(run_id, it.peer_id),
                    tokens=it.merged_tokens,
                    rounds=it.rounds,
                    share=it.merged_tokens / whole,
                )
                for place, it in enumerate(rows, start=1)
            ),
        )

    def _speeds(self, run_id: str, samples: Sequence[Sample]) -> tuple[views.PeerSeries, ...]:
        """The fastest, each by itself, and what all others had together."""
        by_peer = [dict(sample.speeds) for sample in samples]
        sums: dict[str, float] = {}
        for speeds in by_peer:
            for peer_id, speed in speeds.items():
                sums[peer_id] = sums.get(peer_id, 0.0) + speed
        fastest = sorted(sums, key=lambda peer_id: (-sums[peer_id], peer_id))
        lines = [
            views.PeerSeries(
                peer_id,
                self._name(run_id, peer_id),
                tuple(speeds.get(peer_id, 0.0) for speeds in by_peer),
            )
            for peer_id in fastest
        ]
        rest = tuple(
            max(0.0, sample.tokens_per_second - sum(speeds.values()))
            for sample, speeds in zip(samples, by_peer, strict=True)
        )
        if any(speed > NOTHING for speed in rest):
            lines.append(views.PeerSeries("", "all others", rest))
        return tuple(lines)


def read_rounds(
    history: History, run_id: str, before: int | None, limit: int, name: Name
) -> tuple[tuple[views.RoundLine, ...], int | None]:
    """The newest attempts before a round, and the round to ask before next; as `History` does."""
    attempts, older = history.rounds(run_id, before, limit)
    receipts = history.receipts_of(run_id, [it.id for it in attempts], MEMBERS_SHOWN)
    name_of = partial(name, run_id)
    return tuple(round_line(it, receipts.get(it.id, ()), name_of) for it in attempts), older


def round_line(
    it: Attempt, receipts: Sequence[Receipt], name: Callable[[str], str]
) -> views.RoundLine:
    """An attempt at a round with who was in it; `name` tells the pseudonym of a peer id."""
    return views.RoundLine(
        key=it.attempt.hex() or f"round {it.round}",
        round=it.round,
        at=it.at,
        committed=it.committed,
        reason=redacted(it.reason),
        tokens=it.run_tokens,
        computing_seconds=_computing(it.round_seconds, it.seconds),
        exchange_seconds=it.seconds,
        bytes_sent=it.bytes_sent,
        members=tuple(
            views.RoundMember(
                peer_id=receipt.peer_id,
                name=name(receipt.peer_id),
                included=receipt.included,
                reason=redacted(receipt.reason),
                tokens=receipt.merged_tokens,
            )
            for receipt in receipts
        ),
        members_count=max(it.members, len(receipts)),
        digests=len(it.digests),
    )


def _rounds(stretches: Sequence[RoundStretch]) -> views.RoundSeries:
    """Nothing was exchanged where nothing was committed: None, and not 0."""
    return views.RoundSeries(
        at=tuple(it.at for it in stretches),
        round=tuple(it.round for it in stretches),
        tokens=tuple(it.run_tokens for it in stretches),
        computing_seconds=tuple(_computing(it.round_seconds, it.seconds) for it in stretches),
        exchange_seconds=tuple(it.seconds if it.committed else None for it in stretches),
        bytes_sent=tuple(it.bytes_sent if it.committed else None for it in stretches),
        void=tuple(it.void for it in stretches),
    )


def _computing(round_seconds: float | None, exchange_seconds: float) -> float | None:
    """What of a round was before its cut; None if nobody told how long it was."""
    return max(0.0, round_seconds - exchange_seconds) if round_seconds else None
