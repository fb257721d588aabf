"""Whom a peer asks for newer orders, and how long it leaves a liar alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer.orders import (
    FIRST_PAUSE,
    LIARS_PAUSE,
    LONGEST_PAUSE,
    MOST_REMEMBERED,
    NO_RANK,
    Rumours,
)

OWN = (1, 5)


def test_nobody_is_asked_who_names_nothing_newer() -> None:
    named = {"anna": OWN, "bert": (1, 4), "cleo": (0, 99), "dora": NO_RANK}
    assert Rumours().whom_to_ask(named, OWN, 0.0, 0.5) is None


def test_each_that_names_newer_orders_has_the_same_chance() -> None:
    """A liar that names the highest number is asked no sooner than the others."""
    named = {"anna": (1, 6), "bert": (2, 0), "cleo": OWN, "liar": (2**64 - 1, 2**64 - 1)}
    asked = [Rumours().whom_to_ask(named, OWN, 0.0, chance) for chance in (0.0, 0.4, 0.99)]
    assert asked == ["anna", "bert", "liar"]


def test_who_did_not_deliver_is_left_alone_and_the_next_time_for_longer() -> None:
    rumours, named = Rumours(), {"anna": (1, 6)}
    rumours.failed("anna", 100.0)
    assert rumours.whom_to_ask(named, OWN, 100.0 + FIRST_PAUSE - 0.1, 0.0) is None
    now = 100.0 + FIRST_PAUSE
    assert rumours.whom_to_ask(named, OWN, now, 0.0) == "anna"
    rumours.failed("anna", now)
    assert rumours.whom_to_ask(named, OWN, now + FIRST_PAUSE, 0.0) is None
    assert rumours.whom_to_ask(named, OWN, now + 2 * FIRST_PAUSE, 0.0) == "anna"


def test_one_liar_does_not_keep_a_peer_from_the_others() -> None:
    rumours, named = Rumours(), {"anna": (1, 6), "liar": (9, 9)}
    rumours.failed("liar", 0.0, lied=True)
    for chance in (0.0, 0.5, 0.99):
        assert rumours.whom_to_ask(named, OWN, LIARS_PAUSE - 1, chance) == "anna"


def test_who_delivers_is_forgiven() -> None:
    rumours, named = Rumours(), {"anna": (1, 6)}
    rumours.failed("anna", 0.0, lied=True)
    rumours.delivered("anna")
    assert rumours.whom_to_ask(named, OWN, 0.0, 0.0) == "anna"


@given(st.lists(st.booleans(), max_size=30))
def test_no_pause_is_longer_than_the_longest(lies: list[bool]) -> None:
    rumours = Rumours()
    for lied in lies:
        rumours.failed("anna", 0.0, lied)
    assert rumours.whom_to_ask({"anna": (1, 6)}, OWN, LONGEST_PAUSE, 0.0) == "anna"


def test_liars_without_number_take_no_memory_without_bound() -> None:
    rumours = Rumours()
    for number in range(2 * MOST_REMEMBERED):
        rumours.failed(f"liar {number}", 0.0, lied=True)
    assert len(rumours._pauses) == MOST_REMEMBERED
