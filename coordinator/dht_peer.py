"""The coordinator's own peer in the swarm's DHT: the address by which newcomers find the rest."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.set_aside import set_aside
from swarmpb.signing import PeerIdentity, write_private

if TYPE_CHECKING:
    from peer.swarm.libp2p import Libp2pNetwork

log = logging.getLogger(__name__)


async def start_dht_peer(identity: Path, runtime_dir: Path, host: str, port: int) -> Libp2pNetwork:
    """Begin a network that peers join through this process; the caller closes it.

    identity: file of the key that makes the address the same after a restart; runtime_dir: private
    folder for sockets. `UserError` PORT_IN_USE if the port is taken.
    """
    # hivemind takes seconds to import and nothing else in the coordinator needs it
    from peer.swarm.libp2p import Libp2pNetwork

    ensure_identity(identity)
    return await Libp2pNetwork.start(
        identity_path=identity, runtime_dir=runtime_dir, host=host, port=port
    )


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
