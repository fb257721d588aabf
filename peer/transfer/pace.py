"""How fast a donor serves: a cap on all its downloads together, and fair turns among them. Pure."""

from __future__ import annotations

BYTES_PER_CORE = 4e6
"""A gigabyte served costs five seconds of a processor: this rate is 2 % of each core."""
LINK_SHARE = 0.5
"""Of the upload; the rest is for rounds."""
SLOWEST = 32 * 1024.0
"""Bytes per second; slower than that is of no use to anybody."""


TOO_SLOW = 8 * 1024.0
"""Bytes per second; whose user allows a donor less than that gives nothing: a joiner would wait
two minutes for a block, and leave."""


def serving_rate(upload: int, cores: int, limited: bool = False) -> float:
    """Bytes per second that a donor gives away. upload: bytes per second, 0 while not known.

    limited: by its user, who then has the last word on how little that may be; 0 for nothing.
    """
    budget = BYTES_PER_CORE * cores
    rate = min(LINK_SHARE * upload, budget) if upload else budget
    if limited:
        return rate if rate >= TOO_SLOW else 0.0
    return max(SLOWEST, rate)


class Pace:
    """Blocks leave one after the other, none before its time.

    Each download has one block due at a time and they go in the order in which they became due,
    so downloads take turns, and each gets the same share of the cap.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    def reserve(self, size: int, rate: float, now: float) -> float:
        """Take the next place for `size` bytes; seconds from now until they may leave."""
        leaves_at = max(self._free_at, now)
        self._free_at = leaves_at + size / rate
        return leaves_at - now
