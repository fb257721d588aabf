"""A split swarm is told from one with stragglers, and from one that has just come back."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from peer.halves import front, halves, head, is_behind, is_taken_in, yielding
from peer.membership import PeerFacts, Position


def at(round_: int, line: str = "a") -> Position:
    """A state of one line of history."""
    return Position(round_, f"{line}{round_}".encode().ljust(32))


def facts(name: str, round_: int, line: str = "a", split: int = 0, recent: int = 4) -> PeerFacts:
    """A peer whose history left that of line `a` after round `split`."""
    older = range(round_ - 1, max(-1, round_ - 1 - recent), -1)
    digests = tuple(at(it, line if it > split else "a").digest for it in older)
    position = at(round_, line if round_ > split else "a")
    return PeerFacts(name, position, "training", 0, 0.0, 0.0, recent=digests)


def names(half: tuple[PeerFacts, ...]) -> set[str]:
    return {peer.peer_id for peer in half}


def test_peers_in_the_middle_of_a_round_are_one_half() -> None:
    peers = [facts("ann", 10), facts("bob", 11), facts("cy", 9)]
    assert [names(half) for half in halves(peers)] == [{"ann", "bob", "cy"}]


def test_kinship_goes_through_others() -> None:
    peers = [facts("ann", 10), facts("bob", 13), facts("cy", 16)]
    for order in permutations(peers):
        assert len(halves(order)) == 1


def test_a_split_is_two_halves_and_a_newcomer_is_in_none() -> None:
    left = [facts(name, 20, "l", split=10) for name in ("ann", "bob")]
    right = [facts(name, 19, "r", split=10) for name in ("cy", "dee", "eve")]
    newcomer = replace(facts("new", 0), position=None)
    found = halves([*left, newcomer, *right])
    assert sorted(map(len, found)) == [2, 3]


def test_the_larger_half_leads_even_when_its_peers_stand_at_two_rounds() -> None:
    left = [facts("ann", 20, "l", 10), facts("bob", 21, "l", 10), facts("cy", 21, "l", 10)]
    right = [facts("dee", 30, "r", 10), facts("eve", 30, "r", 10)]
    assert head([*left, *right]) == at(21, "l")
    assert head(left[1:] + right, left[0]) == at(21, "l")


def test_of_equal_halves_everybody_names_the_same() -> None:
    left = [facts(name, 21, "l", 10) for name in ("ann", "bob")]
    right = [facts(name, 21, "r", 10) for name in ("cy", "dee")]
    heads = set()
    for order in permutations([*left, *right]):
        heads.add(head(order[1:], order[0]))
    assert heads == {at(21, "l")}, "the smaller digest"


def test_those_that_go_on_outvote_those_that_come_back_with_older_states() -> None:
    going = [facts(name, 50) for name in ("ann", "bob")]
    back = [replace(facts(name, 20), resumed=True) for name in ("cy", "dee", "eve")]
    assert head([*going, *back]) == at(50)


def test_after_everybody_was_gone_the_newest_round_that_anybody_kept_counts() -> None:
    back = [replace(facts(name, 50), resumed=True) for name in ("ann", "bob", "cy")]
    newest = replace(facts("dee", 53), resumed=True)
    assert front((*back, newest)) == at(53)
    assert head([*back, newest]) == at(53)


def test_a_lone_claim_of_a_far_round_stops_nobody_that_goes_on() -> None:
    honest = [facts(name, 50) for name in ("ann", "bob", "cy")]
    liar = replace(facts("eve", 10**9, recent=0), recent=(at(50).digest,))
    assert head([*honest, liar]) == at(50)


def test_behind_and_ahead_follow_from_the_history_as_far_as_it_is_known() -> None:
    ancestors = facts("own", 10).recent
    assert is_behind(at(10), at(11), ancestors)
    assert is_behind(at(10), at(10, "b"), ancestors)
    assert is_behind(at(10), at(9, "b"), ancestors), "another history, though an earlier round"
    assert not is_behind(at(10), at(9), ancestors)
    assert not is_behind(at(10), at(10), ancestors)
    assert not is_behind(at(10), at(2, "b"), ancestors), "too long ago to tell"
    assert not is_behind(at(10), at(9, "b"))


def test_what_most_of_the_waiting_hold_is_taken_in_unless_it_is_already() -> None:
    ancestors = facts("own", 12).recent
    waiting = [replace(facts(name, 15, "r", 10), yields=True) for name in ("cy", "dee")]
    late = replace(facts("eve", 14, "r", 10), yields=True)
    assert yielding([*waiting, late, facts("ann", 12)], ancestors) == at(15, "r")
    assert yielding([facts("ann", 12), facts("bob", 11)], ancestors) is None
    assert yielding(waiting, (*ancestors, at(15, "r").digest)) is None


def test_a_half_is_taken_in_when_those_at_the_head_say_so() -> None:
    merged = replace(facts("ann", 20), recent=(at(19).digest, at(15, "r").digest))
    assert is_taken_in([merged], at(15, "r"), at(20))
    assert not is_taken_in([merged], at(15, "x"), at(20))
    assert not is_taken_in([merged], at(15, "r"), at(21)), "it holds another state"


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), max_size=8), st.randoms())
def test_everybody_sees_the_same_halves(rows: list[tuple[int, str]], random: object) -> None:
    peers = [facts(str(index), round_, line, 5) for index, (round_, line) in enumerate(rows)]
    found = {frozenset(names(half)) for half in halves(peers)}
    assert found == {frozenset(names(half)) for half in halves(peers[::-1])}
    assert sum(map(len, found)) == len(peers)
