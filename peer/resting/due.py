"""Whether a peer has to rest: what is seen of the machine against what its user allows. Pure.

Times are unix seconds. A rest does not flap: what ended a moment ago still counts for a minute, a
machine has to be 5 °C cooler than the limit, and one that is used has to be left alone for as long
as the user says. What cannot be seen here counts as reached: a limit that is set holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import lru_cache

from peer.limits.hours import Hours, parse_hours
from peer.limits.month import is_used_up, month_of
from peer.limits.settings import Limits
from peer.limits.units import bytes_text, seconds_text
from peer.resting.rest import Cause, Pause, Rest, clock_text, pause_cause, rest_of

LINGER_SECONDS = 60.0
"""So long a cause still counts after it was last seen: programs start others, plugs are loose."""
COOLER = 5.0
"""°C below the limit before a peer trains again."""
_WHOLE_HOURS = lru_cache(maxsize=8)(parse_hours)


@dataclass(frozen=True)
class Sight:
    """What was seen of the machine at one moment; only what a limit asks for is looked at."""

    local: datetime
    """With the machine's zone."""
    on_battery: bool = False
    idle_seconds: float | None = None
    """Since somebody last used the machine; None: that cannot be seen here."""
    temperature: float | None = None
    """°C of the hottest processor or accelerator; None: no sensor can be read here."""
    slowed_in_vain: bool = False
    """The trainer has been slowed down as far as it goes, and it is still too hot."""
    programs: tuple[str, ...] = ()
    """Those of the listed ones that run, as the user wrote them."""
    month_bytes: float = 0.0
    """Sent and received in this calendar month."""

    @property
    def now(self) -> float:
        return self.local.timestamp()


def rest_due(
    limits: Limits, sight: Sight, pause: Pause | None, before: Rest | None = None
) -> Rest | None:
    """The rest that is due, with all its causes; None: train. before: that of the last look."""
    held = {it.name: it for it in before.causes} if before is not None else {}
    causes = []
    paused = pause_cause(pause, sight.now, sight.local.tzinfo)
    if paused is not None:
        causes.append(paused)
    for look in _LOOKS:
        causes += look(limits, sight, held)
    return rest_of(causes)


def hours_of(limits: Limits) -> Hours | None:
    """The hours that a user allows; None: all."""
    return _WHOLE_HOURS(limits.hours) if limits.hours else None


# ---- one look for each limit -----------------------------------------------------------

_Held = dict[str, Cause]


def _outside_hours(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    hours = hours_of(limits)
    if hours is None or hours.allows(sight.local):
        return
    local = sight.local.replace(second=0, microsecond=0)
    change = _next_change(hours, local.replace(tzinfo=None), local.fold, local.tzinfo)
    until = None if change is None else change.timestamp()
    when = "" if until is None else f"; until {clock_text(until, sight.now, sight.local.tzinfo)}"
    words = f"outside the hours you allow (limits.hours = {hours.describe()}){when}"
    yield Cause("hours", words, until)


@lru_cache(maxsize=4)
def _next_change(hours: Hours, local: datetime, fold: int, zone: tzinfo | None) -> datetime | None:
    """Asked every second, it changes every minute at most."""
    return hours.next_change(local.replace(fold=fold, tzinfo=zone))


def _data_used_up(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    budget = limits.data_per_month
    if budget is None or not is_used_up(sight.month_bytes, budget):
        return
    _, first = month_of(sight.local.date())
    until = datetime(first.year, first.month, 1, tzinfo=sight.local.tzinfo).timestamp()
    yield Cause(
        "data_per_month",
        f"the data of this month is used up (limits.data_per_month = {bytes_text(budget)}); "
        f"until {clock_text(until, sight.now, sight.local.tzinfo)}",
        until,
    )


def _on_battery(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    if limits.on_battery:
        return
    if sight.on_battery:
        yield Cause("on_battery", "on battery (limits.on_battery = false)", None, True, sight.now)
    else:
        yield from _lingering("on_battery", "on battery a moment ago", sight, held)


def _programs(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    if sight.programs:
        more = len(sight.programs) - 1
        names = sight.programs[0] + (f" and {more} more of your list" if more else "")
        words = f"{names} {'are' if more else 'is'} running (limits.not_while)"
        yield Cause("not_while", words, None, True, sight.now)
    elif limits.not_while:
        words = "a program of limits.not_while ran a moment ago"
        yield from _lingering("not_while", words, sight, held)


def _too_hot(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    limit = limits.max_temperature
    if limit is None:
        return
    if sight.temperature is None:
        yield _unseen("max_temperature", "no temperature can be read here")
    elif sight.slowed_in_vain:
        words = f"{sight.temperature:.0f} °C, though it was slowed down"
        yield Cause("max_temperature", f"too hot: {_cooler(words, limit)}", None, False, sight.now)
    elif (last := held.get("max_temperature")) is not None:
        if sight.temperature > limit - COOLER:
            words = _cooler(f"{sight.temperature:.0f} °C", limit)
            yield replace(last, words=f"cooling down: {words}", until=None, seen=sight.now)
        else:
            yield from _lingering("max_temperature", "too hot a moment ago", sight, held)


def _cooler(words: str, limit: float) -> str:
    return (
        f"{words} (limits.max_temperature = {limit:g}); until it is at most {limit - COOLER:g} °C"
    )


def _in_use(limits: Limits, sight: Sight, held: _Held) -> Iterator[Cause]:
    after = limits.idle_after
    if after is None:
        return
    if sight.idle_seconds is None:
        words = "it cannot be seen here whether somebody uses this machine"
        yield _unseen("idle_after", words)
    elif sight.idle_seconds < after:
        words = f"until nobody has for {seconds_text(after)} (limits.idle_after)"
        yield Cause("idle_after", f"somebody uses this machine; {words}", None, False, sight.now)
    elif after < LINGER_SECONDS:
        yield from _lingering("idle_after", "somebody used this machine just now", sight, held)


_LOOKS: tuple[Callable[[Limits, Sight, _Held], Iterator[Cause]], ...] = (
    _outside_hours,
    _data_used_up,
    _on_battery,
    _programs,
    _too_hot,
    _in_use,
)


def _unseen(name: str, why: str) -> Cause:
    words = f"{why} (limits.{name}); `peer config unset limits.{name}` lets it train all the same"
    return Cause(name, words, None)


def _lingering(name: str, words: str, sight: Sight, held: _Held) -> Iterator[Cause]:
    """The cause of the last look for as long as it counts after its end."""
    last = held.get(name)
    # a clock that was set back ends it: nobody waits for an hour because of summer time
    if last is not None and 0 <= sight.now - last.seen < LINGER_SECONDS:
        words = f"{words} (limits.{name}); waiting a minute whether it stays so"
        yield replace(last, words=words, until=last.seen + LINGER_SECONDS)
