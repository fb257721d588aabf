"""What a volunteer shows others names neither them nor their machine, and holds no secret."""

from __future__ import annotations

import base64
import json
import string
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from peer.support.hiding import HOME, MACHINE, SECRET, USER, Known, hidden, hidden_values
from swarmpb.redaction import HIDDEN

KNOWN = Known(
    homes=("/home/anna", "/mnt/big/anna"),
    users=("anna", "Anna Müller"),
    machines=("nas", "annas-laptop", "coordinator"),
    secrets=("hunter2hunter2",),
    plain=frozenset({"peer.journal", "my-run-of-2026-number-17"}),
)
PEER = "QmSPx6pJr7xJA6ToehjQxjfhx9k7mDxz16ig6WMEa1rv1R"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("/home/anna/.local/state/x", f"{HOME}/.local/state/x"),
        ("/mnt/big/anna: disk is full", f"{HOME}: disk is full"),
        ("/home/bert/photos", f"{HOME}/photos"),
        ("/Users/bert/Library", f"{HOME}/Library"),
        ("/root/.cache", f"{HOME}/.cache"),
        ("user anna_m logged in", f"user {USER}_m logged in"),
        ("ANNA'S nas", f"{USER}'S {MACHINE}"),
        ("by Anna Müller", f"by {USER}"),
        ("peer join murmuration://there:7700/demo/invite=abc", "peer join murmuration://" + HIDDEN),
        ("invite=5ecre7-of-nobody", f"invite={SECRET}"),
        ('"token": "abcdefgh"', f'"token": "{SECRET}"'),
        ("Authorization: Bearer abc def", f"Authorization: {SECRET}"),
        ("sent bearer abc", f"sent bearer {SECRET}"),
        ("no answer from peer.example.org:7700", f"no answer from {HIDDEN}"),
        ("write to anna@example.org", f"write to {HIDDEN}"),
        ("card 00:1b:44:11:3a:b7", f"card {HIDDEN}"),
        ("key 9f86d081884c7d659a2feaa0c55ad015", f"key {SECRET}"),
        ("it was hunter2hunter2!", f"it was {SECRET}!"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nx", f"{SECRET}\nx"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", SECRET),
    ],
)
def test_it_is_put_out_of_sight(told: str, shown: str) -> None:
    assert hidden(told, KNOWN) == shown


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-22 00:17:39+0000 INFO peer.journal: training: round 12 | 5,996 tokens/s",
        f"left out: {PEER} arrived 3.2 s late",
        "run my-run-of-2026-number-17 is paused",
        "cannot write run.json.tmp and peer.log",
        "asyncio.exceptions.CancelledError",
        "the admin token missing; no certificate holds",
        '  File "~/venv/lib/python3.11/site-packages/grpc/aio/call.py", line 3, in wait',
        "at round 7, 1,234,567 tokens merged; loss 3.1415926535e-05",
        "Linux-6.18.44-x86_64",
        "python 3.11.7, torch 2.13.0+cpu",
    ],
)
def test_what_helps_is_shown(told: str) -> None:
    assert hidden(told, KNOWN) == told


def test_json_is_hidden_before_it_is_written_so_that_no_escape_gets_in_between() -> None:
    told = {"words": ["hello\nanna"], "by /home/anna": 1, "number": 1.5, "none": None}
    text = json.dumps(hidden_values(told, KNOWN))
    assert "anna" not in text
    assert json.loads(text)["number"] == 1.5


LETTERS = string.ascii_letters + string.digits
DOMAINS = st.tuples(
    st.lists(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12), min_size=1),
    st.sampled_from(["org", "com", "de", "example", "local", "lan", "internal", "io", "museum"]),
).map(lambda it: ".".join([*it[0][:3], it[1]]))
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).filter(lambda it: not it.is_unspecified),
    st.ip_addresses(v=6).filter(lambda it: not it.is_unspecified),
)
KEYS = st.binary(min_size=16, max_size=64).filter(lambda it: len(set(it)) > 8)
SMUGGLED = st.one_of(
    ADDRESSES.map(str),
    DOMAINS,
    KEYS.map(bytes.hex),
    KEYS.map(lambda it: base64.b64encode(it).decode()),
    KEYS.map(lambda it: base64.urlsafe_b64encode(it).decode()),
    ADDRESSES.map(lambda it: f"/ip{it.version}/{it}/tcp/4001/p2p/{PEER}"),
    DOMAINS.map(lambda it: f"/dns4/{it}/tcp/443"),
    DOMAINS.map(lambda it: f"https://{it}/path?query=1"),
    st.sampled_from(["anna", "Anna Müller", "nas", "annas-laptop", "/home/anna", "hunter2hunter2"]),
)
AROUND = st.sampled_from(
    [" ", '"', "'", "(", ")", ", ", "; ", " = ", "\n", "\t", "<", ">", "[", "] ", " -> ", "|", "`"]
)


@given(st.lists(st.tuples(AROUND, SMUGGLED, AROUND), min_size=1, max_size=4))
def test_nothing_gets_through_whatever_stands_around_it(
    pieces: list[tuple[str, str, str]],
) -> None:
    told = "dial" + "".join(before + it + after for before, it, after in pieces) + "failed"
    shown = hidden(told, KNOWN)
    for _, smuggled, _ in pieces:
        assert smuggled not in shown
        core = smuggled.strip("/")
        assert core not in shown


@given(KEYS, st.integers(0, 40), st.sampled_from(["hex", "base64"]))
def test_no_large_part_of_a_key_is_left(key: bytes, cut: int, form: str) -> None:
    """Not even half of a line that was cut somewhere."""
    text = key.hex() if form == "hex" else base64.b64encode(key).decode()
    part = text[cut:]
    assume(len(part) >= 24)
    shown = hidden(f"state: {part}.", KNOWN)
    assert not any(part[at : at + 12] in shown for at in range(len(part) - 12))


@given(st.text(max_size=200))
def test_any_text_at_all_can_be_hidden_and_hiding_again_changes_nothing_more(text: str) -> None:
    once = hidden(text, KNOWN)
    assert hidden(once, KNOWN) == once


@given(ADDRESSES)
def test_an_address_of_any_shape_with_a_port_is_hidden(address: IPv4Address | IPv6Address) -> None:
    told = f"[{address}]:4001" if address.version == 6 else f"{address}:4001"
    assert str(address) not in hidden(f"ipv{address.version}:{told} hung up", KNOWN)
