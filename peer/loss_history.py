"""How a peer's training loss has gone since it started, in few points. Pure."""

from __future__ import annotations

import math

from peer.training.messages import Progress

MOST_POINTS = 120
"""Then every two points become one."""


class LossHistory:
    """Mean losses of stretches of inner steps, all of them about equally long."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most = most
        self._stretch = 1
        self._points: list[tuple[int, float]] = []
        self._run_tokens = 0
        self._begun: tuple[int, float] = (0, 0.0)
        """Inner steps of the newest stretch, and the sum of their losses."""
        self._last: Progress | None = None

    def trainer_replaced(self) -> None:
        """Its totals start again."""
        self._last = None

    def add(self, progress: Progress, run_tokens: int) -> None:
        """Take a trainer's totals; run_tokens: how far the run is then."""
        steps, loss_sum = progress.inner_steps, progress.loss_sum
        if self._last is not None:
            steps, loss_sum = steps - self._last.inner_steps, loss_sum - self._last.loss_sum
        self._last = progress
        if steps <= 0 or not math.isfinite(loss_sum):
            return
        # a peer that takes up another state may be less far
        self._run_tokens = max(self._run_tokens, run_tokens)
        self._begun = (self._begun[0] + steps, self._begun[1] + loss_sum)
        if self._begun[0] >= self._stretch:
            self._points.append((self._run_tokens, self._begun[1] / self._begun[0]))
            self._begun = (0, 0.0)
        if len(self._points) >= self._most:
            self._thin_out()

    def points(self) -> list[tuple[int, float]]:
        """(Tokens of the run, mean loss of the stretch that ended there), the oldest first."""
        return list(self._points)

    def _thin_out(self) -> None:
        pairs = zip(self._points[::2], self._points[1::2], strict=False)
        rest = self._points[len(self._points) // 2 * 2 :]
        self._points = [(end, (first + second) / 2) for (_, first), (end, second) in pairs] + rest
        self._stretch *= 2
