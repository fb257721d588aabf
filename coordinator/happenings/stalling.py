"""When is a run stalled? One answer for the dashboard, the events and the metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from swarmpb.spec import RoundSpec

RECENT_ROUNDS = 20
"""So many of the newest intervals between two commits say how long a round takes."""
SHORTEST_PATIENCE = 60.0
"""Seconds: nobody is alarmed sooner, however short the rounds are."""


def patience(spec: RoundSpec, intervals: Sequence[float]) -> float:
    """How many seconds without a commit are long, while enough peers are live.

    intervals: seconds between one commit and the next, of the newest rounds. Until there are
    some, only the spec tells: two rounds, each as long as it may be. Later ten rounds as they
    are here, which is sooner where rounds are far from what the spec allows, and enough for a
    swarm that has shrunk to a few peers. Rounds longer than the spec says (slow links) are
    normal where they are usual.
    """
    two_rounds = 2 * (spec.max_seconds + spec.exchange_seconds)
    if not intervals:
        return max(SHORTEST_PATIENCE, two_rounds)
    usual = median(intervals[-RECENT_ROUNDS:])
    return max(SHORTEST_PATIENCE, 3 * usual, min(10 * usual, two_rounds))


def is_stalled(
    spec: RoundSpec, peers_live: int, waiting: float, intervals: Sequence[float]
) -> bool:
    """Whether enough peers for a round are live, and yet none was committed for long.

    waiting: seconds since all of this has been so: the last commit, enough live peers, an open
    run, a coordinator that hears of it. Too few peers are no stall but a wait for others.
    """
    return peers_live >= spec.min_peers and waiting > patience(spec, intervals)
