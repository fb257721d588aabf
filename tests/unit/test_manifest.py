"""What became of an attempt: reports, what a leader makes of them, and what is agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.codecs import UNIT
from peer.averaging.coverage import MAX_AHEAD, MAX_DONE, Chunks
from peer.averaging.links import Link
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import (
    NO_WORK,
    Manifest,
    ManifestPart,
    Report,
    compile_parts,
    first_left_out,
    left_out_of,
    left_out_reason,
    manifest_message,
    merged_members,
    merged_tokens,
    parse_manifest,
    parse_report,
    report_message,
    report_of,
)
from peer.averaging.methods import AGREEMENT, ROSTER
from peer.averaging.parts import MAX_MEMBERS, HeldPart, LeftOut, PartReport, split
from peer.averaging.ranges import MAX_CHUNK
from peer.averaging.roster import MAX_LEFT_OUT_REASON, Pledge, Roster, form_roster
from peer.averaging.state import GlobalState
from swarmpb.v1 import swarm_pb2
from tests.tiny import tiny_spec

SPEC = tiny_spec()
PARAMETERS = 4 * UNIT
ATTEMPT = bytes(range(16))
DIGEST = bytes(range(32))
ONE, OTHER = b"1" * 32, b"2" * 32
VOID = ManifestPart(void=True)
SLOW = Link(1000, 1000)
"""Too slow for one owner of everything."""


@lru_cache
def base() -> GlobalState:
    zeros = np.zeros(PARAMETERS, np.float32)
    return GlobalState(7, 1000, zeros, zeros)


def roster(**tokens: int) -> Roster:
    """Of three parts: of 1, 2 and 1 units."""
    claimed = tokens or {"anna": 100, "bert": 300, "cora": 0}
    pledges = {name: Pledge(count, SLOW) for name, count in claimed.items()}
    return form_roster(ATTEMPT, base(), "anna", pledges, "int8")


def part(
    included: tuple[int, ...], digest: bytes = ONE, holders: tuple[int, ...] = (0,)
) -> ManifestPart:
    return ManifestPart(False, digest, included, holders)


def manifest() -> Manifest:
    return Manifest(
        roster(),
        (part((0, 1), holders=(0, 1, 2)), part((0,), OTHER, (1,)), VOID),
        tokens=1400,
        state_digest=DIGEST,
        left_out=(LeftOut(1, "late", 1),),
    )


def report(*parts: PartReport, left_out: Sequence[LeftOut] = ()) -> Report:
    return Report(parts, tuple(left_out))


def said(index: int, digest: bytes, included: tuple[int, ...] = (0, 1)) -> PartReport:
    return PartReport(index, digest, included)


# ---- what a member reports -------------------------------------------------------------------


def test_a_report_comes_back_from_its_message() -> None:
    first = HeldPart((0, 1), (), b"a")
    last = HeldPart((1,), (LeftOut(0, "late", 2),), b"b")
    told = report_of({2: last, 0: first})
    expected = [PartReport(0, first.digest, (0, 1)), PartReport(2, last.digest, (1,))]
    assert told == report(*expected, left_out=last.left_out)
    data = report_message(told).SerializeToString()
    assert parse_report(swarm_pb2.ExchangeReport.FromString(data), roster()) == told


def test_a_member_that_holds_nothing_says_so() -> None:
    assert report_of({}) == report()
    assert parse_report(report_message(report()), roster()) == report()


def test_a_report_has_for_each_member_left_out_the_first_part() -> None:
    parts = {
        1: HeldPart((), (LeftOut(2, "hung up", 1), LeftOut(0, "late", 1)), b""),
        0: HeldPart((), (LeftOut(0, "later", 0),), b""),
        2: HeldPart((), (LeftOut(0, "latest", 2), LeftOut(1, "refused", 2)), b""),
    }
    expected = (LeftOut(0, "later", 0), LeftOut(1, "refused", 2), LeftOut(2, "hung up", 1))
    assert report_of(parts).left_out == expected
    assert first_left_out([]) == ()


def held(index: int, digest: bytes = ONE, included: Sequence[int] = (0,)) -> swarm_pb2.PartHeld:
    return swarm_pb2.PartHeld(part=index, digest=digest, included=included)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([held(0), held(1), held(2), held(2)], "more parts than the roster has"),
        ([held(3)], "an unknown part"),
        ([held(2**32 - 1)], "an unknown part"),
        ([held(0, b"short")], "a bad digest"),
        ([held(0, b"")], "a bad digest"),
        ([held(0, included=[1, 1])], "members are not sorted and distinct"),
        ([held(0, included=[3])], "a member that is not in the roster"),
        ([held(0, included=[0, 2])], "a member without tokens is in a mean"),
        ([held(1), held(1)], "a part twice, or out of order"),
        ([held(1), held(0)], "a part twice, or out of order"),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused_by_name(
    parts: list[swarm_pb2.PartHeld], problem: str
) -> None:
    with pytest.raises(Malformed, match=problem):
        parse_report(swarm_pb2.ExchangeReport(parts=parts), roster())


def test_a_report_on_strangers_is_refused() -> None:
    stranger = swarm_pb2.ExchangeReport(left_out=[swarm_pb2.LeftOut(member=3)])
    with pytest.raises(Malformed, match="an unknown member is left out"):
        parse_report(stranger, roster())


# ---- what a leader makes of reports ----------------------------------------------------------


def test_a_part_that_nobody_holds_is_void() -> None:
    reports = {0: report(said(0, ONE)), 1: report(said(0, ONE)), 2: report()}
    assert compile_parts(roster(), reports) == (part((0, 1), holders=(0, 1)), VOID, VOID)
    assert compile_parts(roster(), {}) == (VOID, VOID, VOID)


def test_of_an_owners_two_stories_the_one_that_most_members_heard_counts() -> None:
    reports = {0: report(said(0, OTHER)), 1: report(said(0, ONE)), 2: report(said(0, ONE))}
    assert compile_parts(roster(), reports)[0] == part((0, 1), holders=(1, 2))


def test_a_tie_of_stories_is_broken_the_same_way_whatever_the_order() -> None:
    one = compile_parts(roster(), {0: report(said(0, ONE)), 1: report(said(0, OTHER))})
    two = compile_parts(roster(), {1: report(said(0, OTHER)), 0: report(said(0, ONE))})
    assert one == two
    assert len(one[0].holders) == 1


def test_a_member_that_lies_about_who_is_in_the_mean_does_not_speak_for_the_others() -> None:
    reports = {
        0: report(said(0, ONE, (0,))),
        1: report(said(0, ONE, (0, 1))),
        2: report(said(0, ONE, (0, 1))),
    }
    assert compile_parts(roster(), reports)[0] == part((0, 1), holders=(1, 2))


def test_reasons_are_those_of_parts_that_are_agreed_on() -> None:
    parts = (part((0,)), VOID, part((0, 1)))
    reports = {
        2: report(left_out=[LeftOut(1, "late", 0)]),
        1: report(left_out=[LeftOut(0, "void anyway", 1)]),
        0: report(left_out=[LeftOut(1, "is in this one", 2)]),
    }
    assert left_out_of(roster(), parts, reports) == (LeftOut(1, "late", 0),)


def test_the_reason_of_the_first_part_counts_whoever_tells_it() -> None:
    parts = (part((0,)), part((0,)), part((0,)))
    reports = {
        0: report(left_out=[LeftOut(1, "late", 1)]),
        2: report(left_out=[LeftOut(1, "hung up", 0)]),
    }
    expected = (LeftOut(1, "hung up", 0),)
    assert left_out_of(roster(), parts, reports) == expected
    assert left_out_of(roster(), parts, dict(reversed(reports.items()))) == expected


stories = st.builds(
    said,
    st.just(0),
    st.sampled_from([ONE, OTHER]),
    st.sampled_from([(0,), (1,), (0, 1)]),
)


@given(st.lists(stories, min_size=3, max_size=3), st.permutations(range(3)))
def test_whoever_reports_first_the_leader_compiles_the_same(
    told: list[PartReport], order: list[int]
) -> None:
    reports = {member: report(told[member]) for member in range(3)}
    parts = compile_parts(roster(), reports)
    assert compile_parts(roster(), {member: reports[member] for member in order}) == parts
    holders = parts[0].holders
    assert holders
    for member in range(3):
        agrees = (told[member].digest, told[member].included) == (
            parts[0].digest,
            parts[0].included,
        )
        assert (member in holders) == agrees


# ---- what is agreed on -----------------------------------------------------------------------


def test_a_manifest_comes_back_from_its_message() -> None:
    data = manifest_message(manifest(), SPEC).SerializeToString()
    assert parse_manifest(swarm_pb2.Manifest.FromString(data), SPEC, PARAMETERS) == manifest()


def void_all(message: swarm_pb2.Manifest) -> None:
    for it in message.parts:
        it.void = True


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda it: setattr(it.roster.members[1], "weight", 1e30), "the weights do not follow"),
        (lambda it: setattr(it.roster.members[1], "units", 3), "the owners' units are not"),
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
        (lambda it: it.parts[1].included.append(2), "a member without tokens is in a mean"),
        (lambda it: setattr(it.left_out[0], "member", 3), "an unknown member"),
        (lambda it: setattr(it.left_out[0], "part", 3), "left out of an unknown part"),
        (lambda it: it.left_out.add(member=1, part=0), "a member left out twice"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_by_name(
    change: Callable[[swarm_pb2.Manifest], object], problem: str
) -> None:
    message = manifest_message(manifest(), SPEC)
    change(message)
    with pytest.raises(Malformed, match=problem):
        parse_manifest(message, SPEC, PARAMETERS)


def test_a_void_part_brings_nothing_along() -> None:
    message = manifest_message(manifest(), SPEC)
    message.parts[0].void = True
    assert parse_manifest(message, SPEC, PARAMETERS).parts[0] == VOID


def test_what_a_leader_compiles_its_members_can_read() -> None:
    story = [said(0, ONE), said(1, OTHER), said(2, ONE)]
    reports = {
        0: report(*story),
        1: report(story[0], left_out=[LeftOut(2, "x" * MAX_LEFT_OUT_REASON, 0)]),
        2: report(*story[1:]),
    }
    parts = compile_parts(roster(), reports)
    told = Manifest(roster(), parts, 400, DIGEST, left_out_of(roster(), parts, reports))
    assert parse_manifest(manifest_message(told, SPEC), SPEC, PARAMETERS) == told


def far(count: int) -> tuple[int, ...]:
    """So many chunks, as far from each other as they may be."""
    return tuple(range(0, MAX_CHUNK, MAX_CHUNK // count))[:count]


def test_the_largest_manifest_and_report_fit_their_streams() -> None:
    names = [f"{index:0100}" for index in range(MAX_MEMBERS)]
    units = [4000] * MAX_MEMBERS
    everybody = tuple(range(MAX_MEMBERS))
    crowd = replace(
        roster(),
        members=tuple(names),
        leader=names[0],
        tokens=(2**40,) * MAX_MEMBERS,
        weights=(2.0**40,) * MAX_MEMBERS,
        units=tuple(units),
        parameters=sum(units) * UNIT,
        chunks=(Chunks(far(MAX_DONE), far(MAX_AHEAD)),) * MAX_MEMBERS,
    )
    count = len(split(crowd.parameters, units))
    left_out = tuple(LeftOut(it, "x" * MAX_LEFT_OUT_REASON, count - 1) for it in everybody)
    parts = (part(everybody, holders=everybody),) * count
    told = Manifest(crowd, parts, 2**61, DIGEST, left_out)
    message = manifest_message(told, SPEC)
    assert parse_manifest(message, SPEC, crowd.parameters) == told
    assert swarm_pb2.Decision(manifest=message).ByteSize() < AGREEMENT.max_bytes - 1000
    story = report(*(said(it, ONE, everybody) for it in range(count)), left_out=left_out)
    assert report_message(story).ByteSize() < ROSTER.max_bytes
    assert parse_report(report_message(story), crowd) == story


# ---- whose work counts -----------------------------------------------------------------------


def test_the_test_rosters_parts_are_what_they_are_said_to_be() -> None:
    assert [it.values // UNIT for it in roster().parts] == [1, 2, 1]


def test_work_counts_as_merged_from_half_the_values_on() -> None:
    both, without_bert = part((0, 1)), part((0,))
    assert merged_members(roster(), (both, both, both)) == {0, 1}
    assert merged_members(roster(), (without_bert, both, without_bert)) == {0, 1}
    assert merged_members(roster(), (both, without_bert, without_bert)) == {0}
    assert merged_members(roster(), (both, without_bert, both)) == {0, 1}
    assert merged_tokens(roster(), (both, both, both)) == 400
    assert merged_tokens(roster(), (both, without_bert, without_bert)) == 100


def test_void_parts_merge_nobodys_work() -> None:
    both = part((0, 1))
    assert merged_members(roster(), (VOID, both, VOID)) == {0, 1}
    assert merged_members(roster(), (both, VOID, VOID)) == set()
    assert merged_tokens(roster(), (VOID, VOID, both)) == 0
    void_with_names = ManifestPart(True, ONE, (0, 1), (0,))
    assert merged_members(roster(), (VOID, void_with_names, VOID)) == set()


def test_a_member_is_told_why_its_work_is_not_in_the_round() -> None:
    told = manifest()
    assert left_out_reason(told, 1) == "in 1 of 3 parts; part 1: late"
    assert left_out_reason(told, 0) == "in 2 of 3 parts; part 2: void, its owner was lost"
    whole = replace(told, parts=told.parts[:1] * 3, left_out=())
    assert left_out_reason(whole, 0) == ""
    assert left_out_reason(whole, 2) == NO_WORK, "who has only listened misses nothing"
    silent = replace(told, parts=(told.parts[1],) * 3, left_out=())
    assert left_out_reason(silent, 1) == "left out: its owner does not say why"
    refused = replace(silent, left_out=(LeftOut(1, "refused: not finite (parameter 7)", 0),))
    assert left_out_reason(refused, 1) == "refused: not finite (parameter 7)"


def test_of_several_words_on_one_part_its_owners_counts() -> None:
    """It may have heard of a late member after it had answered."""
    parts = (part((0,)), part((0,)), part((0,)))
    owner = roster().parts[1].owner
    other = next(it for it in range(3) if it != owner)
    reports = {
        owner: report(left_out=[LeftOut(1, "arrived 3.2 s late", 1)]),
        other: report(left_out=[LeftOut(1, "did not arrive within 6.0 s", 1)]),
    }
    assert left_out_of(roster(), parts, reports) == (LeftOut(1, "arrived 3.2 s late", 1),)
