"""The newest global state of a run, from its peers, for somebody who is none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from peer.averaging.state import GlobalState
from peer.halves import head
from peer.members import Members
from peer.membership import PeerFacts, Position, holders_of, view_of
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network, Unreachable
from peer.swarm.reach import likeliest
from peer.transfer.download import Download
from peer.transfer.progress import Progress

PATIENCE_SECONDS = 30.0
"""So long without a peer that holds a state, or without anything arriving, and it is given up."""
LOOK_SECONDS = 1.0
DHT_SECONDS = 8.0


@dataclass(frozen=True)
class Fetched:
    """A state that proved right by its digest, and how many vouch for that."""

    state: GlobalState
    holders: int
    """Peers that hold it or descend from it, by their records,"""
    peers: int
    """of so many that have a state."""


class ModelFetcher:
    """Looks where the run stands, and downloads that. `run` it once."""

    def __init__(
        self, network: Network, members: Members, parameters: int, tell: Callable[[str], None]
    ) -> None:
        """members: who takes part in the run; parameters: length of the model's vector; tell:
        hears in words how far it is.
        """
        self._network = network
        self._members = members
        self._kind = f"record:{members.run.run_id}"
        self._parameters = parameters
        self._tell = tell
        self._told = ""
        self._moved = 0.0
        """When something last arrived."""

    async def run(self) -> Fetched:
        """What most peers of the run hold; `Unreachable` if nobody gives it in time."""
        trouble = "nobody who holds a state of the run is there"
        download: Download | None = None
        self._moved = anyio.current_time()
        while anyio.current_time() < self._moved + PATIENCE_SECONDS:
            try:
                peers = await self._look()
                at = head(peers)
                if at is not None:
                    if download is None or download.wanted != at:
                        download = Download(at, self._parameters, self._choose, self._hear)
                    state = await self._download(download, peers, at)
                    return await self._vouched(state)
            except Unreachable as error:
                trouble = str(error)
            await anyio.sleep(LOOK_SECONDS)
        raise Unreachable(trouble)

    async def _look(self) -> tuple[PeerFacts, ...]:
        try:
            with anyio.fail_after(DHT_SECONDS):
                records = await self._network.lookup(self._kind)
        except TimeoutError as error:
            raise Unreachable(f"no answer from the DHT for {DHT_SECONDS:.0f} s") from error
        return view_of(records, CLOCK.now(), self._members.admits).peers

    async def _download(
        self, download: Download, peers: Sequence[PeerFacts], at: Position
    ) -> GlobalState:
        holders = set(holders_of(peers, at))
        own = self._network.addresses
        known = [it.addresses for it in peers if it.peer_id in holders and it.addresses]
        await self._network.reconnect([likeliest(it, own) for it in known])
        return await download.run(self._network, sorted(holders))

    async def _choose(self, offers: Sequence[Position]) -> Position | None:
        """The run went on: where it stands now, if that is on offer."""
        at = head(await self._look())
        return at if at in offers else None

    async def _vouched(self, state: GlobalState) -> Fetched:
        """With those that hold it or, as the run went on meanwhile, descend from it."""
        peers = [it for it in await self._look() if it.position is not None]
        holders = holders_of(peers, Position(state.round, state.digest))
        descending = [it for it in peers if state.digest in it.recent]
        return Fetched(state, len(holders) + len(descending), len(peers))

    def _hear(self, progress: Progress) -> None:
        if progress.arrived:
            self._moved = anyio.current_time()
        words = progress.describe()
        if words != self._told:
            self._told = words
            self._tell(words)
