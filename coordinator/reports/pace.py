"""How often peers are to report, and for how long one may be silent. Pure: `now` is an argument.

A coordinator takes about a thousand reports a second on one processor, however many peers there
are: a large swarm reports less often. Peers hear of it with the answers to their reports.
"""

from __future__ import annotations

REPORTS_A_SECOND = 1000
SHORTEST_SECONDS = 2.0
LONGEST_SECONDS = 20.0
"""Orders, a ban for instance, travel with the answers and must be known within 30 s."""
LIVE_SECONDS = 15.0
LOST_SECONDS = 30.0
"""In a small swarm; in a large one peers may be silent for a few of their intervals."""
_LIVE_INTERVALS = 2.5
_LOST_INTERVALS = 5.0


def report_seconds(peers: int) -> float:
    """Seconds between two reports of one of so many peers."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, peers / REPORTS_A_SECOND))


class Pace:
    """What peers are told, and what they were told lately: it takes a report until they know."""

    def __init__(self, peers: int, now: float) -> None:
        """`peers`: those that were live when the coordinator stopped; they go on as they were."""
        self.seconds = self._longest = report_seconds(peers)
        """Between two reports of a peer."""
        self._until = now + 2 * LONGEST_SECONDS

    def adjust(self, peers_live: int, now: float) -> None:
        """So many peers are live at `now` (unix seconds)."""
        seconds = report_seconds(peers_live)
        if seconds >= self._longest or now >= self._until:
            self._longest, self._until = seconds, now + 2 * LONGEST_SECONDS
        # not shorter at once: after a restart the others have only not come yet
        self.seconds = self._longest

    @property
    def live_seconds(self) -> float:
        """A peer that has been silent for longer does not count as live."""
        return max(LIVE_SECONDS, _LIVE_INTERVALS * self._longest)

    @property
    def lost_seconds(self) -> float:
        """A peer that has been silent for longer is told to be lost."""
        return max(LOST_SECONDS, _LOST_INTERVALS * self._longest)
