"""Orders from peer to peer: a record names those that its writer knows, and whoever asks gets them.

So orders reach every peer within seconds, if the coordinator tells only one of them and is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from random import Random
from typing import Any

import anyio

from peer.members import Members
from peer.orders import NO_RANK, Rank, Rumours
from peer.swarm.interface import (
    Handler,
    Method,
    Network,
    Refused,
    Stream,
    Unreachable,
    call,
    short,
)
from swarmpb.membership import MAX_ORDERS_BYTES
from swarmpb.signing import BadSignatureError
from swarmpb.v1 import membership_pb2

log = logging.getLogger(__name__)

ORDERS = Method(
    "orders",
    membership_pb2.OrdersRequest,
    membership_pb2.SignedOrders,
    MAX_ORDERS_BYTES + 1024,
    max_request_bytes=64,
    for_anybody=True,
)
ASK_SECONDS = 5.0
MOST_ASKERS = 16
"""So many are answered at once; the others ask somebody else."""


class OrdersExchange:
    """Gives the standing orders to whoever asks, and asks whoever names newer ones."""

    def __init__(self, members: Members, random: Random) -> None:
        self._members = members
        self._random = random
        self._rumours = Rumours()
        self._named: Mapping[str, Rank] = {}
        self._news = anyio.Event()
        self._served = 0

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """The streams that this peer answers, also those of peers that may not take part."""
        return {ORDERS: self._give}

    def see(self, named: Mapping[str, Rank]) -> None:
        """By peer id, the rank of the orders that the live records name."""
        self._named = named
        self._news.set()

    async def keep_asking(self, network: Network) -> None:
        """Get newer orders whenever a record names such, one peer at a time, until cancelled."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            now, chance = anyio.current_time(), self._random.random()
            other = self._rumours.whom_to_ask(self._named, self._members.rank, now, chance)
            if other is not None:
                await self._ask(network, other, self._named.get(other, NO_RANK))

    async def _ask(self, network: Network, other: str, promised: Rank) -> None:
        try:
            signed = await call(network, other, ORDERS, membership_pb2.OrdersRequest(), ASK_SECONDS)
            self._members.take(signed)
        except (Unreachable, Refused) as error:
            log.debug("no orders from %s: %s", short(other), error)
            self._rumours.failed(other, anyio.current_time())
        except BadSignatureError as error:
            log.warning("peer %s handed on false orders: %s", short(other), error)
            self._rumours.failed(other, anyio.current_time(), lied=True)
        else:
            if self._members.rank >= promised:
                self._rumours.delivered(other)
            else:
                self._rumours.failed(other, anyio.current_time(), lied=True)

    async def _give(self, caller: str, stream: Stream) -> None:
        if self._served >= MOST_ASKERS:
            raise Refused("too many ask for orders just now")
        self._served += 1
        try:
            await stream.receive(ASK_SECONDS)
            orders = self._members.orders
            if orders is None:
                raise Refused("no orders are known here")
            await stream.send(orders.signed, ASK_SECONDS)
        finally:
            self._served -= 1
