"""Headers prove where a state comes from, and tell a fork from a peer that is behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging import lineage
from peer.averaging.lineage import Header, Lineage, header_message, parse_header
from peer.averaging.malformed import Malformed
from swarmpb.v1 import swarm_pb2

COVERAGE, BLOCKS = b"c" * 32, b"b" * 32


def child(*parents: Header, salt: int = 0) -> Header:
    """A state made from these; none: a first one."""
    round_ = 1 + max((it.round for it in parents), default=-1)
    digests = tuple(it.digest for it in parents)
    return Header(round_, 100 * round_ + salt, 5, digests, COVERAGE, BLOCKS)


def chain(first: Header, rounds: int, salt: int = 0) -> list[Header]:
    """`first` and what came after it, oldest first."""
    found = [first]
    for _ in range(rounds):
        found.append(child(found[-1], salt=salt))
    return found


def test_a_history_that_others_tell_never_drives_out_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lineage, "KEPT_HEADERS", 10)
    own = chain(child(), 12)
    known = Lineage()
    for header in own:
        known.arrive(header)
    for salt in range(1, 8):
        told = chain(replace(child(salt=salt), round=10**9), 9)
        known.add_told(told[-1].digest, told)
    assert known.newest_first(own[-1].digest, 10) == own[:-11:-1]
    assert known.descends(own[-1].digest, own[-9].digest)


def test_a_made_up_history_cannot_leap_ahead() -> None:
    """A round far ahead, merged, would be nobody's round any more: it is out of all bounds."""
    own = chain(child(), 5)
    known = Lineage(own)
    leap = replace(child(own[2], salt=1), round=2**40)
    two = replace(child(own[2], child(salt=2)), round=2**40)
    for made_up in (leap, two):
        known.add_told(made_up.digest, [made_up, *own])
        assert known.common(made_up.digest, own[-1].digest) is None
    fork = child(own[2], salt=1)
    known.add_told(fork.digest, [fork])
    assert known.common(fork.digest, own[-1].digest) == own[2]


def test_a_half_that_was_taken_in_long_ago_still_finds_its_state_among_the_recent() -> None:
    first = child()
    trunk, branch = chain(first, 40), chain(first, 20, salt=1)
    merged = child(trunk[-1], branch[-1])
    later = chain(merged, 5)
    known = Lineage([*trunk, *branch, *later])
    assert branch[-1].digest in known.recent(later[-1].digest, 16)
    assert later[-2].digest == known.recent(later[-1].digest, 16)[0]


def test_a_header_survives_the_trip() -> None:
    first = child()
    for header in (first, child(first), child(child(first), child(first, salt=1))):
        message = swarm_pb2.StateHeader.FromString(header_message(header).SerializeToString())
        assert parse_header(message) == header


@pytest.mark.parametrize(
    ("break_it", "rule"),
    [
        (lambda it: it.parents.extend([BLOCKS] * 3), "3 parents"),
        (lambda it: it.parents.append(b"short"), "32 bytes"),
        (lambda it: setattr(it, "blocks_digest", b""), "32 bytes"),
        (lambda it: setattr(it, "coverage_digest", b"x" * 33), "32 bytes"),
        (lambda it: setattr(it, "round", 2**63), "too large"),
        (lambda it: setattr(it, "tokens", 2**64 - 1), "too large"),
    ],
)
def test_a_malformed_header_is_refused(
    break_it: Callable[[swarm_pb2.StateHeader], None], rule: str
) -> None:
    message = header_message(child())
    break_it(message)
    with pytest.raises(Malformed, match=rule):
        parse_header(message)


@given(st.sampled_from(["round", "tokens", "parameters", "parents", "coverage_digest"]))
def test_whatever_is_changed_in_a_header_changes_its_digest(name: str) -> None:
    header = child(child())
    value = getattr(header, name)
    other: Any = value + 1 if isinstance(value, int) else BLOCKS if name != "parents" else ()
    assert replace(header, **{name: other}).digest != header.digest


def test_a_peer_that_is_behind_is_told_from_a_fork() -> None:
    trunk = chain(child(), 10)
    fork = chain(trunk[6], 3, salt=1)
    known = Lineage([*trunk, *fork])
    assert known.descends(trunk[-1].digest, trunk[2].digest)
    assert known.descends(trunk[-1].digest, trunk[-1].digest)
    assert not known.descends(trunk[2].digest, trunk[-1].digest)
    assert not known.descends(trunk[-1].digest, fork[-1].digest)
    assert known.common(trunk[-1].digest, fork[-1].digest) == trunk[6]
    assert known.common(trunk[-1].digest, trunk[3].digest) == trunk[3]


def test_a_merged_state_descends_from_both_halves() -> None:
    trunk = chain(child(), 5)
    fork = chain(trunk[2], 2, salt=1)
    merged = child(trunk[-1], fork[-1])
    known = Lineage([*trunk, *fork, merged])
    assert known.descends(merged.digest, trunk[-1].digest)
    assert known.descends(merged.digest, fork[-1].digest)
    after = child(fork[-1], salt=2)
    known.add(after)
    assert known.common(merged.digest, after.digest) == fork[-1], "what was merged is not twice"


def test_strangers_have_nothing_in_common() -> None:
    one, other = chain(child(), 3), chain(child(salt=7), 3)
    assert Lineage([*one, *other]).common(one[-1].digest, other[-1].digest) is None


def test_what_does_not_follow_from_a_trusted_digest_is_not_believed() -> None:
    trunk = chain(child(), 6)
    made_up = chain(child(salt=3), 4)
    known = Lineage()
    known.add_told(trunk[-1].digest, [*reversed(trunk[2:]), *made_up, trunk[0]])
    assert known.get(trunk[2].digest) == trunk[2]
    assert known.get(trunk[0].digest) is None, "there is a gap before it"
    assert all(known.get(it.digest) is None for it in made_up)
    assert known.descends(trunk[-1].digest, trunk[1].digest), "its child names it"


def test_a_list_of_headers_is_newest_first_and_as_long_as_wanted() -> None:
    trunk = chain(child(), 9)
    known = Lineage(trunk)
    assert known.newest_first(trunk[-1].digest) == trunk[::-1]
    assert known.newest_first(trunk[5].digest, most=2) == [trunk[5], trunk[4]]
    assert known.newest_first(b"unknown") == []


def test_only_the_newest_headers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "KEPT_HEADERS", 10)
    trunk = chain(child(), 100)
    known = Lineage(trunk)
    assert 10 <= len(known.newest_first(trunk[-1].digest)) <= 20
    assert known.descends(trunk[-1].digest, trunk[-9].digest)
