"""The swarm's time: unix seconds that go on evenly, whatever is done to this machine's clock.

Records and the DHT compare times of several machines. A clock that somebody sets an hour ahead
would let all of them expire at once, so the machine's clock is read when the process starts, and
from then on a clock that nobody can set. Joining checks that they agree at the start.

p2pd keeps to the machine's clock: it looks at the dates of the others' TLS certificates, which
hold from an hour before their p2pd started, for a century, when it connects. Connections that
stand outlive any step; a clock set back by hours finds fresh peers' certificates not valid yet.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

CLOCK_TOLERANCE = 3.0
"""Seconds that a peer's time may be off; hivemind's own limit too."""


def steady_seconds() -> float:
    """Monotonic seconds that count a suspended machine's too, as far as it has such a clock."""
    # macOS counts them in its CLOCK_MONOTONIC, and has no other name for it
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SwarmClock:
    """Tells the swarm's time, and which clock is wrong when it differs from the machine's."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._met = False
        """Somebody was known, in this process's present network or in one before."""
        self._told = 0.0
        """What was last said to be wrong by, in seconds."""

    def now(self) -> float:
        """The swarm's unix seconds."""
        return self._steady() + self._offset

    @property
    def step(self) -> float:
        """Seconds that the machine's clock has gone ahead of the swarm's time."""
        return self._wall() - self.now()

    @property
    def in_question(self) -> bool:
        return abs(self.step) > CLOCK_TOLERANCE

    def compare(self, others_ahead: Sequence[float], anybody_known: bool = True) -> None:
        """Decide between this time and the machine's clock, and say so once.

        others_ahead: by how many seconds the peers that were asked are ahead of this time. Their
        word alone moves nothing: the machine's clock must say the same. So a step is right where
        a virtual machine stood still, or where the clock was wrong at the start; and where there
        is nobody yet to differ from.
        """
        self._met = self._met or anybody_known
        step = self.step
        stepped = abs(step) > CLOCK_TOLERANCE
        off = statistics.median(others_ahead) if others_ahead else 0.0
        if stepped and (abs(off - step) <= CLOCK_TOLERANCE if others_ahead else not self._met):
            self._offset += step
            self._say(0.0, f"was set {_shown(step)}, and the swarm agrees with it")
        elif abs(off) > CLOCK_TOLERANCE:
            behind = off - step
            way = "behind" if behind > 0 else "ahead of"
            self._say(
                off,
                f"is {abs(behind):,.0f} s {way} the swarm's; set it (for example "
                "`timedatectl set-ntp true`)",
            )
        elif stepped:
            self._say(step, f"was set {_shown(step)}; going on with the swarm's time")
        else:
            self._told = 0.0

    def _say(self, wrong: float, what: str) -> None:
        if wrong and abs(wrong - self._told) <= CLOCK_TOLERANCE:
            return
        self._told = wrong
        log.warning("this machine's clock %s", what)


def _shown(step: float) -> str:
    return f"{abs(step):,.0f} s {'ahead' if step > 0 else 'back'}"


CLOCK = SwarmClock()
"""Of this process: hivemind has one for all its networks, so there cannot be several."""
