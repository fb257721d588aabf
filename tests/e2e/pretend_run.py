"""A large run that never was, for looking at the dashboard: the same one from the same seed.

For what a real coordinator cannot be brought to in seconds: a thousand peers, a week of rounds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from coordinator.domain import UnknownPeerError, UnknownRunError
from coordinator.participants import Wanted
from coordinator.reading import Cursor, News, Reading
from coordinator.views import (
    EventLine,
    Events,
    Leaderboard,
    LeaderLine,
    LossPoint,
    Participant,
    Participants,
    PeerSeries,
    ReceiptLine,
    Receipts,
    RoundLine,
    RoundMember,
    Rounds,
    RoundSeries,
    RunLine,
    RunOverview,
    Series,
)
from tests.e2e.pretend_peers import MISSES, ROUND_SECONDS, ROUNDS, peer

RUN_ID = "tern-1b"
TARGET = 3_800_000_000_000
ROUND_TOKENS = 1_120_000_000


class PretendRun(Reading):
    """`size` peers, most of them live, at the moment `now` (unix seconds).

    Answers what a coordinator's `Reading` does, from no ledger. Two seconds pass with each `news`.
    """

    def __init__(self, size: int, now: float, names: Sequence[str] = ()) -> None:
        # not Reading's own: there is no service behind this one
        self.now = now
        self.ticks = 0
        chance = random.Random(7)
        known = (*names, *[""] * (size - len(names)))
        peers = [peer(number, chance, now, name) for number, name in enumerate(known)]
        total = sum(it.tokens for it in peers)
        self.peers = [replace(it, share=it.tokens / total) for it in peers]

    def tick(self) -> None:
        """Two seconds later: everybody live was heard of and trained on."""
        self.ticks += 1
        self.now += 2.0
        chance = random.Random(self.ticks)
        self.peers = [
            replace(
                peer,
                tokens_per_second=peer.tokens_per_second * chance.uniform(0.97, 1.03),
                tokens=peer.tokens + int(2 * peer.tokens_per_second),
                seen_seconds_ago=(peer.seen_seconds_ago + 2.0) % 10,
            )
            if peer.live
            else replace(peer, seen_seconds_ago=peer.seen_seconds_ago + 2.0)
            for peer in self.peers
        ]

    def news(self, run_id: str, since: Cursor | None) -> News:
        self.tick()
        return News(self.overview(run_id), (), (), Cursor(0))

    def runs(self) -> tuple[RunLine, ...]:
        overview = self.overview(RUN_ID)
        line = RunLine(
            run_id=RUN_ID,
            description=overview.description,
            state=overview.state,
            created_at=overview.created_at,
            peers_live=overview.peers_live,
            round=overview.round,
            tokens=overview.tokens,
            target_tokens=TARGET,
        )
        return (line,)

    def overview(self, run_id: str) -> RunOverview:
        if run_id != RUN_ID:
            raise UnknownRunError(run_id)
        tokens = ROUNDS * ROUND_TOKENS + self.ticks * 6_000_000
        speed = sum(peer.tokens_per_second for peer in self.peers) or 1.0
        live = sum(peer.live for peer in self.peers)
        return RunOverview(
            run_id=RUN_ID,
            description="A bilingual model of one billion parameters, trained by its readers",
            now=self.now,
            model="LlamaForCausalLM",
            parameters=1_236_000_000,
            state="open",
            condition="training",
            reason=f"{live} peers train; round {ROUNDS} was committed with 58 of 61 members",
            invite_only=False,
            join_command=f"peer join --run {RUN_ID} --coordinator tern.example.org:7700",
            owner="9f3c" * 16,
            spec_hash="51be" * 16,
            created_at=self.now - ROUNDS * ROUND_SECONDS,
            round=ROUNDS,
            tokens=tokens,
            target_tokens=TARGET,
            progress=tokens / TARGET,
            seconds_left=(TARGET - tokens) / (ROUND_TOKENS / ROUND_SECONDS),
            tokens_per_second=speed,
            peers_live=live,
            peers_ever=len(self.peers),
            train_loss=2.314,
            validation_loss=2.287,
            first_validation_loss=10.83,
            validation_round=ROUNDS - 1,
            validation_seconds_ago=184.0 + 2 * self.ticks,
            rounds_committed=ROUNDS,
            rounds_void=37,
            last_round_seconds_ago=14.0 + 2 * self.ticks,
            digests_agree=True,
            bytes_sent_per_round=168_000_000.0,
            report_seconds_ago=0.6,
            text_seen_once=0.61,
            text_seen_again=0.004,
            passes=0,
        )

    def participants(self, run_id: str, wanted: Wanted) -> Participants:
        part = wanted.search.casefold()
        rows = [
            peer
            for peer in self.peers
            if (part in peer.name.casefold() or part in peer.peer_id.casefold())
            and wanted.live in (None, peer.live)
        ]
        rows.sort(
            key=lambda peer: (getattr(peer, wanted.sort), peer.peer_id), reverse=wanted.descending
        )
        page = rows[wanted.offset : wanted.offset + wanted.limit]
        return Participants(len(rows), wanted.offset, tuple(page))

    def participant(self, run_id: str, peer_id: str) -> Participant:
        found = next((peer for peer in self.peers if peer.peer_id == peer_id), None)
        if found is None:
            raise UnknownPeerError(run_id, peer_id)
        return found

    def receipts(self, run_id: str, peer_id: str, before: int | None, limit: int) -> Receipts:
        top = min(before or ROUNDS + 1, ROUNDS + 1) - 1
        rows = tuple(self._receipt(number) for number in range(top, max(top - limit, 0), -1))
        return Receipts(
            rows=rows,
            older=rows[-1].round if rows and rows[-1].round > 1 else None,
            kept_since=self.now - 30 * 86_400,
        )

    def _receipt(self, number: int) -> ReceiptLine:
        missed = number % 17 == 3
        claimed = 96_000 + number * 7919 % 9_000
        return ReceiptLine(
            round=number,
            at=self.now - (ROUNDS - number) * ROUND_SECONDS,
            claimed_tokens=claimed,
            merged_tokens=0 if missed else claimed,
            included=not missed,
            reason=MISSES[number % 3] if missed else "",
            observed=number % 5 != 0,
            witnesses=number % 5 * 11,
        )

    def leaderboard(self, run_id: str, period: Literal["all", "week"]) -> Leaderboard:
        ranked = sorted(self.peers, key=lambda peer: peer.tokens, reverse=True)[:25]
        part = 1.0 if period == "all" else 0.21
        return Leaderboard(
            period=period,
            since=self.now - (7 * 86_400 if period == "week" else ROUNDS * ROUND_SECONDS),
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

    def rounds(self, run_id: str, before: int | None, limit: int) -> Rounds:
        top = min(before or ROUNDS + 1, ROUNDS + 1) - 1
        rows: list[RoundLine] = []
        for number in range(top, max(top - limit, 0), -1):
            rows.append(self._round(number, committed=True))
            if number % 29 == 0:
                rows.append(self._round(number, committed=False))
        return Rounds(tuple(rows), top - limit + 1 if top > limit else None)

    def _round(self, number: int, committed: bool) -> RoundLine:
        members = random.Random(number).sample(self.peers, min(61, len(self.peers)))
        late = number % 3
        return RoundLine(
            key=f"{number:016x}{committed:016x}",
            round=number,
            at=self.now - (ROUNDS - number) * ROUND_SECONDS - 14 - (not committed) * 40,
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

    def events(self, run_id: str, before: int | None, limit: int) -> Events:
        kinds = (
            ("joined", "joined with 0.1.0"),
            ("round void", "28 of 61 members answered in 5 s: no majority"),
            ("lost", "silent for 60 s; its last word: training"),
            ("back", "back after 14 min"),
            ("left", "left: its user stopped it"),
            ("diverged", "2 digests were told of round 1881"),
            ("divergence healed", "all members of round 1882 tell one digest"),
        )
        top = min(before or 901, 901) - 1
        rows = []
        for number in range(top, max(top - limit, 0), -1):
            kind, text = kinds[number % len(kinds)] if number % 4 else kinds[0]
            peer = self.peers[number % len(self.peers)]
            of_peer = kind in ("joined", "lost", "back", "left")
            rows.append(
                EventLine(
                    number=number,
                    at=self.now - (900 - number) * 612.0 - 20,
                    kind=kind,
                    peer_id=peer.peer_id if of_peer else "",
                    name=peer.name if of_peer else "",
                    round=None if of_peer else 1880 + number % 200,
                    text=text,
                )
            )
        return Events(tuple(rows), rows[-1].number if rows and rows[-1].number > 1 else None)

    def series(self, run_id: str, points: int, since: float) -> Series:
        start = max(since, self.now - ROUNDS * ROUND_SECONDS)
        times = [start + (self.now - start) * i / (points - 1) for i in range(points)]
        chance = random.Random(3)
        fastest = sorted(self.peers, key=lambda peer: -peer.tokens_per_second)[:10]
        rest = sum(peer.tokens_per_second for peer in self.peers) - sum(
            peer.tokens_per_second for peer in fastest
        )
        # more each day, fewer at night, never the same
        day = [
            (0.35 + 0.55 * ((at - start) / (self.now - start)) ** 0.7)
            * (1 + 0.07 * math.sin(at / 86_400 * 2 * math.pi) + chance.gauss(0, 0.008))
            for at in times
        ]
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
        lines.append(PeerSeries("", "", tuple(rest * now for now in day)))
        live = sum(peer.live for peer in self.peers)
        numbers = [self._round_at(at) for at in times]
        return Series(
            now=self.now,
            validation=tuple(_loss(at, n, 0.0) for at, n in zip(times, numbers, strict=True)),
            training=tuple(
                _loss(at, n, chance.gauss(0.03, 0.03)) for at, n in zip(times, numbers, strict=True)
            ),
            at=tuple(times),
            peers_live=tuple(round(live * now * chance.uniform(0.97, 1)) for now in day),
            tokens_per_second=tuple(lines),
            rounds=RoundSeries(
                at=tuple(times),
                round=tuple(numbers),
                tokens=tuple(number * ROUND_TOKENS for number in numbers),
                computing_seconds=tuple(ROUND_SECONDS - 60 + chance.gauss(0, 9) for _ in times),
                exchange_seconds=tuple(40 + abs(chance.gauss(0, 8)) for _ in times),
                bytes_sent=tuple(1.02e10 * now for now in day),
                void=tuple(int(chance.random() < 0.08) for _ in times),
            ),
        )

    def _round_at(self, at: float) -> int:
        return max(1, ROUNDS - int((self.now - at) / ROUND_SECONDS))


def _loss(at: float, number: int, noise: float) -> LossPoint:
    loss = 2.05 + 8.8 * (1 + number / 9) ** -0.55 + noise
    return LossPoint(at=at, tokens=number * ROUND_TOKENS, round=number, loss=loss)
