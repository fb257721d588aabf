"""One address that p2pd cannot read would keep it from starting: none gets through."""

from __future__ import annotations

import pytest

from swarmpb import addresses
from swarmpb.addresses import MAX_ADDRESS_LENGTH, dialable

PEER = "/p2p/QmbhAjCwooHQDNwiHKFGRydDwNKQwrtwRWXArDEeCZXVUv"
RELAY = "/p2p/QmeHr4H4vgSizoN5bcihv2pn4NZssr1vVwUpkn42HUJ4VH"


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/10.0.0.1/tcp/7700{PEER}",
        f"/ip6/::1/tcp/7700{PEER}",
        f"/ip6/2001:db8::2/udp/1/quic{PEER}",
        f"/dns4/peer.example.org/tcp/443{PEER}",
        f"/dns/localhost/tcp/1{PEER}",
        f"/ip4/10.0.0.1/tcp/1{RELAY}/p2p-circuit{PEER}",
    ],
)
def test_an_address_that_a_peer_announces_is_kept(address: str) -> None:
    assert dialable([address]) == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "garbage",
        "/",
        PEER,
        "/ip4/10.0.0.1/tcp/7700",
        "/ip4/10.0.0.1/tcp/7700/p2p/Qm",
        f"/ip4/10.0.0.1/tcp/7700/p2p/Qm{'z' * 44}",
        f"/ip4/10.0.0.1{PEER}",
        f"/ip4/10.0.0.256/tcp/1{PEER}",
        f"/ip4/10.0.0.01/tcp/1{PEER}",
        f"/ip4/::1/tcp/1{PEER}",
        f"/ip6/10.0.0.1/tcp/1{PEER}",
        f"/ip6/fe80::1%eth0/tcp/1{PEER}",
        f"/ip4/10.0.0.1/tcp/65536{PEER}",
        f"/ip4/10.0.0.1/tcp/-1{PEER}",
        f"/ip4/10.0.0.1/sctp/1{PEER}",
        f"/dns4/a:b/tcp/1{PEER}",
        f"/dns4/a b/tcp/1{PEER}",
        f"/dns4/a\0b/tcp/1{PEER}",
        f"/dns4/{'x' * MAX_ADDRESS_LENGTH}/tcp/1{PEER}",
        f"/unix/tmp/socket{PEER}",
        f"/memory/1{PEER}",
        f"/ip4/10.0.0.1/tcp/1{PEER}/p2p-circuit",
        f"/ip4/10.0.0.1/tcp/1{PEER}\n",
        f"/ip4/10.0.0.1/tcp/\u0663{PEER}",
    ],
)
def test_anything_else_is_not(address: str) -> None:
    good = f"/ip4/10.0.0.1/tcp/1{PEER}"
    assert dialable([address, good]) == (good,)


def test_long_addresses_of_strangers_are_not_kept_in_memory() -> None:
    before = addresses._is_dialable.cache_info().currsize
    assert dialable([f"/dns/{'a' * 10_000}/tcp/4000/p2p/{'Qm' + 'a' * 44}"]) == ()
    assert addresses._is_dialable.cache_info().currsize == before
