"""What rounds need of the peer they run in: a contract, kept by `peer.work` and by simulations."""

from __future__ import annotations

from typing import Protocol

from peer.averaging.attempt import LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.state import GlobalState


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

    async def start_over(self) -> None:
        """The local parameters are not finite: go back to the global ones."""

    async def conclude(self, outcome: Outcome) -> None:
        """Take note of a void round."""

    def fell_behind(self, reason: str) -> None:
        """A committed round cannot be adopted from here: the state must be downloaded."""
