"""Getting this peer onto the network: the first time, and again after its network broke."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import anyio

from peer.notices import Notices
from peer.swarm.gate import OPEN, Gate
from peer.swarm.interface import Network
from peer.swarm.shaping import Shaper
from swarmpb.exits import Exit, UserError

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
JOIN_TRIES = 3


class Connector:
    """Joins networks of one identity, one after the other."""

    def __init__(
        self,
        identity: Path,
        runtime: Path,
        host: str,
        port: int,
        gate: Gate = OPEN,
        shaper: Shaper | None = None,
    ) -> None:
        """identity: file of the key; runtime: private folder for sockets; port: 0 for any."""
        self._identity = identity
        self._runtime = runtime
        self._host = host
        self._gate = gate
        self._shaper = shaper
        self._port = port
        self._last_port = port

    async def join(self, initial_peers: Sequence[str]) -> Network:
        """Join through one of these peers; `UserError` if none answers in some tries."""
        network = await self._first(initial_peers)
        found = re.search(r"/tcp/(\d+)", next(iter(network.addresses), ""))
        # the others know this address, and p2pd would not look for another soon
        self._last_port = int(found[1]) if found else self._port
        return network

    async def join_after_rest(self, initial_peers: Sequence[str], notices: Notices) -> Network:
        """As `join`, however long it takes: a laptop that wakes up has no network yet."""
        while True:
            try:
                network = await self.join(initial_peers)
            except UserError as error:
                if error.code is not Exit.SWARM_UNREACHABLE:
                    raise
                notices.trouble("network", f"cannot join the swarm again yet: {error}")
                await anyio.sleep(RETRY_SECONDS)
            else:
                notices.over("network", "the swarm is there again")
                return network

    async def join_again(self, notices: Notices) -> Network:
        """Begin anew, however long it takes.

        Needs nobody's answer: two peers that cannot find each other must both be there to be found.
        """
        port = self._last_port
        while True:
            try:
                network = await self._start(port, ())
            except UserError as error:
                notices.trouble("network", f"cannot join the swarm again yet: {error}")
                port = self._port
                await anyio.sleep(RETRY_SECONDS)
            else:
                notices.over("network", "the network is there again")
                return network

    async def _first(self, initial_peers: Sequence[str]) -> Network:
        for _ in range(JOIN_TRIES - 1):
            try:
                return await self._start(self._port, initial_peers)
            except UserError as error:
                if error.code is not Exit.SWARM_UNREACHABLE:
                    raise
                # a machine under load, or a bad link, does not answer within two seconds
                log.info("trying again to join: %s", error)
        return await self._start(self._port, initial_peers)

    async def _start(self, port: int, initial_peers: Sequence[str]) -> Network:
        # imported while the trainer process does its own
        from peer.swarm.libp2p import Libp2pNetwork

        return await Libp2pNetwork.start(
            self._identity,
            self._runtime,
            self._host,
            port,
            initial_peers,
            self._gate,
            self._shaper,
        )
