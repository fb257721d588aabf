"""Whether a peer has to rest, why, and until when. Pure.

Times are unix seconds on the machine's own clock, which its user reads too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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


def rest_for_pause(pause: Pause | None, now: float) -> Rest | None:
    """The rest that a user's pause asks for; None if there is none, or it is over."""
    if pause is None or (pause.until is not None and now >= pause.until):
        return None
    until = "" if pause.until is None else f" until {clock_text(pause.until, now)}"
    reason = f"paused by you{until}; `peer resume` ends it"
    return Rest(reason, pause.until, paused=True, urgent=True, reasons=(reason,))


def clock_text(at: float, now: float) -> str:
    """A time of day, with the day if that is another one: "18:00", "Mon 08:00", "1 Dec 00:00"."""
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if then.date() == today.date():
        return f"{then:%H:%M}"
    if at - now < 6 * 86400:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b %H:%M}"
