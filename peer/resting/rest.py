"""Whether a peer has to rest, why, and until when. Pure.

Times are unix seconds on the machine's own clock, which its user reads too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo


@dataclass(frozen=True)
class Pause:
    """Asked for by the user."""

    until: float | None
    """None: until they resume."""


@dataclass(frozen=True)
class Rest:
    """A peer takes no part for now."""

    reason: str
    """For a person, with what would end it."""
    until: float | None = None
    """None: nobody knows."""
    paused: bool = False
    """By its user, not by a limit."""
    urgent: bool = False
    """Somebody waits for this machine: a round under way is not seen through."""
    reasons: tuple[str, ...] = ()
    """All that hold now, the longest first."""
    causes: tuple[Cause, ...] = ()
    """The same, for the next look."""


@dataclass(frozen=True)
class Cause:
    """One reason to rest."""

    name: str
    """The limit's, as in the settings; PAUSE for the user's own."""
    words: str
    """For a person, with what would end it."""
    until: float | None
    """None: nobody knows."""
    urgent: bool = False
    seen: float = 0.0
    """When it was last seen to hold, where it counts a little longer."""


PAUSE = "pause"


def rest_for_pause(pause: Pause | None, now: float) -> Rest | None:
    """The rest that a user's pause asks for; None if there is none, or it is over."""
    cause = pause_cause(pause, now)
    return None if cause is None else rest_of([cause])


def pause_cause(pause: Pause | None, now: float, zone: tzinfo | None = None) -> Cause | None:
    """A user's pause as a reason to rest; None if there is none, or it is over."""
    if pause is None or (pause.until is not None and now >= pause.until):
        return None
    until = "" if pause.until is None else f" until {clock_text(pause.until, now, zone)}"
    return Cause(PAUSE, f"paused by you{until}; `peer resume` ends it", pause.until, urgent=True)


def rest_of(causes: Iterable[Cause]) -> Rest | None:
    """The rest that these ask for together; None without any.

    Its reason is that which lasts longest, as far as anybody knows: a pause without an end, then
    those whose end is known, then those that may end at any moment.
    """
    found = sorted(causes, key=_longest_first)
    if not found:
        return None
    open_ended = any(it.until is None for it in found)
    more = len(found) - 1
    also = f" (and {more} more {'reason' if more == 1 else 'reasons'})" if more else ""
    return Rest(
        found[0].words + also,
        None if open_ended else max(it.until or 0.0 for it in found),
        paused=any(it.name == PAUSE for it in found),
        urgent=any(it.urgent for it in found),
        reasons=tuple(it.words for it in found),
        causes=tuple(found),
    )


def _longest_first(cause: Cause) -> tuple[int, float]:
    if cause.until is not None:
        return 1, -cause.until
    return (0 if cause.name == PAUSE else 2), 0.0


def clock_text(at: float, now: float, zone: tzinfo | None = None) -> str:
    """A time of day, with the day if that is another one: "18:00", "Mon 08:00", "1 Dec 00:00".

    zone: None is the machine's own.
    """
    then, today = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}" if at - now < 600 else f"{then:%H:%M}"
    if at - now < 6 * 86400:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b %H:%M}"
