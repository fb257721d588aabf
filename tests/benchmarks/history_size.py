"""How large a coordinator's database becomes: a year of a thousand peers, as thinning leaves it.

Fills the tables in the order in which rows come in life, a part of each large one, and reckons
from the bytes that this part takes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, text

from coordinator.domain import Run
from coordinator.history import DAY, HOUR
from coordinator.storage import schema
from coordinator.storage.samples import MINUTE
from coordinator.storage.store import Store
from coordinator.storage.thinning import Keep
from tests.reporting import peer

YEAR = 365
KEEP = Keep()
NOW = 20_000 * DAY
ROUND_SECONDS = 60
SPEEDS_KEPT = {MINUTE: 20, HOUR: 40, DAY: 80}
"""Peers that were among the fastest some time in such a span."""
DIGEST = random.Random(0).randbytes(32)
_AT_ONCE = 5000

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Rows of one table."""

    table: Table
    rows: Iterable[Row]
    whole: int
    """How many there are at the end of the year."""


@dataclass(frozen=True)
class Size:
    """What a table takes, its indices included."""

    table: str
    rows: int
    bytes_each: float

    @property
    def bytes(self) -> float:
        return self.rows * self.bytes_each


def peer_id(number: int) -> str:
    """As long as a real one."""
    return f"Qm{random.Random(number).getrandbits(230):044x}"[:46]


def _states(peers: int) -> Iterator[Row]:
    for number in range(peers):
        state = peer(
            peer_id(number),
            name=f"peer number {number}",
            reason="training round 50000: 1200 of 2048 tokens",
            journal=DIGEST[:16],
            processor="AMD Ryzen 7 5800X 8-Core Processor",
            accelerator="NVIDIA GeForce RTX 3090",
            system="Linux",
        )
        row = {"peer": number + 1, **asdict(state)}
        del row["peer_id"]
        yield row


def _attempts(kept: int) -> Iterator[Row]:
    for number in range(1, kept + 1):
        yield {
            "id": number,
            "run_id": "year",
            "round": 500_000 + number,
            "attempt": random.Random(number).randbytes(16),
            "at": NOW - (kept - number) * ROUND_SECONDS + 0.123,
            "committed": True,
            "reason": "",
            "members": 1000,
            "run_tokens": 10**12 + number,
            "seconds": 4.567,
            "round_seconds": 59.321,
            "finished_by": 1000,
            "included": 990,
            "bytes_sent": 10**11,
            "loss_sum": 1.5e7,
            "loss_weight": 5e6,
            "digests": 1,
        }


def _receipts(peers: int, attempts: int) -> Iterator[Row]:
    """The newest rounds, each with all peers; one in twenty was left out."""
    chance = random.Random(1)
    for attempt in range(1, attempts + 1):
        for number in range(1, peers + 1):
            out = chance.random() < 0.05
            tokens = chance.randint(2000, 60_000)
            yield {
                "peer": number,
                "round": 500_000 + attempt,
                "attempt": attempt,
                "at": NOW - attempt + 0.123,
                "claimed_tokens": tokens,
                "merged_tokens": 0 if out else tokens,
                "included": not out,
                "observed": True,
                "witnesses": peers,
                "reason": "left out: arrived 3.2 s late" if out else "",
            }


def _credited(peers: int, span: int, spans: int) -> Iterator[Row]:
    for start in range(spans):
        for number in range(1, peers + 1):
            yield {
                "peer": number,
                "span": span,
                "start": (NOW // span - spans + start) * span,
                "rounds": 57,
                "missed": 3,
                "claimed_tokens": 1_800_000,
                "merged_tokens": 1_700_000,
                "observed_tokens": 1_700_000,
            }


def _samples(span: int, spans: int) -> Iterator[Row]:
    for start in range(spans):
        yield {
            "run_id": "year",
            "span": span,
            "start": NOW + start * span,
            "looks": span // 60,
            "peers_live": 1000.5,
            "tokens_per_second": 123456.7,
        }


def _speeds(span: int, spans: int) -> Iterator[Row]:
    for sample in _samples(span, spans):
        for number in range(1, SPEEDS_KEPT[span] + 1):
            yield {
                **{name: sample[name] for name in ("run_id", "span", "start")},
                "peer": number * 11,
                "tokens_per_second": 1234.5,
            }


def parts(peers: int) -> list[Part]:
    """All that a year leaves, those that refer to others after them."""
    hours, minutes = int(KEEP.hours_seconds // HOUR), int(KEEP.minutes_seconds // MINUTE)
    numbers = range(1, peers + 1)
    attempts = min(KEEP.attempts, int(KEEP.attempts_seconds // ROUND_SECONDS))
    whole_receipts = min(KEEP.receipts, peers * int(KEEP.receipts_seconds // ROUND_SECONDS))
    receipts = [*islice(_receipts(peers, 300), 250_000)]
    names = [
        {"id": it, "run_id": "year", "peer_id": peer_id(it), "joined_at": 1.5} for it in numbers
    ]
    totals = [
        {"peer": it, **dict.fromkeys(schema.CREDITS, 10**10), "missed_round": 5, "late": 0,
         "missed_reason": "left out: arrived 3.2 s late", "thinned_round": 400_000}
        for it in numbers
    ]  # fmt: skip
    sums = [
        {**{it.name: 10**6 for it in schema.round_sums.c}, "run_id": "year", "span": HOUR,
         "start": it * HOUR}
        for it in range(hours + YEAR)
    ]  # fmt: skip
    events = [
        {"run_id": "year", "at": 1.5, "kind": "lost", "peer_id": peer_id(it), "round": it,
         "text": f"peer number {it} fell silent; it was training round 500000"}
        for it in range(KEEP.events)
    ]  # fmt: skip
    losses = [
        {"run_id": "year", "round": it, "peer": 1, "at": 1.5, "run_tokens": 10**12, "loss": 2.345}
        for it in range(KEEP.validations)
    ]
    words = (
        {k: row[k] for k in ("attempt", "peer", "round")} | {"committed": True} for row in receipts
    )
    told = ({"attempt": it, "number": 0, "digest": DIGEST} for it in range(1, attempts + 1))
    return [
        Part(schema.peers, names, peers),
        Part(schema.peer_states, _states(peers), peers),
        Part(schema.totals, totals, peers),
        Part(schema.attempts, _attempts(attempts), attempts),
        Part(schema.digests, told, attempts),
        Part(schema.words, words, whole_receipts),
        Part(schema.receipts, receipts, whole_receipts),
        Part(schema.credited, islice(_credited(peers, HOUR, hours), 300_000), peers * hours),
        Part(schema.credited, _credited(peers, DAY, YEAR), peers * YEAR),
        Part(schema.round_sums, sums, len(sums)),
        Part(schema.samples, _samples(MINUTE, minutes), minutes),
        Part(schema.samples, _samples(HOUR, hours), hours),
        Part(schema.samples, _samples(DAY, YEAR), YEAR),
        Part(schema.speeds, _speeds(MINUTE, minutes), minutes * SPEEDS_KEPT[MINUTE]),
        Part(schema.speeds, _speeds(HOUR, hours), hours * SPEEDS_KEPT[HOUR]),
        Part(schema.speeds, _speeds(DAY, YEAR), YEAR * SPEEDS_KEPT[DAY]),
        Part(schema.events, events, KEEP.events),
        Part(schema.validations, losses, KEEP.validations),
    ]


def measure(folder: Path, peers: int) -> list[Size]:
    """Fill a database, and reckon."""
    run = Run("year", b"{}" * 1000, b"", b"", b"", "a year", 1, 1)
    sizes = []
    with closing(Store.open(folder / "year.sqlite")) as store:
        store.add_run(run)
        for part in parts(peers):
            before = _bytes(store)
            filled = 0
            rows = iter(part.rows)
            with store.together() as connection:
                while some := list(islice(rows, _AT_ONCE)):
                    connection.execute(insert(part.table), some)
                    filled += len(some)
            sizes.append(Size(part.table.name, part.whole, (_bytes(store) - before) / filled))
    return sizes


def _bytes(store: Store) -> int:
    with store.together() as connection:
        pages = connection.scalar(text("PRAGMA page_count")) or 0
        return int(pages) * int(connection.scalar(text("PRAGMA page_size")) or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=1000)
    peers = parser.parse_args().peers
    with tempfile.TemporaryDirectory() as folder:
        sizes = measure(Path(folder), peers)
    for size in sizes:
        whole = f"{size.bytes / 1e6:6.1f} MB"
        print(f"{size.table:12} {size.rows:9,} rows of {size.bytes_each:4.0f} B: {whole}")
    print(f"{sum(size.bytes for size in sizes) / 1e6:.0f} MB after a year of {peers} peers")
