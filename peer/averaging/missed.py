"""Rounds that went on without this peer: done after the others, or taken with their state."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from peer.averaging.adoption import Adoption
from peer.averaging.archive import Archive, require_lineage
from peer.averaging.history import History
from peer.averaging.local import Local
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import Manifest
from peer.averaging.state import GlobalState
from peer.swarm.interface import Refused, Unreachable, short

log = logging.getLogger(__name__)


class MissedRounds:
    """Gets a peer to where the others are."""

    def __init__(
        self, local: Local, archive: Archive, history: History, adoption: Adoption
    ) -> None:
        self._local = local
        self._archive = archive
        self._history = history
        self._adoption = adoption

    async def replay(self, holder: str, digest: bytes) -> None:
        """Do the rounds that lead from here to the state with `digest`, one after the other.

        Raises `Unreachable`, `Refused` or `Malformed` if that is not possible with `holder`.
        """
        archive = self._archive
        for manifest in await archive.manifests(holder, digest, self._local.state):
            held = await archive.gather(manifest.roster, manifest.parts, {}, also=(holder,))
            state = await archive.replay(self._local.state, manifest, held)
            self._history.keep(manifest, held)
            await self._adoption.follow(state, [manifest], complete=True)

    async def jump(self, state: GlobalState, holders: Sequence[str]) -> None:
        """Move to a downloaded state; what is in doubt is settled if a holder can tell."""
        if self._history.doubt is None and self._history.resumed is None:
            await self._adoption.follow(state, (), complete=True)
            return
        manifests = await self._told_by(holders, state)
        await self._adoption.follow(state, manifests or (), complete=manifests is not None)

    async def _told_by(
        self, holders: Sequence[str], state: GlobalState
    ) -> Sequence[Manifest] | None:
        """The rounds from here to a state, of its own history; None if nobody tells them all."""
        for holder in holders:
            try:
                manifests = await self._archive.manifests(holder, state.digest, self._local.state)
                require_lineage(manifests, self._history.lineage, state.header)
            except (Unreachable, Refused, Malformed) as error:
                log.debug("%s cannot tell what was merged: %s", short(holder), error)
                continue
            return manifests
        return None
