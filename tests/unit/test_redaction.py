"""Addresses of participants stay out of what strangers read; everything else stays in it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmpb.redaction import HIDDEN, redacted


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("cannot reach 203.0.113.7:4001", f"cannot reach {HIDDEN}"),
        ("203.0.113.7 refused", f"{HIDDEN} refused"),
        ("dial /ip4/203.0.113.7/tcp/4001/p2p/QmAnna: timeout", f"dial {HIDDEN} timeout"),
        ("dial /dns4/anna.example.org/tcp/4001", f"dial {HIDDEN}"),
        ("[2001:db8::17]:4001 is silent", f"{HIDDEN} is silent"),
        ("2001:db8:0:0:1:2:3:4 is silent", f"{HIDDEN} is silent"),
        ("fe80::1%eth0 is silent", f"{HIDDEN} is silent"),
        ("::ffff:203.0.113.7 is silent", f"{HIDDEN} is silent"),
        ("dial fe80::1: timeout", f"dial {HIDDEN}: timeout"),
        ("it was 2001:db8::.", f"it was {HIDDEN}."),
        ("::1 is silent", f"{HIDDEN} is silent"),
        ("ipv4:203.0.113.7:50000 hung up", f"ipv4:{HIDDEN} hung up"),
        ("from 10.0.0.1, then 10.0.0.2.", f"from {HIDDEN}, then {HIDDEN}."),
        ("host=198.51.100.9;port=1", f"host={HIDDEN};port=1"),
    ],
)
def test_an_address_in_a_reason_is_put_out_of_sight(told: str, shown: str) -> None:
    assert redacted(told) == shown


@pytest.mark.parametrize(
    "told",
    [
        "left out: arrived 3.2 s late",
        "version 1.2.3",
        "1.2.3.4.5 is no address",
        "999.1.1.1 is none either",
        "round 12: 3 of 4 parts; 1:2 odds",
        "at 12:30:45 by the clock of std::vector",
        "torch::cuda is missing",
        "refused: not finite",
        "",
    ],
)
def test_other_words_and_numbers_are_shown_as_they_are(told: str) -> None:
    assert redacted(told) == told


@given(st.ip_addresses(), st.none() | st.integers(1, 65535))
def test_no_address_of_any_shape_is_shown(
    address: IPv4Address | IPv6Address, port: int | None
) -> None:
    told = str(address)
    if port is not None:
        told = f"[{told}]:{port}" if address.version == 6 else f"{told}:{port}"
    if not address.is_unspecified:  # that is nobody's
        assert redacted(f"peer at {told} is silent") == f"peer at {HIDDEN} is silent"
