"""How others get through to a peer, as far as its network knows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

DIRECT = "direct"
RELAYED = "relayed"
OUTGOING_ONLY = "outgoing only"

_CIRCUIT = "/p2p-circuit"
"""In a libp2p multiaddress that leads over another peer."""


def reach_of(addresses: Sequence[str], connections: Sequence[str]) -> str:
    """One of the three words above; empty while it is not known.

    addresses: this peer's own, as libp2p tells them to others. It takes addresses at a relay once
    nobody could dial it. connections: the addresses of the other ends, right now.
    """
    if not addresses:
        return OUTGOING_ONLY
    if any(_CIRCUIT in address for address in addresses):
        return RELAYED
    if not connections:
        return ""
    relayed = sum(_CIRCUIT in address for address in connections)
    return RELAYED if 2 * relayed > len(connections) else DIRECT
