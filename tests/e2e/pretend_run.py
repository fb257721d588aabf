"""A large run that never was, for looking at the dashboard: the same one from the same seed.

For what a real coordinator cannot be brought to in seconds: a thousand peers, a week of rounds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from coordinator.domain import UnknownPeerError, UnknownRunError
from coordinator.spectators.participants import Wanted
from coordinator.spectators.reading import Cursor, News, Reading
from coordinator.spectators.views import (
    EventLine,
    Events,
    Leaderboard,
    Participant,
    Participants,
    ReceiptLine,
    Receipts,
    RunLine,
    RunOverview,
)
from tests.e2e.pretend_past import ROUND_TOKENS, PretendPast, leaders
from tests.e2e.pretend_peers import MISSES, ROUND_SECONDS, ROUNDS, peer

RUN_ID = "tern-1b"
TARGET = 3_800_000_000_000


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

    def check(self, run_id: str) -> None:
        if run_id != RUN_ID:
            raise UnknownRunError(run_id)

    def looking_back(self) -> PretendPast:
        return PretendPast(lambda: (self.now, self.peers))

    def leaders(self, run_id: str) -> Leaderboard:
        return leaders(self.now, self.peers, "all")

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
        self.check(run_id)
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
