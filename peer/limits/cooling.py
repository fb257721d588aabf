"""How much of its time a peer trains so that the machine stays below a temperature. Pure.

A controller of two terms, tried on machines whose chips warm within seconds and whose heat sinks
take minutes: the share follows each change of the temperature a little, and creeps towards where
the temperature stays a little below the limit. What cannot be cooled that way has to rest.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SHARE = 0.5
"""Of a trainer that begins: rising is gentle, while too much at once overshoots."""
LEAST_SHARE = 0.1
"""Less is hardly cooler; then a peer rests instead."""
BELOW = 3.0
"""°C: so far below the limit the temperature is held, since sensors are noisy."""
IN_VAIN_SECONDS = 30.0
"""Too hot for so long at the least share: it is not this peer that heats, or it is summer."""
DANGER = 10.0
"""°C above the limit: no time to try."""
_FOLLOW = 0.01
"""Share for each °C of change."""
_CREEP = 0.0005
"""Share for each °C away, and second."""
_HASTE = 3.0
"""So many times as fast above the limit."""
_LONGEST_SECONDS = 30.0
"""Between two looks: after a sleep of the machine the time before it says nothing."""


@dataclass(frozen=True)
class Cooling:
    """What the controller keeps from look to look."""

    share: float = FIRST_SHARE
    """Of the time that the trainer may compute."""
    away: float | None = None
    """°C above where the temperature is held; None before the first look."""
    helpless_seconds: float = 0.0
    """Since when it is too hot at the least share."""
    danger: bool = False

    @property
    def in_vain(self) -> bool:
        """Slowing down does not help, or not soon enough: rest."""
        return self.danger or self.helpless_seconds >= IN_VAIN_SECONDS


def cooled(before: Cooling, temperature: float, limit: float, seconds: float) -> Cooling:
    """The share from now on; seconds: since the last look; temperatures in °C."""
    seconds = min(max(seconds, 0.0), _LONGEST_SECONDS)
    away = temperature - (limit - BELOW)
    change = 0.0 if before.away is None else away - before.away
    creep = _CREEP * away * seconds * (_HASTE if temperature > limit else 1.0)
    share = min(max(before.share - _FOLLOW * change - creep, LEAST_SHARE), 1.0)
    helpless = temperature > limit and before.share <= LEAST_SHARE
    return Cooling(
        share,
        away,
        before.helpless_seconds + seconds if helpless else 0.0,
        danger=temperature > limit + DANGER,
    )
