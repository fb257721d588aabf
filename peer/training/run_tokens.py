"""How far the run is, as a peer knows it between two rounds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunTokens:
    """The run's tokens when the parameters were last loaded or shifted, and the pace since."""

    merged: int = 0
    """Merged in the run then."""
    own: int = 0
    """Trained by this peer since."""
    swarm_over_own: float = 1.0
    """Tokens of the whole swarm for each of this peer's, in the last round; at least 1."""
    last_round: int = 0
    """Tokens that the last round merged."""

    @property
    def known(self) -> int:
        """What was merged, and what all have trained since if they go on as they did."""
        everybody = int(min(self.own * self.swarm_over_own, self.last_round))
        return self.merged + max(self.own, everybody)

    def after_round(self, merged: int) -> RunTokens:
        """The parameters were shifted to a state with `merged` tokens."""
        of_all = merged - self.merged
        pace = max(1.0, of_all / self.own) if self.own else 1.0
        return RunTokens(merged, swarm_over_own=pace, last_round=max(0, of_all))
