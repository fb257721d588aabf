"""A token bucket: how many bytes may pass by when. Pure; `now` is monotonic seconds."""

from __future__ import annotations

import math

BURST_SECONDS = 0.2
"""What may pass at once after a pause: 2 % of what may pass in ten seconds."""
DEBT_SECONDS = 2.0
"""What passed without asking is paid for by what comes after, for at most so long: an exchange
gives up who is silent for three seconds."""
_PIECE_SECONDS = 0.05
_SOON = 1e-4
"""Seconds; no clock is more exact than that for those who sleep."""
_SMALLEST_PIECE, _LARGEST_PIECE = 2 * 1024, 64 * 1024


class Bucket:
    """Bytes may pass while it is not in debt; what passes then may put it there."""

    def __init__(self, rate: float = math.inf) -> None:
        """rate: bytes per second; infinite for no limit."""
        self._rate = rate
        self._level = 0.0
        self._at = -math.inf

    @property
    def rate(self) -> float:
        return self._rate

    @property
    def limited(self) -> bool:
        return math.isfinite(self._rate)

    @property
    def piece(self) -> int:
        """Bytes that should pass at a time, so that many who share it all move on."""
        if not self.limited:
            return _LARGEST_PIECE
        return min(max(int(self._rate * _PIECE_SECONDS), _SMALLEST_PIECE), _LARGEST_PIECE)

    def change(self, rate: float, now: float) -> None:
        """Let this rate hold from now on. A debt stays as many seconds long as it was."""
        seconds = self._filled(now) / self._rate if self.limited else 0.0
        self._rate = rate
        self._level = seconds * rate if self.limited else 0.0

    def wait(self, now: float) -> float:
        """Seconds until something may pass; 0 if it may now."""
        wait = -self._filled(now) / self._rate if self.limited else 0.0
        return wait if wait > _SOON else 0.0

    def take(self, size: float, now: float) -> None:
        """So many bytes have passed; negative: fewer than it was told."""
        if self.limited:
            self._level = max(self._filled(now) - size, -DEBT_SECONDS * self._rate)

    def _filled(self, now: float) -> float:
        gained = self._rate * max(0.0, now - self._at)
        self._level = min(self._level + gained, BURST_SECONDS * self._rate)
        self._at = now
        return self._level
