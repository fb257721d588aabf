"""How large micro-batches may be, so that a trainer answers soon. Pure."""

from __future__ import annotations

from enum import Enum

RESPONSE_SECONDS = 1.0
"""Commands are answered between two micro-batches; the swarm waits for a cut."""
SLOW_IN_A_ROW = 3
MUCH_TOO_SLOW = 4.0
"""One that takes so many times as long as it should is reason enough."""
CALM_SECONDS = 600.0


class Change(Enum):
    NONE = "none"
    SMALLER = "smaller"
    LARGER = "larger"


class MicroBatchPace:
    """Tells from the time that micro-batches take whether the next ones should be larger.

    They get smaller when three in a row are slow, or one is much too slow. They grow back when for
    ten minutes none took half as long: what made them slow may be over, a game or a backup, and
    small micro-batches waste a machine that is fast again. As twice the size takes at most about
    twice the time, a machine that stays slow does not go back and forth.
    """

    def __init__(self) -> None:
        self._slow_in_a_row = 0
        self._calm_since: float | None = None

    def took(self, seconds: float, now: float, most: float = RESPONSE_SECONDS) -> Change:
        """A micro-batch took `seconds`, and should `most`; what the next should be like."""
        self._slow_in_a_row = self._slow_in_a_row + 1 if seconds > most else 0
        if self._slow_in_a_row == SLOW_IN_A_ROW or seconds > MUCH_TOO_SLOW * most:
            self._slow_in_a_row, self._calm_since = 0, None
            return Change.SMALLER
        if seconds > most / 2:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_SECONDS:
            self._calm_since = None
            return Change.LARGER
        return Change.NONE
