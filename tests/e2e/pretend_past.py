"""The past of a run that never was: its rounds, its plots, its leaders."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Literal

from coordinator.spectators.looking_back import LookingBack
from coordinator.spectators.views import (
    Leaderboard,
    LeaderLine,
    LossPoint,
    Participant,
    PeerSeries,
    RoundLine,
    RoundMember,
    Rounds,
    RoundSeries,
    Series,
)
from tests.e2e.pretend_peers import MISSES, ROUND_SECONDS, ROUNDS

ROUND_TOKENS = 1_120_000_000

Moment = tuple[float, Sequence[Participant]]
"""Unix seconds, and the peers as they are then."""


class PretendPast(LookingBack):
    """Answers what a coordinator's `LookingBack` does, made up from how the run stands."""

    def __init__(self, stands: Callable[[], Moment]) -> None:
        # not LookingBack's own: there is no store behind this one
        self._stands = stands

    def close(self) -> None:
        pass

    def leaders_of_the_week(self, run_id: str) -> Leaderboard:
        return leaders(*self._stands(), "week")

    def rounds(self, run_id: str, before: int | None, limit: int) -> Rounds:
        now, peers = self._stands()
        top = min(before or ROUNDS + 1, ROUNDS + 1) - 1
        rows: list[RoundLine] = []
        for number in range(top, max(top - limit, 0), -1):
            rows.append(_round(now, peers, number, committed=True))
            if number % 29 == 0:
                rows.append(_round(now, peers, number, committed=False))
        return Rounds(tuple(rows), top - limit + 1 if top > limit else None)

    def series(self, run_id: str, points: int, since: float) -> Series:
        now, peers = self._stands()
        start = max(since, now - ROUNDS * ROUND_SECONDS)
        times = [start + (now - start) * i / (points - 1) for i in range(points)]
        chance = random.Random(3)
        fastest = sorted(peers, key=lambda peer: -peer.tokens_per_second)[:10]
        rest = sum(peer.tokens_per_second for peer in peers) - sum(
            peer.tokens_per_second for peer in fastest
        )
        # more each day, fewer at night, never the same
        day = [
            (0.35 + 0.55 * ((at - start) / (now - start)) ** 0.7)
            * (1 + 0.07 * math.sin(at / 86_400 * 2 * math.pi) + chance.gauss(0, 0.008))
            for at in times
        ]
        day = [part / day[-1] for part in day]
        lines = [
            PeerSeries(
                peer.peer_id,
                peer.name,
                tuple(
                    None
                    if i < points * place // 14
                    else peer.tokens_per_second * chance.uniform(0.94, 1)
                    for i in range(points)
                ),
            )
            for place, peer in enumerate(fastest)
        ]
        lines.append(PeerSeries("", "", tuple(rest * part for part in day)))
        live = sum(peer.live for peer in peers)
        numbers = [_round_at(at, now) for at in times]
        return Series(
            now=now,
            validation=tuple(_loss(at, n, 0.0) for at, n in zip(times, numbers, strict=True)),
            training=tuple(
                _loss(at, n, chance.gauss(0.03, 0.03)) for at, n in zip(times, numbers, strict=True)
            ),
            at=tuple(times),
            peers_live=tuple(round(live * part * chance.uniform(0.97, 1)) for part in day),
            tokens_per_second=tuple(lines),
            rounds=RoundSeries(
                at=tuple(times),
                round=tuple(numbers),
                tokens=tuple(number * ROUND_TOKENS for number in numbers),
                computing_seconds=tuple(ROUND_SECONDS - 60 + chance.gauss(0, 9) for _ in times),
                exchange_seconds=tuple(40 + abs(chance.gauss(0, 8)) for _ in times),
                bytes_sent=tuple(1.02e10 * part for part in day),
                void=tuple(int(chance.random() < 0.08) for _ in times),
            ),
        )


def leaders(
    now: float, peers: Sequence[Participant], period: Literal["all", "week"]
) -> Leaderboard:
    """The first 25 of all time; of the week, a fifth of that."""
    ranked = sorted(peers, key=lambda peer: peer.tokens, reverse=True)[:25]
    part = 1.0 if period == "all" else 0.21
    return Leaderboard(
        period=period,
        since=now - (7 * 86_400 if period == "week" else ROUNDS * ROUND_SECONDS),
        rows=tuple(
            LeaderLine(
                place=place,
                peer_id=peer.peer_id,
                name=peer.name,
                tokens=int(peer.tokens * part),
                rounds=int(peer.rounds * part),
                share=peer.share,
            )
            for place, peer in enumerate(ranked, 1)
        ),
    )


def _round(now: float, peers: Sequence[Participant], number: int, committed: bool) -> RoundLine:
    members = random.Random(number).sample(peers, min(61, len(peers)))
    late = number % 3
    return RoundLine(
        key=f"{number:016x}{committed:016x}",
        round=number,
        at=now - (ROUNDS - number) * ROUND_SECONDS - 14 - (not committed) * 40,
        committed=committed,
        reason="" if committed else "28 of 61 members answered in 5 s: no majority",
        tokens=number * ROUND_TOKENS,
        computing_seconds=ROUND_SECONDS - 44.0,
        exchange_seconds=38.0 + number % 11,
        bytes_sent=168_000_000 * len(members),
        members=tuple(
            RoundMember(
                peer_id=peer.peer_id,
                name=peer.name,
                included=committed and place >= late,
                reason="" if committed and place >= late else MISSES[place % 3],
                tokens=int(peer.tokens_per_second * ROUND_SECONDS) if place >= late else 0,
            )
            for place, peer in enumerate(members)
        ),
        members_count=len(members),
        digests=1,
    )


def _round_at(at: float, now: float) -> int:
    return max(1, ROUNDS - int((now - at) / ROUND_SECONDS))


def _loss(at: float, number: int, noise: float) -> LossPoint:
    loss = 2.05 + 8.8 * (1 + number / 9) ** -0.55 + noise
    return LossPoint(at=at, tokens=number * ROUND_TOKENS, round=number, loss=loss)
