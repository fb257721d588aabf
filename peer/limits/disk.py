"""How much of the disk a run may take here, and how many checkpoints that is."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peer.limits.in_force import LimitsInForce
from peer.limits.units import bytes_text
from peer.local_runs import disk_bytes


@dataclass(frozen=True)
class Plan:
    """What becomes of the older checkpoints while a new one is written."""

    stay: int
    """So many of them, the newest first; -1: the new one does not fit, and all stay."""
    words: str
    """What bounds that; empty: nothing does."""


class Disk:
    """The disk under a run's folder."""

    def __init__(self, limits: LimitsInForce, folder: Path) -> None:
        self._limits = limits
        self._folder = folder

    @property
    def manners(self) -> tuple[int, bool]:
        """Niceness of who writes, and whether only when nobody else uses the disk."""
        limits = self._limits.limits
        return limits.niceness, limits.io == "idle"

    def room(self) -> int:
        """Bytes that may still be taken; `OSError` if that cannot be looked at."""
        return max(0, self._left(0)[0])

    def plan(self, size: int, older: Sequence[int], most: int) -> Plan:
        """For a new checkpoint of `size` bytes, if `most` are kept. `OSError`; looks at the disk.

        older: bytes of each that are no other's, the newest first.
        """
        budget, bound = self._left(sum(older))
        stay = how_many_stay(size, older, budget)
        if stay < 0:
            return Plan(stay, f"one takes {bytes_text(size)}, and {bound}")
        wanted = min(len(older), most - 1)
        return Plan(stay, bound if stay < wanted else "")

    def carry_out(self, plan: Plan, most: int) -> None:
        """Tell what the limit does; `OSError` if there is to be no checkpoint."""
        if plan.stay < 0:
            self._limits.acts("disk", f"no checkpoint: {plan.words}")
            advice = "allow more (limits.disk, limits.disk_free) or free some space"
            raise OSError(errno.EDQUOT, f"{plan.words}; {advice}")
        if plan.words:
            kept = "1 checkpoint" if not plan.stay else f"{plan.stay + 1} checkpoints"
            self._limits.acts("disk", f"{kept} instead of {most}: {plan.words}")
        else:
            self._limits.ceases("disk")

    def _left(self, returned: int) -> tuple[int, str]:
        """Bytes, if so many of those taken did not count, and what bounds them."""
        limits = self._limits.limits
        left = shutil.disk_usage(self._folder).free - limits.disk_free + returned
        bound = f"{bytes_text(limits.disk_free)} of the disk stay free"
        if limits.disk is not None:
            allowed = limits.disk - disk_bytes(self._folder) + returned
            if allowed < left:
                return int(allowed), f"this run may take {bytes_text(limits.disk)}"
        return int(left), bound


def how_many_stay(size: int, older: Sequence[int], budget: int) -> int:
    """Of the older ones, the newest first, beside a new one of `size`; -1: that does not fit."""
    left, stay = budget - size, 0
    if left < 0:
        return -1
    for one in older:
        if one > left:
            break
        left -= one
        stay += 1
    return stay
