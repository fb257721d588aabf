"""Whom a peer dials that it misses, and when it gives its network up."""

from __future__ import annotations

from itertools import pairwise

from peer.acquaintances import (
    CUT_OFF_SECONDS,
    FORGET_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Acquaintances,
)

COORDINATOR = "/ip4/10.0.0.9/tcp/1/p2p/coordinator"
ANNA = {"anna": "/ip4/10.0.0.1/tcp/1/p2p/anna"}
BERT = {"bert": "/ip4/10.0.0.2/tcp/1/p2p/bert"}


def begun(*initial: str) -> Acquaintances:
    acquaintances = Acquaintances(initial)
    acquaintances.begin("own", 0)
    return acquaintances


def test_those_in_view_are_not_dialled_and_those_that_vanish_are_at_once() -> None:
    known = begun(COORDINATOR)
    known.see(ANNA | BERT, 0)
    assert known.due(0) == (COORDINATOR,)
    known.see(ANNA, 100)
    assert known.due(100) == (COORDINATOR, BERT["bert"])


def test_pauses_grow_to_a_bound_and_end_when_somebody_else_is_missed() -> None:
    known = begun()
    known.see(ANNA | BERT, 0)
    known.see(ANNA, 1)
    times = [now for now in range(1, 200) if known.due(now)]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[:3] == [2, 4, 8]
    assert set(pauses[3:]) == {LONGEST_PAUSE_SECONDS}
    known.see({}, 200)
    assert len(known.due(200)) == 2


def test_a_network_where_nobody_answers_any_more_is_given_up() -> None:
    known = begun(COORDINATOR)
    known.see(ANNA, 10)
    known.see({}, 20)
    assert not known.cut_off(10 + CUT_OFF_SECONDS)
    assert known.cut_off(11 + CUT_OFF_SECONDS)
    known.answered(1, 11 + CUT_OFF_SECONDS)
    assert not known.cut_off(12 + CUT_OFF_SECONDS)
    known.begin("own", 1000)
    assert not known.cut_off(1000)
    assert not known.in_touch


def test_who_knows_nobody_waits_to_be_found() -> None:
    known = begun("/ip4/10.0.0.3/tcp/1/p2p/own")
    assert known.due(1000) == ()
    assert not known.cut_off(1000)


def test_who_has_been_away_for_an_hour_is_forgotten_but_not_the_first_address() -> None:
    known = begun(COORDINATOR)
    known.see(ANNA, 0)
    known.see(BERT, FORGET_SECONDS + 1)
    assert known.due(FORGET_SECONDS + 1) == (COORDINATOR,)


def test_no_more_than_a_bounded_number_is_kept_the_newest() -> None:
    known = begun()
    crowd = {f"peer{number}": f"/ip4/10.0.0.1/tcp/1/p2p/peer{number}" for number in range(100)}
    known.see(crowd, 0)
    known.see({}, 1)
    assert len(known.due(1)) == 32
    assert known.due(3)[-1] == crowd["peer99"]
