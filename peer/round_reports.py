"""What a peer tells its coordinator of rounds, as they end, and how long they took it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from peer.averaging.attempt import Outcome
from peer.averaging.state import GlobalState
from peer.reporter import Reporter
from peer.status import KEPT_DURATIONS, round_outcome, round_reached
from peer.swarm.clock import CLOCK


class RoundReports:
    """Told of every state and every end of an attempt, in their order."""

    def __init__(self, reporter: Reporter, now: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._now = now
        self.durations: deque[float] = deque(maxlen=KEPT_DURATIONS)
        """Seconds from cut to decision of the last rounds."""
        self._adopted_at: float | None = None

    def adopted(self, state: GlobalState, outcome: Outcome | None) -> None:
        """This peer has a new state; outcome: of the attempt that led there, or was in doubt."""
        before, self._adopted_at = self._adopted_at, self._now()
        if outcome is not None:
            self.durations.append(outcome.seconds)
            self._tell(outcome, state, self._adopted_at - before if before is not None else 0.0)
        elif state.round:
            self._reporter.add_round(round_reached(state, CLOCK.now()))

    def void(self, outcome: Outcome, state: GlobalState) -> None:
        """An attempt has come to nothing; state: this peer's, as before."""
        self._tell(outcome, state, 0.0)

    def recalled(self, outcome: Outcome, state: GlobalState) -> None:
        """A round had this peer as a member before it was started anew: it may not have told."""
        self._tell(outcome, state, 0.0)

    def _tell(self, outcome: Outcome, state: GlobalState, round_seconds: float) -> None:
        self._reporter.add_round(round_outcome(outcome, state, CLOCK.now(), round_seconds))
