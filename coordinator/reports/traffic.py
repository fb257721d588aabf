"""What a member of a committed round usually sends. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

SAMPLES = 10_000


class Traffic:
    """Bytes that members sent in a round each, of the newest `SAMPLES` of them."""

    def __init__(self) -> None:
        self._sent: deque[int] = deque(maxlen=SAMPLES)
        self._median: float | None = 0.0
        """None: it is to be found out. That takes a while, and it is asked for often."""

    def add(self, sent: Iterable[int]) -> None:
        """The newest last."""
        self._sent.extend(sent)
        self._median = None

    @property
    def median(self) -> float:
        """0 if there are none."""
        if self._median is None:
            self._median = float(median(self._sent)) if self._sent else 0.0
        return self._median
