"""What is seen of this machine, for the limits that are set: nothing else is looked at.

Each look costs so little, and is so seldom, that all of them together take less than a thousandth
of a processor. They run in a thread: none of them holds the daemon up.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import psutil

from peer.limits.settings import Limits
from peer.limits.usage import used_this_month
from peer.resting.due import Sight
from peer.resting.programs import RunningPrograms
from peer.resting.use import machine_use

log = logging.getLogger(__name__)

MOST_PROCESSOR = 0.001
"""Of one processor, for all looks together."""
PROGRAMS_SECONDS = 2.0
BATTERY_SECONDS = 2.0
USE_SECONDS = 5.0
TEMPERATURE_SECONDS = 5.0
DATA_SECONDS = 10.0


@dataclass
class Senses:
    """The ways to look at a machine; times as in `Observing`."""

    on_battery: Callable[[], bool]
    idle_seconds: Callable[[float, float], float | None]
    """Of monotonic and unix seconds."""
    temperature: Callable[[], float | None]
    programs: Callable[[tuple[str, ...], float], tuple[str, ...]]
    """The running ones of a list; of monotonic seconds."""
    month_bytes: Callable[[date], float]


def senses_here(state_dir: Path) -> Senses:
    """Of this machine; state_dir: where the data that was used is noted."""
    sensors: list[Callable[[], float | None]] = []

    def temperature() -> float | None:
        if not sensors:
            # Nvidia's library is not loaded for nothing
            from peer.resting.temperature import Temperatures

            sensors.append(Temperatures().hottest)
        return sensors[0]()

    def month_bytes(today: date) -> float:
        return used_this_month(state_dir, today)

    programs = RunningPrograms()
    return Senses(on_battery, machine_use().idle_seconds, temperature, programs.of, month_bytes)


def on_battery() -> bool:
    """Whether this machine has a battery and runs on it."""
    # psutil has no such function where there are no batteries
    look = getattr(psutil, "sensors_battery", lambda: None)
    battery = look()
    return battery is not None and battery.power_plugged is False


class Observing:
    """Keeps what was seen, and looks again when that is old."""

    def __init__(self, senses: Senses) -> None:
        self._senses = senses
        self._looked: dict[str, float] = {}
        self._failing: set[str] = set()
        self._limits: Limits | None = None
        self._on_battery = False
        # each with when it was seen: they change in another thread than they are read
        self._idle: tuple[float | None, float] = (None, 0.0)
        self._temperature: tuple[float | None, float] = (None, -math.inf)
        self._programs: tuple[str, ...] = ()
        self._month_bytes = 0.0

    def due(self, limits: Limits, now: float) -> bool:
        """Whether anything is to be looked at; now: monotonic seconds."""
        return limits != self._limits or any(self._due(limits, now))

    def look(self, limits: Limits, now: float, wall: float) -> None:
        """Look at what is due; now: monotonic, wall: unix seconds."""
        if limits != self._limits:
            self._limits = limits
            self._looked.clear()
        for look in self._due(limits, now):
            self._looked[look.name] = now
            try:
                look.see(self, limits, now, wall)
                self._failing.discard(look.name)
            except (OSError, ValueError, psutil.Error, sqlite3.Error) as error:
                # what was seen last holds on; it is said once
                level = logging.DEBUG if look.name in self._failing else logging.WARNING
                log.log(level, "limits.%s: cannot look: %s", look.name, error)
                self._failing.add(look.name)

    def _due(self, limits: Limits, now: float) -> Iterator[_Look]:
        for look in _LOOKS:
            looked = self._looked.get(look.name, -math.inf)
            if look.wanted(limits) and now - looked >= look.seconds:
                yield look

    def sight(self, local: datetime, now: float) -> Sight:
        """What is known; local: this moment on the user's clock, now: monotonic seconds."""
        idle, seen_at = self._idle
        return Sight(
            local,
            on_battery=self._on_battery,
            idle_seconds=None if idle is None else idle + now - seen_at,
            temperature=self._temperature[0],
            programs=self._programs,
            month_bytes=self._month_bytes,
        )

    @property
    def temperature(self) -> tuple[float | None, float]:
        """°C, and when it was looked at; monotonic seconds."""
        return self._temperature

    def _see_battery(self, limits: Limits, now: float, wall: float) -> None:
        self._on_battery = self._senses.on_battery()

    def _see_programs(self, limits: Limits, now: float, wall: float) -> None:
        self._programs = self._senses.programs(limits.not_while, now)

    def _see_use(self, limits: Limits, now: float, wall: float) -> None:
        self._idle = self._senses.idle_seconds(now, wall), now

    def _see_temperature(self, limits: Limits, now: float, wall: float) -> None:
        self._temperature = self._senses.temperature(), now

    def _see_data(self, limits: Limits, now: float, wall: float) -> None:
        self._month_bytes = self._senses.month_bytes(date.fromtimestamp(wall))


@dataclass(frozen=True)
class _Look:
    name: str
    """The limit's."""
    seconds: float
    """From one to the next."""
    wanted: Callable[[Limits], bool]
    see: Callable[[Observing, Limits, float, float], None]
    """With monotonic and unix seconds."""


_LOOKS = (
    _Look("on_battery", BATTERY_SECONDS, lambda it: not it.on_battery, Observing._see_battery),
    _Look("not_while", PROGRAMS_SECONDS, lambda it: bool(it.not_while), Observing._see_programs),
    _Look("idle_after", USE_SECONDS, lambda it: it.idle_after is not None, Observing._see_use),
    _Look(
        "max_temperature",
        TEMPERATURE_SECONDS,
        lambda it: it.max_temperature is not None,
        Observing._see_temperature,
    ),
    _Look(
        "data_per_month",
        DATA_SECONDS,
        lambda it: it.data_per_month is not None,
        Observing._see_data,
    ),
)


class SystemZone(tzinfo):
    """The zone of this machine, with its nights when clocks are set, by the system's own rules."""

    def utcoffset(self, local: datetime | None) -> timedelta:
        if local is None:
            return timedelta(0)
        naive = local.replace(tzinfo=None)
        instant = datetime.fromtimestamp(naive.timestamp(), timezone.utc).replace(tzinfo=None)
        return naive - instant

    def dst(self, local: datetime | None) -> None:
        return None

    def tzname(self, local: datetime | None) -> str:
        return "local"

    def fromutc(self, instant: datetime) -> datetime:
        seconds = instant.replace(tzinfo=timezone.utc).timestamp()
        return datetime.fromtimestamp(seconds).replace(tzinfo=self)
