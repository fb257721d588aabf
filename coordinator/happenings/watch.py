"""What happens in a run: from reports, and from time that passes. Pure: `now` is an argument.

A watch says each thing once. What was told already it learns at its start from the events that are
kept, so a coordinator that comes back neither repeats them nor forgets what it owes: who was here
when it went is lost only after a while, and a stall that it told is ended by the next commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coordinator.domain import Event, EventKind, Report
from coordinator.happenings.happening import Allowance, Happening
from coordinator.happenings.presence import HOUR, Presence
from coordinator.happenings.rounds import ALARMS_TOLD, Agreement, Movement, VoidRounds
from coordinator.reports.pace import LOST_SECONDS
from coordinator.reports.progress import Ledger
from swarmpb.spec import RoundSpec


@dataclass(frozen=True)
class Expected:
    """What a run's owner wants of it now."""

    target_tokens: int
    rounds: bool = True
    """It is to make rounds: it is open or finishing."""
    over: bool = False
    """It is finished: peers may go."""
    lost_seconds: float = LOST_SECONDS
    """A peer that has been silent for longer is lost."""


@dataclass(frozen=True)
class Standing:
    """What a watch knows of how a run is just now."""

    waiting: float
    """Seconds in which nothing but a commit has been missing."""
    intervals: Sequence[float]
    """Seconds between commits, of the newest rounds since this coordinator started."""
    diverged_round: int | None
    """Whose members were told to hold different states, and have not come together since."""
    newest_void: str
    """Why the newest attempt came to nothing; empty: a round was committed since."""


class RunWatch:
    """Of one run. The ledger that is handed in is that run's, after the reports."""

    def __init__(
        self, run_id: str, spec: RoundSpec, ledger: Ledger, told: Sequence[Event], now: float
    ) -> None:
        """`told`: the run's events that are kept, the oldest first."""
        self.run_id = run_id
        self._presence = Presence(ledger.peers, told, now)
        self._voids = VoidRounds(ledger)
        self._agreement = Agreement(ledger, told)
        self._movement = Movement(spec, ledger, told, now)
        self._deserted = not len(self._presence)
        self._desertions = Allowance(ALARMS_TOLD, HOUR)
        self._reached = any(event.kind is EventKind.TARGET for event in told)

    @property
    def intervals(self) -> Sequence[float]:
        """Seconds between commits, of the newest rounds since this coordinator started."""
        return self._movement.intervals

    def standing(self, now: float) -> Standing:
        """How the run is at `now`, for those who look at it."""
        return Standing(
            waiting=self._movement.waiting(now),
            intervals=self._movement.intervals,
            diverged_round=self._agreement.diverged_round,
            newest_void=self._voids.newest,
        )

    @property
    def diverged(self) -> bool:
        """Whether members of a round were told to hold different states, and nothing since."""
        return self._agreement.diverged

    @property
    def stalled(self) -> bool:
        """Whether the run was told to stand still, and nothing since."""
        return self._movement.stalled

    @property
    def committed_at(self) -> float | None:
        """When the newest round was committed; None: not since this coordinator started."""
        return self._movement.committed_at

    def reported(self, ledger: Ledger, news: Iterable[Report], now: float) -> list[Event]:
        """What the reports tell; `news` are those that the ledger has just taken in."""
        return self._events(self._from_reports(ledger, news, now), now)

    def passed(self, ledger: Ledger, expected: Expected, now: float) -> list[Event]:
        """What has come to be by `now`; asked every second or two."""
        return self._events(self._from_time(ledger, expected, now), now)

    def _from_reports(
        self, ledger: Ledger, news: Iterable[Report], now: float
    ) -> Iterator[Happening]:
        for report in news:
            state = ledger.peers.get(report.peer.peer_id)
            if state is not None:
                yield from self._presence.reported(state, now)
            for outcome in report.outcomes:
                self._voids.reported(outcome, now)
                self._agreement.reported(outcome)
                yield from self._movement.reported(outcome, now)

    def _from_time(self, ledger: Ledger, expected: Expected, now: float) -> Iterator[Happening]:
        yield from self._presence.passed(ledger.peers, now, expected.lost_seconds)
        yield from self._desertion(expected, now)
        yield from self._voids.passed(ledger, now)
        yield from self._agreement.passed(ledger, self._presence, now)
        over = expected.over or self._reached
        yield from self._movement.passed(len(self._presence), expected.rounds and not over, now)
        if not self._reached and ledger.tokens >= expected.target_tokens:
            self._reached = True
            text = f"{ledger.tokens:,} tokens are merged, the target is {expected.target_tokens:,}"
            yield Happening(EventKind.TARGET, text)

    def _desertion(self, expected: Expected, now: float) -> Iterator[Happening]:
        """After its end peers may go: that is no alarm."""
        if len(self._presence):
            self._deserted = False
        elif expected.over or self._reached:
            self._deserted = True
        elif not self._deserted and self._desertions.take(now):
            self._deserted = True
            text = "no peer is left; the run goes on from the newest checkpoint that comes back"
            yield Happening(EventKind.ALL_GONE, text)

    def _events(self, happenings: Iterator[Happening], now: float) -> list[Event]:
        return [it.event(self.run_id, now) for it in happenings]
