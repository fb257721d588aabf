"""Dialling back: a peer asks another one whether it can be dialled. Both sides.

The asked side opens one new connection to the address that it sees the asker come from, and to
nowhere else, waits for libp2p's first words, which p2pd says unasked, and hangs up. It sends
nothing. So all that an asker can have dialled is itself, or what shares its address.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from peer.swarm.dial_quota import DialQuota
from peer.swarm.interface import Handler, Method, Network, Refused, Unreachable, call, short, unary
from peer.swarm.reach import Word, is_this_machine, network_of, observed_address, parse_word
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

DIAL_BACK = Method(
    "dial_back",
    swarm_pb2.DialBackRequest,
    swarm_pb2.DialBackReply,
    max_bytes=128,
    max_request_bytes=16,
    for_anybody=True,  # who is not let in yet wants to know it, too
)
DIAL_SECONDS = 4.0
"""For the connection and the first words together."""
ASK_SECONDS = DIAL_SECONDS + 2.0
AT_ONCE = 8
GREETING = b"\x13/multistream/1.0.0\n"

Found = swarm_pb2.DialBackReply


class DialBack:
    """Dials those that ask for it, as often as the quota allows."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        dial: Callable[[str, int], Awaitable[swarm_pb2.DialBackReply.Found]] | None = None,
    ) -> None:
        """dial: opens a connection to an address and port; the one below."""
        self._clock = clock
        self._dial = dial or dial_once
        self._quota = DialQuota(clock())
        self._dialling = 0

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """The stream that is answered."""
        return {DIAL_BACK: self._serve}

    async def _serve(self, caller: str, stream: Any) -> None:
        async def answer(caller: str, request: Any) -> swarm_pb2.DialBackReply:
            return await self._answer(caller, stream.remote, request.port)

        await unary(answer, ASK_SECONDS)(caller, stream)

    async def _answer(self, caller: str, remote: str, port: int) -> swarm_pb2.DialBackReply:
        if not 0 < port < 65536:
            raise Refused(f"{port} is no port")
        try:
            address = observed_address(remote)
        except ValueError:
            return swarm_pb2.DialBackReply(found=Found.RELAYED)
        if not address:
            raise Refused("the address that this connection comes from is not known")
        # a peer id costs nothing, an address does; on one machine many peers share it
        here = is_this_machine(address)
        askers = () if here else (caller, network_of(address))
        if why := self._quota.refusal(askers, self._clock()):
            raise Refused(why)
        if self._dialling >= AT_ONCE:
            raise Refused("too many peers are being dialled just now")
        self._dialling += 1
        try:
            found = await self._dial(address, port)
        finally:
            self._dialling -= 1
        return swarm_pb2.DialBackReply(found=found, address=address)


async def dial_once(address: str, port: int) -> swarm_pb2.DialBackReply.Found:
    """What answers at an address; sends nothing to it."""
    writer: asyncio.StreamWriter | None = None
    heard = b""
    try:
        with anyio.move_on_after(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(address, port, limit=1024)
            heard = await reader.readexactly(len(GREETING))
            return Found.LIBP2P if heard == GREETING else Found.SOMETHING_ELSE
        # connected, and not a word: another program that waits for ours
        return Found.SOMETHING_ELSE if writer is not None else Found.SILENT
    except asyncio.IncompleteReadError:
        return Found.SOMETHING_ELSE
    except ConnectionRefusedError:
        return Found.NOT_OPEN
    except OSError as error:
        log.debug("dialling back: %s", error)
        return Found.SOMETHING_ELSE if writer is not None else Found.SILENT
    finally:
        if writer is not None:
            writer.transport.abort()


async def ask(network: Network, witness: str, port: int) -> Word | None:
    """One witness's word about this port; None if it has none."""
    request = swarm_pb2.DialBackRequest(port=port)
    try:
        reply = await call(network, witness, DIAL_BACK, request, ASK_SECONDS)
    except (Refused, Unreachable) as error:
        log.debug("%s does not dial back: %s", short(witness), error)
        return None
    return parse_word(witness, reply, port)
