"""Looks whether this peer has to rest: by its user's pause, and by what they allow.

The same in the daemon that takes part and in the light process that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread

from peer.limits.cooling import Cooling, cooled
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.limits.units import share_text
from peer.resting.due import Sight, rest_due
from peer.resting.observing import Observing, SystemZone, senses_here
from peer.resting.pause_file import end_pause, load_pause, save_pause
from peer.resting.rest import Pause, Rest
from peer.resting.rest_file import load_rest, save_rest
from peer.runtime import state_folder_error

LOOK_SECONDS = 1.0
SHARE_STEP = 0.05
"""A trainer is told of a share that differs by so much: sensors are noisy."""
_ZONE = SystemZone()


class Lookout:
    """Says what a peer of the run in `folder` has to do now."""

    def __init__(
        self,
        folder: Path,
        limits: LimitsInForce,
        observing: Observing | None = None,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """observing: else this machine is looked at, at once; wall: the user's clock."""
        self.pause = load_pause(folder)
        """The user's own."""
        self.rested = False
        """There was a reason to: this peer was here before."""
        self._folder = folder
        self._limits = limits
        self._observing = observing or Observing(senses_here(folder.parents[1]))
        self._wall = wall
        self._steady = steady
        self._before = load_rest(folder, wall())
        self._cooling: Cooling | None = None
        """None: nothing is trained, so that nothing could be slowed down."""
        self._cooled_at = 0.0
        self._observing.look(limits.limits, steady(), wall())

    def rest(self) -> Rest | None:
        """Why it has to rest now; None: it may take part."""
        limits = self._limits.limits
        due = rest_due(limits, self._sight(limits), self.pause, self._before)
        before = {it.name for it in self._before.causes} if self._before else set()
        if {it.name for it in due.causes} != before if due else before:
            save_rest(self._folder, due)
        self._before = due
        self.rested = self.rested or due is not None
        return due

    def keep_pause(self, pause: Pause | None) -> None:
        """Have the user's pause hold, None: no more; `UserError` if it cannot be kept."""
        try:
            if pause is None:
                end_pause(self._folder)
            else:
                save_pause(self._folder, pause)
        except OSError as error:
            raise state_folder_error(self._folder, error) from error
        self.pause = pause

    async def look(self) -> None:
        """Look at the machine where that is due, and slow its trainer down if it gets too hot."""
        while True:
            limits, now = self._limits.limits, self._steady()
            if not self._observing.due(limits, now):
                break  # and nobody has changed the limits while it looked
            look = self._observing.look
            # a desktop that hangs does not keep this peer from leaving
            await anyio.to_thread.run_sync(look, limits, now, self._wall(), abandon_on_cancel=True)
        if self._cooling is not None:
            self._cool(limits)

    def trains(self) -> None:
        """This process trains from now on."""
        self._cooling = Cooling()

    def _sight(self, limits: Limits) -> Sight:
        time.tzset()  # a laptop that has come to another zone obeys the clock there
        local = datetime.fromtimestamp(self._wall(), _ZONE)
        sight = self._observing.sight(local, self._steady())
        limit, heat = limits.max_temperature, sight.temperature
        if limit is None or heat is None:
            return sight
        in_vain = heat > limit if self._cooling is None else self._cooling.in_vain
        return replace(sight, slowed_in_vain=in_vain)

    def _cool(self, limits: Limits) -> None:
        heat, measured_at = self._observing.temperature
        limit = limits.max_temperature
        if limit is None or heat is None:
            self._cooling = Cooling()
            self._slow_to(1.0, "")
        elif measured_at != self._cooled_at and self._cooling is not None:
            since = measured_at - self._cooled_at if self._cooled_at else 0.0
            self._cooled_at = measured_at
            self._cooling = cooled(self._cooling, heat, limit, since)
            self._slow_to(self._cooling.share, f"{heat:.0f} °C, {limit:g} °C allowed")

    def _slow_to(self, share: float, why: str) -> None:
        if abs(share - self._limits.slowed_to) >= SHARE_STEP or share == 1.0:
            self._limits.slow_to(share)
        now = self._limits.slowed_to
        if now < 1.0:
            slowed = share_text(round(now, 2))
            self._limits.acts("max_temperature", f"{why}: training {slowed} of the time")
        else:
            self._limits.ceases("max_temperature")


async def keep_looking(lookout: Lookout, rest: Callable[[Rest], None]) -> None:
    """Call `rest` when there is a reason for it, and again when it gets urgent, until cancelled."""
    lookout.trains()
    told: Rest | None = None
    while True:
        await lookout.look()
        due = lookout.rest()
        if due is not None and (told is None or (due.urgent and not told.urgent)):
            told = due
            rest(due)
        await anyio.sleep(until_next_look(time.time()))


def until_next_look(wall: float) -> float:
    """Seconds to the next whole second of the clock: hours begin and end with one."""
    return LOOK_SECONDS - wall % LOOK_SECONDS
