"""What of a run's past is kept, and for how long. Pure.

The arithmetic is for a year of a thousand peers in under 1 GB. Measured in a SQLite file (`python
-m tests.benchmarks history_size`), a peer's word on a round and the receipt for it take 90 bytes
together, a round 210, an hour's or a day's sums of a peer 55. With rounds of a minute a thousand
peers make 130 MB of words and receipts a day, so they are kept for a week or up to 4 million, which
is 350 MB and here almost three days. The rest is sums: 74 MB of hours in two months, 21 MB of days
in a year, and 15 MB of rounds, samples and events. Nothing of it changes a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.history import DAY


@dataclass(frozen=True)
class Keep:
    """For how many seconds, and how many at most. Sums by the day are kept for good."""

    receipts_seconds: float = 7 * DAY
    receipts: int = 4_000_000
    """Of all runs together. The oldest rounds are thinned first."""
    attempts_seconds: float = 30 * DAY
    attempts: int = 50_000
    """Of a run; and never those that have receipts."""
    hours_seconds: float = 60 * DAY
    minutes_seconds: float = 2 * DAY
    events: int = 20_000
    """Of a run."""
    validations: int = 20_000
    """Rounds of a run with a loss on held-out text."""
    peers: int = 50_000
    """Ever heard of in a run. Beyond that those that were forgotten are summed up as one."""


@dataclass(frozen=True)
class Stored:
    """One of the oldest attempts, and how many peers told of it."""

    at: float
    words: int


def receipts_horizon(keep: Keep, now: float, oldest: Sequence[Stored], words: int) -> float:
    """Receipts of attempts that ended before this moment (unix seconds) are to be thinned.

    oldest: attempts that have receipts, the oldest first; words: in all there are.
    """
    by_age = now - keep.receipts_seconds
    surplus = words - keep.receipts
    horizon = by_age
    for attempt in oldest:
        if surplus <= 0:
            break
        surplus -= attempt.words
        horizon = max(by_age, next_moment(attempt.at))
    return horizon


def next_moment(at: float) -> float:
    """The first that a microsecond tells from `at`."""
    return at + 1e-6


def sparser(rounds: Sequence[int], keep: int) -> list[int]:
    """Which of these ascending rounds to drop so that `keep` are left.

    The newer half stays, and the first; of the older half every second goes. As that happens
    again and again, what is old is the sparser the older it is.
    """
    older = rounds[: len(rounds) // 2]
    return list(older[1::2])[: max(0, len(rounds) - keep)]
