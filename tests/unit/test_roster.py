"""What other peers say about a round: every number is checked before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from peer.averaging.codecs import BLOCK
from peer.averaging.parts import MAX_MEMBERS, MAX_TOKENS, HeldPart, LeftOut, PartReport
from peer.averaging.roster import (
    MAX_LEFT_OUT_REASON,
    Malformed,
    Manifest,
    ManifestPart,
    Roster,
    answer_message,
    compile_parts,
    form_roster,
    left_out_reason,
    manifest_message,
    merged_members,
    merged_tokens,
    parse_left_out,
    parse_manifest,
    parse_members,
    parse_report,
    parse_roster,
    report_message,
    roster_message,
)
from swarmpb.v1 import swarm_pb2
from tests.tiny import tiny_spec

SPEC = tiny_spec()
PARAMETERS = 4 * BLOCK
ATTEMPT = bytes(range(16))
DIGEST = bytes(range(32))
ONE, OTHER = b"1" * 32, b"2" * 32


def roster(**tokens: int) -> Roster:
    claimed = tokens or {"anna": 100, "bert": 300, "cora": 0}
    return form_roster(ATTEMPT, 7, DIGEST, "anna", claimed, PARAMETERS)


def manifest() -> Manifest:
    return Manifest(
        roster(),
        (
            ManifestPart(False, ONE, (0, 1), (), (0, 1, 2)),
            ManifestPart(False, OTHER, (0,), (LeftOut(1, "late"),), (1,)),
            ManifestPart(void=True),
        ),
        tokens=1400,
        state_digest=DIGEST,
    )


# ---- rosters ---------------------------------------------------------------------------


def test_a_roster_is_sorted_and_its_weights_follow_from_the_tokens() -> None:
    formed = roster(cora=0, anna=100, bert=9000)
    assert formed.members == ("anna", "bert", "cora")
    assert formed.tokens == (100, 9000, 0)
    assert formed.weights == (100.0, 9000.0, 0.0)
    assert roster(a=10, b=10, c=10_000).weights == (10, 10, 100)
    assert formed.index("bert") == 1
    assert len(formed.parts) == 3


def test_a_roster_comes_back_from_its_message() -> None:
    data = roster_message(roster(), SPEC).SerializeToString()
    assert parse_roster(swarm_pb2.Roster.FromString(data), SPEC, PARAMETERS) == roster()


Change = Callable[[swarm_pb2.Roster], object]


def weight(value: float) -> Change:
    return lambda message: setattr(message.members[1], "weight", value)


def field(name: str, value: object) -> Change:
    return lambda message: setattr(message, name, value)


def grow_to(count: int) -> Change:
    def change(message: swarm_pb2.Roster) -> None:
        del message.members[:]
        for index in range(count):
            message.members.add(peer_id=f"{index:04}", tokens=1, weight=1)
        message.leader = "0000"

    return change


WEIGHTS = "the weights do not follow from the tokens"
ORDER = "the members are not sorted and distinct"


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
        (lambda it: setattr(it.members[1], "peer_id", "anna"), ORDER),
        (lambda it: setattr(it.members[0], "peer_id", "zoe"), ORDER),
        (lambda it: it.members.reverse(), ORDER),
        (grow_to(MAX_MEMBERS + 1), f"{MAX_MEMBERS + 1} members"),
        (grow_to(10_000), "10000 members"),
        (lambda it: it.ClearField("members"), "0 members"),
        (field("leader", "doro"), "the leader is no member"),
        (field("leader", ""), "the leader is no member"),
        (field("attempt", b"short"), "the attempt has no 16 bytes"),
        (field("attempt", bytes(17)), "the attempt has no 16 bytes"),
        (field("digest", DIGEST[:-1]), "the digest has no 32 bytes"),
        (field("digest", b""), "the digest has no 32 bytes"),
        (field("codec", "fp32"), "codec 'fp32' is not the run's"),
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
    assert len(parse_roster(message, SPEC, PARAMETERS).members) == MAX_MEMBERS


# ---- what an owner answers -------------------------------------------------------------


def test_an_answer_names_who_is_in_it_and_how_long_it_is() -> None:
    message = answer_message(HeldPart((0, 2), (LeftOut(1, "late"),), b"12345"))
    assert list(message.included) == [0, 2]
    assert [(it.member, it.reason) for it in message.left_out] == [(1, "late")]
    assert message.encoded_bytes == 5


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
def test_who_is_included_must_be_in_the_roster_once(indexes: list[int], problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        parse_members(indexes, 3)


def test_nobody_or_everybody_may_be_included() -> None:
    assert parse_members([], 3) == ()
    assert parse_members([0, 1, 2], 3) == (0, 1, 2)


def test_who_is_left_out_must_be_in_the_roster_and_reasons_are_cut_short() -> None:
    said = [swarm_pb2.LeftOut(member=1, reason="x" * 10_000)]
    assert parse_left_out(said, 3) == (LeftOut(1, "x" * MAX_LEFT_OUT_REASON),)
    with pytest.raises(Malformed, match="more members left out than the roster has"):
        parse_left_out(said * 4, 3)
    with pytest.raises(Malformed, match="an unknown member is left out"):
        parse_left_out([swarm_pb2.LeftOut(member=3)], 3)


# ---- reports and what a leader makes of them -------------------------------------------


def held(part: int, digest: bytes = ONE, included: Sequence[int] = (0,)) -> swarm_pb2.PartHeld:
    return swarm_pb2.PartHeld(part=part, digest=digest, included=included)


def test_a_report_comes_back_from_its_message() -> None:
    first, last = HeldPart((0, 1), (), b"a"), HeldPart((1,), (LeftOut(0, "late"),), b"b")
    data = report_message({2: last, 0: first}).SerializeToString()
    assert parse_report(swarm_pb2.ExchangeReport.FromString(data), roster()) == [
        PartReport(0, first.digest, (0, 1), ()),
        PartReport(2, last.digest, (1,), (LeftOut(0, "late"),)),
    ]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([held(0), held(1), held(2), held(2)], "more parts than the roster has"),
        ([held(3)], "an unknown part"),
        ([held(0, b"short")], "a bad digest"),
        ([held(0, b"")], "a bad digest"),
        ([held(0, included=[1, 1])], "members are not sorted and distinct"),
        ([held(0, included=[3])], "a member that is not in the roster"),
        ([held(1), held(1)], "a part twice, or out of order"),
        ([held(1), held(0)], "a part twice, or out of order"),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused_by_name(
    parts: list[swarm_pb2.PartHeld], problem: str
) -> None:
    with pytest.raises(Malformed, match=problem):
        parse_report(swarm_pb2.ExchangeReport(parts=parts), roster())


def said(part: int, digest: bytes, included: tuple[int, ...] = (0, 1)) -> PartReport:
    return PartReport(part, digest, included, ())


def test_a_part_that_nobody_holds_is_void() -> None:
    parts = compile_parts(roster(), {0: [said(0, ONE)], 1: [said(0, ONE)], 2: []})
    assert parts == (
        ManifestPart(False, ONE, (0, 1), (), (0, 1)),
        ManifestPart(void=True),
        ManifestPart(void=True),
    )


def test_of_an_owners_two_stories_the_one_that_most_members_heard_counts() -> None:
    reports = {0: [said(0, OTHER)], 1: [said(0, ONE)], 2: [said(0, ONE)]}
    assert compile_parts(roster(), reports)[0] == ManifestPart(False, ONE, (0, 1), (), (1, 2))


def test_a_tie_of_stories_is_broken_the_same_way_whatever_the_order() -> None:
    one = compile_parts(roster(), {0: [said(0, ONE)], 1: [said(0, OTHER)]})
    two = compile_parts(roster(), {1: [said(0, OTHER)], 0: [said(0, ONE)]})
    assert one == two
    assert len(one[0].holders) == 1


def test_a_member_that_lies_about_who_is_in_the_mean_does_not_speak_for_the_others() -> None:
    reports = {
        0: [said(0, ONE, (0,))],
        1: [said(0, ONE, (0, 1))],
        2: [said(0, ONE, (0, 1))],
    }
    assert compile_parts(roster(), reports)[0] == ManifestPart(False, ONE, (0, 1), (), (1, 2))


# ---- manifests -------------------------------------------------------------------------


def test_a_manifest_comes_back_from_its_message() -> None:
    data = manifest_message(manifest(), SPEC).SerializeToString()
    assert parse_manifest(swarm_pb2.Manifest.FromString(data), SPEC, PARAMETERS) == manifest()


def void_all(message: swarm_pb2.Manifest) -> None:
    for part in message.parts:
        part.void = True


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda it: setattr(it.roster.members[1], "weight", 1e30), WEIGHTS),
        (lambda it: it.parts.pop(), "the parts do not fit the roster"),
        (lambda it: it.parts.add(void=True), "the parts do not fit the roster"),
        (lambda it: setattr(it, "state_digest", b"x"), "the state digest has no 32 bytes"),
        (void_all, "every part is void"),
        (lambda it: setattr(it, "tokens", 2**62), "too many tokens"),
        (lambda it: setattr(it.parts[0], "digest", ONE[:-1]), "a part's digest has no 32 bytes"),
        (lambda it: it.parts[0].ClearField("holders"), "a part without holders is not void"),
        (lambda it: it.parts[0].holders.append(3), "more members than the roster has"),
        (lambda it: it.parts[1].holders.append(3), "a member that is not in the roster"),
        (lambda it: it.parts[0].included.append(1), "members are not sorted and distinct"),
        (lambda it: setattr(it.parts[1].left_out[0], "member", 3), "an unknown member"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_by_name(
    change: Callable[[swarm_pb2.Manifest], object], problem: str
) -> None:
    message = manifest_message(manifest(), SPEC)
    change(message)
    with pytest.raises(Malformed, match=problem):
        parse_manifest(message, SPEC, PARAMETERS)


def test_what_a_leader_compiles_its_members_can_read() -> None:
    story = [said(0, ONE), said(1, OTHER), said(2, ONE)]
    parts = compile_parts(roster(), {0: story, 1: story[:1], 2: story[1:]})
    message = manifest_message(Manifest(roster(), parts, 400, DIGEST), SPEC)
    assert parse_manifest(message, SPEC, PARAMETERS).parts == parts


def test_work_counts_as_merged_from_half_the_values_on() -> None:
    whole = roster(anna=100, bert=300)
    in_both = ManifestPart(False, ONE, (0, 1), (), (0,))
    without_bert = ManifestPart(False, ONE, (0,), (LeftOut(1, "late"),), (0,))
    void = ManifestPart(void=True)
    assert merged_members(whole, (in_both, in_both)) == {0, 1}
    assert merged_members(whole, (in_both, without_bert)) == {0, 1}
    assert merged_members(whole, (without_bert, without_bert)) == {0}
    assert merged_members(whole, (without_bert, void)) == {0}
    assert merged_tokens(whole, (in_both, in_both)) == 400
    assert merged_tokens(whole, (without_bert, void)) == 100


def test_less_than_half_the_values_is_not_merged() -> None:
    three = roster(anna=100, bert=300, cora=50)  # parts of 1, 1 and 2 blocks
    one_part = ManifestPart(False, ONE, (1,), (), (0,))
    void = ManifestPart(void=True)
    assert merged_members(three, (one_part, void, void)) == set()
    assert merged_members(three, (void, void, one_part)) == {1}


def test_a_member_is_told_why_its_work_is_not_in_the_round() -> None:
    told = manifest()
    assert left_out_reason(told, 1) == "part 1: late"
    assert left_out_reason(told, 0) == "part 2 is void: its owner was lost"
    whole = Manifest(told.roster, told.parts[:1] * 3, 400, DIGEST)
    assert left_out_reason(whole, 0) == ""
