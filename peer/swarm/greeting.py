"""Other peers' p2pd and DHT, met again: after a network was down, and to ask them the time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio

from peer.swarm.clock import CLOCK
from peer.swarm.hivemind_parts import DHTID, DHTNode, PeerID, dht_pb2
from peer.swarm.interface import Unreachable, short
from peer.swarm.p2pd import P2pd, peer_of

log = logging.getLogger(__name__)

_DIAL_SECONDS = 8.0
_PING_SECONDS = 2.0
CLOCK_SECONDS = 10.0
"""How often the machine's clock is looked at."""
_WITNESSES = 3


class Greeter:
    """Makes a network and others find each other again."""

    def __init__(self, p2pd: P2pd, dht: DHTNode, own: str) -> None:
        """own: this network's peer id."""
        self._p2pd = p2pd
        self._dht = dht
        self._own = own
        self._met = False

    async def greet_all(self, addresses: Sequence[str]) -> int:
        """See `Network.reconnect`."""
        ahead: list[float] = []

        async def greet(address: str) -> None:
            try:
                ahead.append(await self._greet(address))
            except Unreachable as error:
                log.debug("%s: %s", address, error)

        async with anyio.create_task_group() as tasks:
            for address in addresses:
                if peer_of(address) != self._own:
                    self._met = True
                    tasks.start_soon(greet, address)
        CLOCK.compare(ahead, self._met)
        return len(ahead)

    async def watch_clock(self) -> None:
        """Let others judge, whenever the machine's clock differs from the swarm's time."""
        while True:
            await anyio.sleep(CLOCK_SECONDS)
            if CLOCK.in_question:
                table = self._dht.protocol.routing_table
                near = table.get_nearest_neighbors(self._dht.node_id, _WITNESSES)
                self._met = self._met or bool(near)
                CLOCK.compare(await self._times(peer for _, peer in near), self._met)

    async def _times(self, peers: Iterable[PeerID]) -> list[float]:
        """By how many seconds those that answer are ahead of this network's time."""
        ahead = []
        for peer in peers:
            try:
                ahead.append(await self._ping(peer))
            except Unreachable as error:
                log.debug("no witness of the time: %s", error)
        return ahead

    async def _greet(self, address: str) -> float:
        """Dial a peer and be in each other's DHT; the seconds that its time is ahead of ours."""
        peer_id = peer_of(address)
        peer = PeerID.from_base58(peer_id)
        await self._p2pd.connect(address, _DIAL_SECONDS)
        try:
            return await self._ping(peer)
        except Unreachable:
            # a network that was down leaves connections that look alive and are not
            await self._p2pd.disconnect(peer_id, _PING_SECONDS)
            await self._p2pd.connect(address, _DIAL_SECONDS)
            return await self._ping(peer)

    async def _ping(self, peer: PeerID) -> float:
        protocol = self._dht.protocol
        request = dht_pb2.PingRequest(peer=protocol.node_info, validate=False)
        asked = CLOCK.now()
        try:
            pong = await protocol.get_stub(peer).rpc_ping(request, timeout=_PING_SECONDS)
            node = DHTID.from_bytes(pong.peer.node_id)
        except Exception as error:  # hivemind names none
            who = short(peer.to_base58())
            raise Unreachable(f"{who} answers no ping: {error!r}") from error
        ahead = float(pong.dht_time) - (asked + CLOCK.now()) / 2
        self._dht.blacklist.register_success(peer)
        await protocol.update_routing_table(node, peer, responded=True)
        return ahead
