"""What rounds need of the peer they run in: a contract, kept by `peer.work` and by simulations."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import anyio
import anyio.to_thread

from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.state import GlobalState, is_finite
from peer.swarm.interface import Refused


class Fate(Enum):
    """What becomes of the last cut, whose round this peer did not see the end of."""

    CARRIED = "carried"
    """It rides along into a later round."""
    MERGED = "merged"
    DROPPED = "dropped"
    """It may be merged, and nobody can tell."""


class Local(Protocol):
    """What rounds need of their own peer."""

    @property
    def state(self) -> GlobalState: ...

    def unwilling(self) -> str:
        """Why this peer cannot take part in a round now; empty if it can."""

    def began(self, leader: str) -> None:
        """Take note of an attempt; `adopt`, `conclude` or `fell_behind` will end it."""

    async def take_cut(self) -> LocalCut:
        """Snapshot the local parameters between two inner steps; `Refused` if that fails."""

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        """Make `state` the global state and add `shift` to the local parameters."""

    async def follow(
        self, state: GlobalState, shift: FlatVector, fate: Fate, outcome: Outcome | None
    ) -> None:
        """Take a state that others gave, and add `shift` to the local parameters.

        outcome: of an attempt that had ended here in doubt, now that it is known.
        """

    async def start_over(self) -> None:
        """The local parameters are not finite: go back to the global ones."""

    async def conclude(self, outcome: Outcome) -> None:
        """Take note of a void round."""

    @property
    def holds_cut(self) -> bool:
        """Whether what the last cut held is still here; not, if its trainer was replaced."""

    def settle_resumed(self, tokens: int) -> None:
        """What this peer resumed from a checkpoint is in a round, or dropped.

        tokens: of this peer in that round; its earlier process had trained them.
        """

    def recalled(self, outcome: Outcome) -> None:
        """A round had an earlier process of this peer as a member; how it ended for that."""

    def fell_behind(self, reason: str) -> None:
        """A committed round cannot be adopted from here: the state must be downloaded."""


async def sound_cut(local: Local, seconds: float) -> LocalCut:
    """A cut that may go into a round; `Refused` if there is none within `seconds`, and why."""
    try:
        with anyio.fail_after(seconds):
            cut = await local.take_cut()
    except TimeoutError as error:
        raise Refused(f"this peer's trainer did not cut within {seconds:.0f} s") from error
    if not await anyio.to_thread.run_sync(is_finite, cut.parameters):
        await local.start_over()
        raise Refused("this peer's parameters are not finite")
    return cut
