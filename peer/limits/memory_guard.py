"""Whether a peer takes more memory than it may, and what is to be done about it. Pure."""

from __future__ import annotations

from enum import Enum

SETTLE_SECONDS = 4.0
"""After a change the use has to be measured anew."""
HOPELESS_SECONDS = 20.0
"""Over the limit for so long with one sequence at a time: it does not fit."""


class Verdict(Enum):
    FINE = "fine"
    SMALLER = "smaller"
    """Use a smaller micro-batch."""
    HOPELESS = "hopeless"


class MemoryGuard:
    """Looks at what was taken at the most since the last look."""

    def __init__(self) -> None:
        self._settled_at = 0.0
        self._over_since: float | None = None

    def changed(self, now: float) -> None:
        """The limit or the trainer is another: what was taken until now says nothing."""
        self._settled_at = now + SETTLE_SECONDS
        self._over_since = None

    def look(self, taken: int, limit: float | None, micro_batch: int, now: float) -> Verdict:
        """taken, limit: bytes, None: no limit; micro_batch: sequences, 0: there is no trainer."""
        if limit is None or taken <= limit or not micro_batch:
            self._over_since = None
            return Verdict.FINE
        if now < self._settled_at:
            return Verdict.FINE
        if micro_batch > 1:
            self.changed(now)
            return Verdict.SMALLER
        if self._over_since is None:
            self._over_since = now
        if now - self._over_since < HOPELESS_SECONDS:
            return Verdict.FINE
        return Verdict.HOPELESS
