"""Whether others could dial this machine: asked under a name that is thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import anyio

from peer.membership import everybody, view_of
from peer.presence import DHT_SECONDS
from peer.reach_watch import Inquiry, ask_around
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network
from peer.swarm.reach import MOST_WITNESSES, NO_ADDRESS, Reach, likeliest, reach_of
from swarmpb.files import write_private
from swarmpb.signing import PeerIdentity


async def reach_here(
    folder: Path, place: tuple[str, int], run_id: str, initial_peers: Sequence[str], random: Random
) -> Reach:
    """What others find who dial this machine; raises `UserError`.

    It is in their DHT for these seconds, without a record. folder: private, for the key and for
    sockets; place: address and port to listen at, as a peer would.
    """
    # slow to import
    from peer.swarm.libp2p import Libp2pNetwork

    key = folder / "identity.key"
    write_private(key, PeerIdentity.generate().to_bytes())
    network = await Libp2pNetwork.start(key, folder, *place, initial_peers)
    try:
        if not network.addresses:
            return NO_ADDRESS
        inquiry = Inquiry(network.addresses)
        known: dict[str, tuple[str, ...]] = {it.rpartition("/")[2]: (it,) for it in initial_peers}
        others = await _others(network, run_id)
        # an address has to be known before a stream can be opened
        await network.reconnect([likeliest(it, network.addresses) for it in others.values()])
        await ask_around(network, inquiry, known | others, random)
        return reach_of(inquiry.words)
    finally:
        await network.close()


async def _others(network: Network, run_id: str) -> dict[str, tuple[str, ...]]:
    """Addresses of some of the run's live peers that can be dialled, by peer id."""
    try:
        with anyio.fail_after(DHT_SECONDS):
            records = await network.lookup(f"record:{run_id}")
    except TimeoutError:
        return {}
    live = view_of(records, CLOCK.now(), everybody).others(network.peer_id)
    dialled = [it for it in live if it.addresses and not it.link.client_mode]
    return {it.peer_id: it.addresses for it in dialled[:MOST_WITNESSES]}
