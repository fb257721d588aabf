"""The coordinator's own peer in the swarm's DHT: the address by which newcomers find the rest.

It also dials back those that ask whether they can be dialled.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from coordinator.set_aside import set_aside
from swarmpb.files import write_private
from swarmpb.signing import PeerIdentity

if TYPE_CHECKING:
    from peer.swarm.libp2p import Libp2pNetwork

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks for peers that report and are not met in the DHT."""
CALL_SECONDS = 10.0

Whereabouts = dict[str, dict[str, tuple[str, ...]]]
"""By run and peer id, the addresses of live peers."""


async def start_dht_peer(identity: Path, runtime_dir: Path, host: str, port: int) -> Libp2pNetwork:
    """Begin a network that peers join through this process; the caller closes it.

    identity: file of the key that makes the address the same after a restart; runtime_dir: private
    folder for sockets. `UserError` PORT_IN_USE if the port is taken.
    """
    # only who serves needs it
    from peer.swarm.dial_back import DialBack
    from peer.swarm.libp2p import Libp2pNetwork

    ensure_identity(identity)
    network = await Libp2pNetwork.start(
        identity_path=identity, runtime_dir=runtime_dir, host=host, port=port
    )
    await network.serve(DialBack().handlers())
    return network


def ensure_identity(path: Path) -> None:
    """Make sure of a sound identity file at `path`; a damaged one is set aside, and said so."""
    try:
        PeerIdentity.load(path)
        return
    except FileNotFoundError:
        pass
    except ValueError as error:
        moved = set_aside(path)
        log.warning(
            "%s is damaged (%s) and was moved to %s; peers need the new address printed below",
            path,
            error,
            moved,
        )
    write_private(path, PeerIdentity.generate().to_bytes())


async def keep_in_touch(
    network: Libp2pNetwork, whereabouts: Callable[[], Awaitable[Whereabouts]]
) -> None:
    """Meet swarms that this DHT has lost sight of, until cancelled.

    A coordinator that has lost its identity, or was cut off for long, would lead newcomers to
    nobody. Who reports and has no record in this DHT is in another one: one such peer of each run
    is met, which joins the two.
    """
    while True:
        for run_id, addresses in (await whereabouts()).items():
            try:
                with anyio.fail_after(CALL_SECONDS):
                    found = await network.lookup(f"record:{run_id}")
                    missing = list(addresses.keys() - found.keys())
                    if missing:
                        met = await network.reconnect(addresses[random.choice(missing)])
                        log.info("run %s: %d addresses of a peer answer", run_id, met)
            except Exception as error:  # hivemind names none; the next try is seconds away
                log.warning("no look at the swarm of run %s: %r", run_id, error)
        await anyio.sleep(LOOK_SECONDS)
