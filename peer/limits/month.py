"""A calendar month's budget of data: what is used, what is left, what it allows per second. Pure.

Months are the local calendar's, as a volunteer's contract counts them. Times are unix seconds.
"""

from __future__ import annotations

from datetime import date, datetime

GOODBYE_SHARE = 0.01
LEAST_GOODBYE = 5e6
MOST_GOODBYE_SHARE = 0.1
"""Of a budget so small that five megabytes are much of it."""


def goodbye(budget: float) -> float:
    """Bytes of a month's budget that are kept for leaving: the round under way, the last words."""
    return min(max(GOODBYE_SHARE * budget, LEAST_GOODBYE), MOST_GOODBYE_SHARE * budget)


def is_used_up(used: float, budget: float | None) -> bool:
    """Whether a peer has to rest until the month ends; budget: bytes, None for no limit."""
    return budget is not None and used >= budget - goodbye(budget)


def month_of(day: date) -> tuple[date, date]:
    """The first day of a day's month, and that of the next one."""
    first = day.replace(day=1)
    after = first.replace(year=first.year + 1, month=1) if first.month == 12 else None
    return first, after or first.replace(month=first.month + 1)


def month_ends(now: float) -> float:
    """When the local month ends that `now` is in."""
    after = month_of(datetime.fromtimestamp(now).date())[1]
    return datetime(after.year, after.month, after.day).timestamp()


def sustained_rate(used: float, budget: float, now: float) -> float:
    """Bytes per second, both directions together, that use up the rest just when the month ends."""
    left = budget - goodbye(budget) - used
    return max(0.0, left) / max(month_ends(now) - now, 1.0)
