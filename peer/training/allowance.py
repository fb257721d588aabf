"""How much of a processor's or an accelerator's time may be used, and when to hold still. Pure."""

from __future__ import annotations

WINDOW_SECONDS = 10.0
"""What is used beyond the rate is made up for within so long; what is older is forgiven."""
SAVED_SECONDS = 0.2
"""What is not used is kept for so long: it must not become a burst later."""


class Allowance:
    """Seconds of use that come in at a rate; who has used more than came in waits.

    As in a token bucket, except that use is told after the fact and may become a debt.
    """

    def __init__(self, now: float) -> None:
        self._rate: float | None = None
        self._level = 0.0
        self._at = now

    def set_rate(self, rate: float | None, now: float) -> None:
        """Seconds of use a second; None: as much as there is, and what was owed is forgotten."""
        self._accrue(now)
        self._rate = rate
        self._level = min(self._level, self._most) if rate else 0.0

    def used(self, seconds: float, now: float) -> None:
        """So much was used since this was last told."""
        # what came in meanwhile was for this use: only the rest is what may be saved
        self._accrue(now, seconds)

    def wait_seconds(self, now: float) -> float:
        """For how long to hold still; 0: go on."""
        self._accrue(now)
        return 0.0 if self._rate is None or self._level >= 0 else -self._level / self._rate

    @property
    def _most(self) -> float:
        return (self._rate or 0.0) * SAVED_SECONDS

    def _accrue(self, now: float, used: float = 0.0) -> None:
        if self._rate is not None:
            level = self._level + self._rate * max(0.0, now - self._at) - used
            self._level = max(min(level, self._most), -self._rate * WINDOW_SECONDS)
        self._at = now
