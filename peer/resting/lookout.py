"""Looks whether this peer has to rest: by its user's pause, and by what they allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio

from peer.limits.in_force import LimitsInForce
from peer.resting.pause_file import load_pause
from peer.resting.rest import Rest, rest_for_pause

LOOK_SECONDS = 1.0


class Lookout:
    """Says what a peer of the run in `folder` has to do now."""

    def __init__(self, folder: Path, limits: LimitsInForce) -> None:
        self._limits = limits
        self.pause = load_pause(folder)
        """The user's own; whoever changes it keeps the file."""

    def rest(self) -> Rest | None:
        """Why it has to rest now; None: it may take part."""
        return rest_for_pause(self.pause, time.time())


async def keep_looking(lookout: Lookout, rest: Callable[[Rest], None]) -> None:
    """Call `rest` while there is a reason for it, every second, until cancelled."""
    while True:
        if (due := lookout.rest()) is not None:
            rest(due)
        await anyio.sleep(LOOK_SECONDS)
