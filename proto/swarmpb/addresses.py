"""Addresses that other peers and coordinators name: only those that p2pd can read are kept. Pure.

One address that p2pd cannot read keeps it from starting, whatever the others are, and they are
remembered: without this check one peer's record could lock everybody out of the run.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import base58

MAX_ADDRESS_LENGTH = 300
_PEER = r"/p2p/(Qm[1-9A-HJ-NP-Za-km-z]{44})"
_ADDRESS = re.compile(
    r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[0-9A-Za-z.:-]+)"
    rf"/(?:tcp|udp)/(?P<port>[0-9]{{1,5}})(?:/quic|/quic-v1)?{_PEER}(?:/p2p-circuit{_PEER})?"
)


def dialable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those of `addresses` that are libp2p multiaddresses with a host, a port and a peer id."""
    # no long one reaches the cache: strangers send what they like
    return tuple(it for it in addresses if len(it) <= MAX_ADDRESS_LENGTH and _is_dialable(it))


@lru_cache(maxsize=20_000)  # a coordinator is told the same ones every few seconds
def _is_dialable(address: str) -> bool:
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > 65535:
        return False
    peers = [peer for peer in (match[4], match[5]) if peer]
    if not all(base58.b58decode(peer)[:2] == b"\x12\x20" for peer in peers):
        return False
    try:
        if match["kind"] == "ip4":
            ipaddress.IPv4Address(match["host"])
        elif match["kind"] == "ip6":
            ipaddress.IPv6Address(match["host"])
    except ValueError:
        return False
    return match["kind"].startswith("ip") or ":" not in match["host"]


def is_loopback(address: str) -> bool:
    """Whether a multiaddress leads to the machine that reads it."""
    found = re.match(r"/ip[46]/([^/]+)", address)
    return found is not None and ipaddress.ip_address(found[1]).is_loopback
