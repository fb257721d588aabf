"""How others get through to a peer: whose word counts, and what the words come to."""

from __future__ import annotations

import pytest

from peer.swarm.reach import (
    DIRECT,
    OUTGOING_ONLY,
    RELAYED,
    Found,
    Word,
    is_settled,
    likeliest,
    network_of,
    observed_address,
    parse_word,
    ports_of,
    reach_of,
    whom_to_ask,
)
from swarmpb.v1 import swarm_pb2

OUTSIDE = "8.8.4.4"
LAN = "192.168.7.2"
HERE = "127.0.0.1"


def word(witness: str, found: int = Found.LIBP2P, address: str = OUTSIDE, port: int = 4001) -> Word:
    return Word(witness, found, address, port)


def test_a_peer_that_nobody_has_dialled_is_not_in_client_mode() -> None:
    reach = reach_of([])
    assert (reach.kind, reach.client_mode) == ("", False)


def test_two_who_got_through_are_enough_and_their_address_is_announced() -> None:
    words = [word("anna"), word("bert")]
    assert is_settled(words)
    reach = reach_of(words)
    assert (reach.kind, reach.client_mode) == (DIRECT, False)
    assert reach.reason == "dialled by 2 peers on the internet, at port 4001"
    assert reach.announced == f"/ip4/{OUTSIDE}/tcp/4001"


def test_one_alone_is_believed_for_the_moment_and_announces_nothing() -> None:
    assert not is_settled([word("anna")])
    assert reach_of([word("anna")]).kind == DIRECT
    assert reach_of([word("anna")]).announced == ""


def test_two_who_got_through_to_different_addresses_announce_neither() -> None:
    assert reach_of([word("anna"), word("bert", address="8.8.4.5")]).announced == ""


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Found.SILENT, "lets no connection in (a router or a firewall in between)"),
        (Found.NOT_OPEN, "refuses connections"),
        (Found.SOMETHING_ELSE, "is answered by another program"),
    ],
)
def test_who_is_not_got_through_to_is_in_client_mode_and_told_why(found: int, why: str) -> None:
    reach = reach_of([word("anna", found), word("bert", found)])
    assert (reach.kind, reach.client_mode) == (OUTGOING_ONLY, True)
    assert reach.reason == f"port 4001 {why}; tried by 2 peers on the internet"


def test_behind_a_router_the_word_of_a_neighbour_does_not_count() -> None:
    """It is in the same private network: it got through, and nobody outside will."""
    neighbour = word("neighbour", address=LAN)
    outside = [word("anna", Found.SILENT), word("bert", Found.SILENT)]
    assert reach_of([neighbour, *outside]).kind == OUTGOING_ONLY
    assert not is_settled([neighbour, outside[0]]), "one from outside is not enough"
    assert is_settled([neighbour, *outside])


def test_a_swarm_in_one_private_network_goes_by_the_words_from_there() -> None:
    reach = reach_of([word("anna", address=LAN), word("bert", address=LAN)])
    assert reach.kind == DIRECT
    assert "in this private network" in reach.reason


def test_a_swarm_on_one_machine_goes_by_the_words_from_there() -> None:
    reach = reach_of([word("anna", address=HERE), word("bert", address="::1")])
    assert reach.kind == DIRECT
    assert "on this machine" in reach.reason


def test_two_who_contradict_each_other_call_for_a_third_who_decides() -> None:
    tied = [word("anna"), word("bert", Found.SILENT)]
    assert not is_settled(tied)
    assert reach_of(tied).kind == OUTGOING_ONLY, "a share that is lost costs more than none"
    for found, kind in ((Found.LIBP2P, DIRECT), (Found.SILENT, OUTGOING_ONLY)):
        decided = [*tied, word("carl", found)]
        assert is_settled(decided)
        assert reach_of(decided).kind == kind


def test_who_is_seen_through_a_relay_only_is_in_client_mode() -> None:
    words = [Word("anna", Found.RELAYED), Word("bert", Found.RELAYED)]
    assert is_settled(words)
    assert reach_of(words).kind == RELAYED
    assert reach_of(words).client_mode


@pytest.mark.parametrize(
    "reply",
    [
        swarm_pb2.DialBackReply(found=Found.UNKNOWN, address=OUTSIDE),
        swarm_pb2.DialBackReply(found=Found.LIBP2P, address=""),
        swarm_pb2.DialBackReply(found=Found.LIBP2P, address="example.org"),
        swarm_pb2.DialBackReply(found=Found.LIBP2P, address="8.8.4.4/tcp/1" * 9),
        swarm_pb2.DialBackReply.FromString(b"\x08\x63\x12\x078.8.4.4"),  # no such finding
    ],
    ids=["nothing found", "nowhere", "a name", "an essay", "an unknown finding"],
)
def test_a_witness_that_talks_nonsense_is_not_heard(reply: swarm_pb2.DialBackReply) -> None:
    assert parse_word("anna", reply, 4001) is None


def test_a_witness_names_an_address_and_that_is_kept_in_one_spelling() -> None:
    reply = swarm_pb2.DialBackReply(found=Found.SILENT, address="::ffff:8.8.4.4")
    assert parse_word("anna", reply, 4001) == word("anna", Found.SILENT)


def test_the_port_of_a_public_address_is_the_likeliest_and_two_are_tried_at_most() -> None:
    own = ("/ip4/127.0.0.1/tcp/7", "/ip4/192.168.7.2/tcp/7", "/ip4/8.8.4.4/tcp/9/p2p/QmA")
    assert ports_of(own) == (9, 7)
    assert ports_of([f"/ip4/8.8.4.4/tcp/{port}" for port in range(5)]) == (1, 2)
    assert ports_of(["/memory/x", "/ip4/8.8.4.4/tcp/99999", "/dns4/a.org/tcp/5"]) == ()


def test_those_outside_are_asked_first_and_each_from_another_place() -> None:
    known = {
        "neighbour": ("/ip4/192.168.7.3/tcp/1",),
        "anna": ("/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"),
        "anna's other": ("/ip4/8.8.8.8/tcp/2",),
        "bert": ("/ip4/9.9.9.9/tcp/1",),
    }
    order = {"anna": 0.0, "anna's other": 0.1, "bert": 0.2, "neighbour": 0.0}
    assert whom_to_ask(known, set(), order)[0] == "anna"
    assert whom_to_ask(known, {"anna"}, order) == ["bert", "anna's other", "neighbour"]


@pytest.mark.parametrize(
    ("own", "chosen"),
    [
        ("/ip4/192.168.7.9/tcp/1", 1),
        ("/ip4/192.168.9.9/tcp/1", 2),
        ("/ip4/9.9.9.9/tcp/1", 2),
    ],
    ids=["a neighbour", "in another private network", "on the internet"],
)
def test_a_peer_is_dialled_where_it_is_by_neighbours_and_where_all_see_it_by_others(
    own: str, chosen: int
) -> None:
    addresses = ("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.7.2/tcp/1", "/ip4/8.8.4.4/tcp/1")
    assert likeliest(addresses, ["/ip4/127.0.0.1/tcp/5", own]) == addresses[chosen]


def test_on_one_machine_the_only_address_is_dialled() -> None:
    assert likeliest(["/ip4/127.0.0.1/tcp/1"], ["/ip4/127.0.0.1/tcp/5"]) == "/ip4/127.0.0.1/tcp/1"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("/ip4/8.8.4.4/tcp/4001", "8.8.4.4"),
        ("/ip6/::ffff:8.8.4.4/tcp/4001", "8.8.4.4"),
        ("/ip6/2001:db8::1/tcp/4001/p2p/QmA", "2001:db8::1"),
        ("/ip4/224.0.0.1/tcp/4001", ""),
        ("/ip4/0.0.0.0/tcp/4001", ""),
        ("/unix/tmp/socket", ""),
        ("", ""),
    ],
)
def test_the_address_of_a_connections_other_end(remote: str, address: str) -> None:
    assert observed_address(remote) == address


def test_the_address_of_a_relay_is_nobody_elses() -> None:
    with pytest.raises(ValueError, match="relay"):
        observed_address("/ip4/8.8.4.4/tcp/4001/p2p/QmRelay/p2p-circuit")


def test_an_ipv6_asker_is_counted_with_all_the_addresses_that_it_has() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:1::1")
    assert network_of("8.8.4.4") != network_of("8.8.4.5")
