"""Whom the coordinator asks for a round's manifest: few, not twice, and the next one if need be."""

from __future__ import annotations

from coordinator.reports.asking import (
    A_REPLY,
    MOST_TELLERS,
    OPEN_ATTEMPTS,
    OPENED_BY_ONE,
    PATIENCE,
    TELLERS,
    Asking,
)

ONE = b"one"


def heard_by(*peers: str) -> Asking:
    """Round 1 was reported by these, in order."""
    asking = Asking()
    for peer in peers:
        asking.heard(peer, 1, ONE)
    return asking


def test_the_first_two_that_report_a_round_are_asked_and_no_more() -> None:
    asking = heard_by("anna", "bert", "cleo")
    asked = [asking.wanted(peer, 0.0) for peer in ("anna", "bert", "cleo", "anna")]
    assert asked == [(ONE,), (ONE,), (), ()]


def test_once_two_have_told_the_same_nobody_is_asked_again() -> None:
    asking = heard_by("anna", "bert", "cleo")
    for peer in ("anna", "bert"):
        asking.wanted(peer, 0.0)
        asking.told(peer, 1, ONE, different=1)
    asking.heard("dora", 1, ONE)
    assert [asking.wanted(peer, 99.0) for peer in ("cleo", "dora")] == [(), ()]


def test_who_does_not_tell_in_time_is_followed_by_the_next() -> None:
    asking = heard_by("anna", "bert", "cleo")
    asking.wanted("anna", 0.0)
    asking.wanted("bert", 0.0)
    assert asking.wanted("cleo", PATIENCE - 1) == ()
    assert asking.wanted("cleo", PATIENCE) == (ONE,)
    assert asking.expects("anna", 1, ONE), "late is better than never"


def test_different_stories_are_settled_by_more_peers() -> None:
    peers = [f"peer {number}" for number in range(2 * MOST_TELLERS)]
    asking = heard_by(*peers)
    asked = []
    for peer in peers:
        if asking.wanted(peer, 0.0):
            asked.append(peer)
            asking.told(peer, 1, ONE, different=2)
    assert asked == peers[:MOST_TELLERS]
    assert MOST_TELLERS > TELLERS


def test_only_what_was_asked_for_is_expected_and_once() -> None:
    asking = heard_by("anna", "bert")
    assert not asking.expects("anna", 1, ONE), "nobody has asked yet"
    asking.wanted("anna", 0.0)
    assert asking.expects("anna", 1, ONE)
    assert not asking.expects("anna", 2, ONE), "of another round"
    assert not asking.expects("bert", 1, ONE)
    asking.told("anna", 1, ONE, different=1)
    assert not asking.expects("anna", 1, ONE)


def test_after_an_outage_the_newest_rounds_are_asked_for_a_few_at_a_time() -> None:
    """A peer keeps the manifests of so many rounds; of older ones its own word must do."""
    asking = Asking()
    rounds = list(range(1, 201))
    for number in rounds:
        asking.heard("anna", number, f"attempt {number}".encode())
    asked: list[bytes] = []
    while wanted := asking.wanted("anna", 0.0):
        assert len(wanted) <= A_REPLY
        asked += wanted
    newest = rounds[: -OPENED_BY_ONE - 1 : -1]
    assert asked == [f"attempt {number}".encode() for number in newest]


def test_who_makes_up_rounds_without_end_crowds_nobody_out() -> None:
    asking = heard_by("anna")
    for number in range(2 * OPENED_BY_ONE):
        asking.heard("liar", 10**6 + number, f"made up {number}".encode())
    assert asking.wanted("anna", 0.0) == (ONE,)


def test_memory_is_bounded_however_many_peers_make_up_rounds() -> None:
    asking = Asking()
    for number in range(OPEN_ATTEMPTS + 10):
        asking.heard(f"liar {number}", number, b"made up")
    assert asking.wanted("liar 0", 0.0) == ()
    assert asking.wanted("liar 10", 0.0) == (b"made up",)
