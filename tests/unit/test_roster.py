"""What a leader says about an attempt: every number is checked before anything uses it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from peer.averaging.codecs import UNIT
from peer.averaging.links import UNKNOWN, Link
from peer.averaging.malformed import Malformed
from peer.averaging.parts import MAX_MEMBERS, MAX_TOKENS, LeftOut
from peer.averaging.roster import (
    MAX_LEFT_OUT_REASON,
    Pledge,
    Roster,
    form_roster,
    left_out_messages,
    parse_left_out,
    parse_members,
    parse_merged,
    parse_roster,
    roster_message,
)
from peer.averaging.state import GlobalState
from swarmpb.v1 import swarm_pb2
from tests.tiny import tiny_spec

SPEC = tiny_spec()
UNITS = 9
PARAMETERS = UNITS * UNIT - 5
ATTEMPT = bytes(range(16))
LINK = Link(1000, 1000)
"""Too slow for one owner of everything."""


@lru_cache
def base() -> GlobalState:
    zeros = np.zeros(PARAMETERS, np.float32)
    return GlobalState(7, 1000, zeros, zeros)


def formed(pledges: dict[str, Pledge], codec: str = "int8") -> Roster:
    return form_roster(ATTEMPT, base(), min(pledges), pledges, codec)


def roster(**tokens: int) -> Roster:
    claimed = tokens or {"anna": 100, "bert": 300, "cora": 0}
    return formed({name: Pledge(count, LINK) for name, count in claimed.items()})


# ---- forming one -----------------------------------------------------------------------------


def test_a_roster_is_sorted_and_its_weights_follow_from_the_tokens() -> None:
    found = roster(cora=0, bert=9000, anna=100)
    assert found.members == ("anna", "bert", "cora")
    assert found.tokens == (100, 9000, 0)
    assert found.weights == (100.0, 9000.0, 0.0)
    assert roster(a=10, b=10, c=10_000).weights == (10, 10, 100)
    assert found.index("bert") == 1
    with pytest.raises(ValueError, match="tuple"):
        found.index("doro")


def test_a_roster_is_of_the_state_that_all_have_cut_from() -> None:
    found = formed({"anna": Pledge(1, UNKNOWN)}, codec="int4")
    assert (found.round, found.digest) == (7, base().digest)
    assert (found.attempt, found.leader, found.codec) == (ATTEMPT, "anna", "int4")
    assert found.parameters == PARAMETERS


def test_who_owns_how_much_follows_from_the_links() -> None:
    slow, client = Link(10, 10), Link(1000, 1000, client_mode=True)
    links = {"anna": LINK, "bert": slow, "cora": LINK, "dora": client, "egon": LINK}
    found = formed({name: Pledge(5, link) for name, link in links.items()})
    assert found.units == (3, 0, 3, 0, 3)
    assert [part.owner for part in found.parts] == [0, 2, 4]
    assert found.parts[-1].stop == PARAMETERS
    assert roster().units == (3, 3, 3), "also those that have only listened"
    fast = {name: Pledge(5, Link(rate, rate)) for name, rate in (("a", 10**8), ("b", 10**8 + 1))}
    assert sorted(formed(fast).units) == [0, 9], "one owner is enough"


# ---- on the wire -----------------------------------------------------------------------------


def test_a_roster_comes_back_from_its_message() -> None:
    data = roster_message(roster(), SPEC).SerializeToString()
    assert parse_roster(swarm_pb2.Roster.FromString(data), SPEC, PARAMETERS) == roster()


Change = Callable[[swarm_pb2.Roster], object]


def weight(value: float) -> Change:
    return lambda message: setattr(message.members[1], "weight", value)


def units(*values: int) -> Change:
    def change(message: swarm_pb2.Roster) -> None:
        for member, value in zip(message.members, values, strict=True):
            member.units = value

    return change


def field(name: str, value: object) -> Change:
    return lambda message: setattr(message, name, value)


def grow_to(count: int) -> Change:
    def change(message: swarm_pb2.Roster) -> None:
        del message.members[:]
        for index in range(count):
            owned = UNITS if index == count // 2 else 0
            message.members.add(peer_id=f"{index:04}", tokens=1, weight=1, units=owned)
        message.leader = "0000"

    return change


WEIGHTS = "the weights do not follow from the tokens"
OWNED = "the owners' units are not the vector's"
ORDER = "the members are not sorted and distinct"
PEER_ID = "a member has no peer id"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (weight(float("inf")), WEIGHTS),
        (weight(float("nan")), WEIGHTS),
        (weight(1e30), WEIGHTS),
        (weight(-300), WEIGHTS),
        (weight(0), WEIGHTS),
        (weight(300.0000001), WEIGHTS),
        (lambda it: setattr(it.members[2], "weight", 1), WEIGHTS),
        (lambda it: setattr(it.members[1], "tokens", 301), WEIGHTS),
        (lambda it: setattr(it.members[1], "tokens", MAX_TOKENS + 1), "claims too many tokens"),
        (lambda it: setattr(it.members[0], "tokens", 2**64 - 1), "claims too many tokens"),
        (units(3, 3, 2), OWNED),
        (units(3, 3, 4), OWNED),
        (units(0, 0, 0), OWNED),
        (units(2**32 - 1, 2**32 - 1, 2**32 - 1), OWNED),
        (units(2**32 - 1, 5, 5), OWNED),  # nine if one counted in 32 bits
        (lambda it: setattr(it.members[1], "peer_id", "anna"), ORDER),
        (lambda it: setattr(it.members[0], "peer_id", "zoe"), ORDER),
        (lambda it: it.members.reverse(), ORDER),
        (lambda it: setattr(it.members[0], "peer_id", ""), PEER_ID),
        (lambda it: setattr(it.members[2], "peer_id", "d/../cora"), PEER_ID),
        (lambda it: setattr(it.members[2], "peer_id", "z" * 101), PEER_ID),
        (lambda it: setattr(it.members[2], "peer_id", "z\u00e4"), PEER_ID),
        (grow_to(MAX_MEMBERS + 1), f"{MAX_MEMBERS + 1} members"),
        (grow_to(10_000), "10000 members"),
        (lambda it: it.ClearField("members"), "0 members"),
        (field("leader", "doro"), "the leader is no member"),
        (field("leader", ""), "the leader is no member"),
        (field("attempt", b"short"), "the attempt has no 16 bytes"),
        (field("attempt", bytes(17)), "the attempt has no 16 bytes"),
        (field("digest", bytes(31)), "the digest has no 32 bytes"),
        (field("digest", b""), "the digest has no 32 bytes"),
        (field("codec", "fp32"), "codec 'fp32' is not the run's"),
        (field("codec", ""), "codec '' is not the run's"),
        (field("codec", "x" * 1000), f"codec '{'x' * 20}' is not the run's"),
        (field("parameters", PARAMETERS + 1), f"{PARAMETERS + 1} parameters, not {PARAMETERS}"),
        (field("parameters", 2**63), f"{2**63} parameters, not {PARAMETERS}"),
        (field("exchange_seconds", 1e9), "another exchange time"),
        (field("exchange_seconds", float("nan")), "another exchange time"),
    ],
)
def test_a_roster_that_breaks_a_rule_is_refused_by_name(change: Change, problem: str) -> None:
    message = roster_message(roster(), SPEC)
    change(message)
    with pytest.raises(Malformed) as refusal:
        parse_roster(message, SPEC, PARAMETERS)
    assert problem in str(refusal.value)


def test_the_largest_roster_is_let_in() -> None:
    message = roster_message(roster(), SPEC)
    grow_to(MAX_MEMBERS)(message)
    found = parse_roster(message, SPEC, PARAMETERS)
    assert len(found.members) == MAX_MEMBERS
    assert {part.owner for part in found.parts} == {MAX_MEMBERS // 2}


def test_a_leader_may_share_out_the_vector_as_it_likes() -> None:
    """Members check what harms them, not whether a leader was fair to its owners."""
    for shares in ((0, 9, 0), (1, 7, 1), (9, 0, 0)):
        message = roster_message(roster(), SPEC)
        units(*shares)(message)
        assert parse_roster(message, SPEC, PARAMETERS).units == shares


# ---- members by their places -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("indexes", "problem"),
    [
        ([0, 0], "members are not sorted and distinct"),
        ([1, 0], "members are not sorted and distinct"),
        ([0, 3], "a member that is not in the roster"),
        ([0, 1, 2, 3], "more members than the roster has"),
        ([2**32 - 1], "a member that is not in the roster"),
    ],
)
def test_a_list_of_members_has_each_of_the_roster_once(indexes: list[int], problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        parse_members(indexes, 3)
    with pytest.raises(Malformed, match=problem):
        parse_merged(indexes, roster(anna=1, bert=1, cora=1))


def test_nobody_or_everybody_may_be_in_a_list() -> None:
    assert parse_members([], 3) == ()
    assert parse_members([0, 1, 2], 3) == (0, 1, 2)


def test_who_has_only_listened_is_in_no_mean() -> None:
    assert parse_merged([0, 1], roster()) == (0, 1)
    with pytest.raises(Malformed, match="a member without tokens is in a mean"):
        parse_merged([0, 2], roster())


def test_who_is_left_out_comes_back_from_its_message() -> None:
    entries = (LeftOut(1, "late", 2), LeftOut(0, "", 0))
    assert parse_left_out(left_out_messages(entries), roster()) == entries


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([(0, 0), (1, 0), (2, 0), (0, 1)], "more members left out than the roster has"),
        ([(3, 0)], "an unknown member is left out"),
        ([(2**32 - 1, 0)], "an unknown member is left out"),
        ([(0, 3)], "left out of an unknown part"),
        ([(0, 0), (0, 1)], "a member left out twice"),
    ],
)
def test_who_is_left_out_must_be_in_the_roster_once(
    entries: list[tuple[int, int]], problem: str
) -> None:
    said = [swarm_pb2.LeftOut(member=member, part=part) for member, part in entries]
    with pytest.raises(Malformed, match=problem):
        parse_left_out(said, roster())


def test_reasons_are_cut_short_and_say_nothing_to_a_terminal() -> None:
    bell = [swarm_pb2.LeftOut(member=1, reason="\x1b[2Jlate\n")]
    assert parse_left_out(bell, roster()) == (LeftOut(1, "?[2Jlate?", 0),)
    said = [swarm_pb2.LeftOut(member=1, reason="x" * 10_000)]
    assert parse_left_out(said, roster()) == (LeftOut(1, "x" * MAX_LEFT_OUT_REASON, 0),)
