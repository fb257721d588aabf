"""How often one peer dials others because they ask for it. Pure."""

from __future__ import annotations

from collections import OrderedDict

PER_ASKER = 6
"""So many at once, and one more every `REFILL_SECONDS`."""
REFILL_SECONDS = 10.0
IN_ALL = 30
"""The same for all askers together."""
REFILL_ALL_SECONDS = 1.0
REMEMBERED = 1024


class _Bucket:
    """So many at once, and one more now and then."""

    def __init__(self, most: int, refill: float, now: float) -> None:
        self._most = most
        self._refill = refill
        self._left = float(most)
        self._at = now

    def left(self, now: float) -> float:
        self._left = min(self._most, self._left + max(0.0, now - self._at) / self._refill)
        self._at = now
        return self._left

    def take(self) -> None:
        self._left -= 1


class DialQuota:
    """Counts by asker and in all. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._all = _Bucket(IN_ALL, REFILL_ALL_SECONDS, now)
        self._of: OrderedDict[str, _Bucket] = OrderedDict()

    def refusal(self, askers: tuple[str, ...], now: float) -> str:
        """Why not to dial now; empty if it is all right, which is then counted.

        askers: under which names one asker is counted; none: it is counted in all only.
        """
        if self._all.left(now) < 1:
            return "too many peers ask to be dialled just now"
        buckets = [self._bucket(it, now) for it in askers]
        if any(it.left(now) < 1 for it in buckets):
            return f"dialled often enough: once in {REFILL_SECONDS:.0f} s"
        for bucket in (self._all, *buckets):
            bucket.take()
        return ""

    def _bucket(self, asker: str, now: float) -> _Bucket:
        # who is forgotten because of many others begins anew; all together are bounded anyway
        bucket = self._of.pop(asker, None) or _Bucket(PER_ASKER, REFILL_SECONDS, now)
        self._of[asker] = bucket
        if len(self._of) > REMEMBERED:
            self._of.popitem(last=False)
        return bucket
