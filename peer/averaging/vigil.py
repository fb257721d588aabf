"""Waiting for what a leader is to bring about, and not longer than it is there."""

from __future__ import annotations

import anyio

from peer.averaging.methods import LINEAGE
from peer.swarm.interface import Barred, Network, Refused, Unreachable, call
from swarmpb.v1 import swarm_pb2

LOOK_SECONDS = 1.0
"""Between two looks whether the leader answers; most rounds are over before the first."""


async def wait_while_there(
    network: Network, leader: str, event: anyio.Event, seconds: float, silence: float
) -> None:
    """Wait for `event`; at most `seconds`, and not once `leader` has not answered for `silence`.

    A frozen machine keeps its connections: only asking tells.
    """
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                there = True
                while there:
                    await anyio.sleep(LOOK_SECONDS)
                    there = await _answers(network, leader, silence)
                tasks.cancel_scope.cancel()

            tasks.start_soon(look)
            await event.wait()
            tasks.cancel_scope.cancel()


async def _answers(network: Network, peer_id: str, seconds: float) -> bool:
    try:
        await call(network, peer_id, LINEAGE, swarm_pb2.LineageRequest(), seconds)
    except Barred:
        return False  # whatever it says, nobody waits for it
    except Refused:
        return True  # whatever it says, it lives
    except Unreachable:
        return False
    return True
