"""Which peer an owner means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.membership.refusals import NoOnePeerError

SHORTEST_END = 4
"""Letters of a peer id's end that may stand for it."""
_TOLD = 5


@dataclass(frozen=True)
class Named:
    """A peer and the pseudonym that it reported; empty: none."""

    peer_id: str
    name: str


def find_peer(run_id: str, told: str, peers: Sequence[Named]) -> str:
    """The id of the peer that `told` means: its whole id, its name, or the end of its id.

    `NoOnePeerError` if there is no such peer, or several: names are pseudonyms, and not unique.
    """
    for fits in (
        [it for it in peers if it.peer_id == told],
        [it for it in peers if told and it.name == told],
        [it for it in peers if len(told) >= SHORTEST_END and it.peer_id.endswith(told)],
    ):
        if len(fits) == 1:
            return fits[0].peer_id
        if fits:
            ids = ", ".join(it.peer_id for it in fits[:_TOLD])
            more = f" and {len(fits) - _TOLD} more" if len(fits) > _TOLD else ""
            raise NoOnePeerError(
                f"{len(fits)} peers of run {run_id} fit {told[:64]!r}: {ids}{more}; name one by"
                " the end of its id"
            )
    raise NoOnePeerError(
        f"run {run_id} knows no peer {told[:64]!r}; `coordinator peers list --run {run_id}` shows"
        " them"
    )
