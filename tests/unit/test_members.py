"""Who may take part, by the newest orders: what a peer's gate says to whom."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from peer import members as module
from peer.members import Members
from peer.orders import NO_RANK, Course
from peer.swarm.interface import Barred
from swarmpb.membership import RunState
from swarmpb.signing import BadSignatureError, PeerIdentity
from tests.standing import HOUR, NOON, Throne

ANNA, BERT, CLEO = (PeerIdentity.generate().peer_id for _ in range(3))


class Place:
    """Anna's view of who may take part; `now` passes only when the test says so."""

    def __init__(self) -> None:
        self.now = NOON
        self.throne = Throne()
        self.members = Members(self.throne.run, ANNA, lambda: self.now)

    def refuses(self, peer_id: str, shown: bytes | None) -> str:
        """Why; fails if it does not."""
        with pytest.raises(Barred) as barred:
            self.members.check(peer_id, shown)
        return str(barred.value)


@pytest.fixture
def place() -> Place:
    return Place()


def invited(place: Place, banned: tuple[str, ...] = ()) -> None:
    place.members.take(place.throne.orders(invite_only=True, banned=banned))


# ---- orders ------------------------------------------------------------------------------


def test_a_run_without_orders_is_open_to_everybody(place: Place) -> None:
    place.members.check(BERT, b"")
    place.members.check(BERT, None)
    assert (place.members.rank, place.members.course) == (NO_RANK, Course())


def test_the_highest_orders_hold_in_whatever_order_they_come(place: Place) -> None:
    first, second, third = (place.throne.orders(reason=name) for name in "abc")
    told = []
    place.members.on_change.append(lambda: told.append(place.members.rank))
    taken = [place.members.take(it) for it in (second, first, second, third)]
    assert taken == [True, False, False, True]
    assert told == [(1, 2), (1, 3)]


def test_the_word_of_a_new_authority_holds_although_it_begins_to_count_anew(place: Place) -> None:
    place.members.take(place.throne.orders(sequence=1000, banned=(BERT,)))
    place.throne.is_succeeded()
    assert place.members.take(place.throne.orders(sequence=1))
    place.members.check(BERT, b"")


def test_false_orders_change_nothing(place: Place) -> None:
    place.members.take(place.throne.orders(banned=(BERT,)))
    forged = Throne().orders(sequence=99)
    with pytest.raises(BadSignatureError):
        place.members.take(forged)
    assert place.members.bans(BERT)


@pytest.mark.parametrize(
    ("state", "course"),
    [
        (RunState.OPEN, Course()),
        (RunState.FINISHING, Course()),
        (RunState.PAUSED, Course(paused="paused by the run's owner: a holiday")),
        (RunState.DRAFT, Course(paused="the run's owner has not opened it yet: a holiday")),
        (RunState.FINISHED, Course(finished="the run is finished: a holiday")),
    ],
)
def test_what_orders_want_of_this_peer(place: Place, state: RunState, course: Course) -> None:
    place.members.take(place.throne.orders(state, reason="a\n holiday"))
    assert place.members.course == course


def test_an_owner_who_writes_for_the_terminal_is_read_as_text(place: Place) -> None:
    place.members.take(place.throne.orders(RunState.PAUSED, reason="\x1b[2Jgone"))
    assert place.members.course.paused == "paused by the run's owner: ?[2Jgone"


def test_this_peer_learns_of_its_own_ban(place: Place) -> None:
    place.members.take(place.throne.orders(banned=(BERT,)))
    assert not place.members.course.banned
    place.members.take(place.throne.orders(banned=(BERT, ANNA)))
    assert place.members.course.banned


# ---- the gate ----------------------------------------------------------------------------


def test_a_banned_peer_is_refused_whatever_it_shows_until_the_ban_is_lifted(place: Place) -> None:
    invited(place, banned=(BERT,))
    shown = place.throne.certificate(BERT)
    for credentials in (None, b"", shown):
        assert "is banned from run tiny" in place.refuses(BERT, credentials)
    place.members.check(CLEO, place.throne.certificate(CLEO))
    invited(place)
    place.members.check(BERT, shown)


def test_a_ban_counts_at_once_for_one_that_was_let_in_before(place: Place) -> None:
    invited(place)
    shown = place.throne.certificate(BERT)
    place.members.check(BERT, shown)
    invited(place, banned=(BERT,))
    place.refuses(BERT, shown)


def test_only_members_are_let_into_a_run_by_invitation(place: Place) -> None:
    invited(place)
    place.members.check(BERT, place.throne.certificate(BERT))
    assert "by invitation" in place.refuses(CLEO, b"")
    assert "another peer's" in place.refuses(CLEO, place.throne.certificate(BERT))
    assert "cannot be decoded" in place.refuses(CLEO, b"\xff")
    # before it could show anything, nothing is held against it
    place.members.check(CLEO, None)


def test_what_let_a_peer_in_ends_with_its_certificate(place: Place) -> None:
    invited(place)
    shown = place.throne.certificate(BERT)
    place.members.check(BERT, shown)
    place.now += 24 * HOUR
    place.members.check(BERT, shown)
    place.now += 1
    assert "has expired" in place.refuses(BERT, shown)
    renewed = place.throne.certificate(BERT, begin=place.now)
    place.members.check(BERT, renewed)


def test_a_certificate_of_the_authority_before_is_none(place: Place) -> None:
    invited(place)
    shown = place.throne.certificate(BERT)
    place.members.check(BERT, shown)
    place.throne.is_succeeded()
    invited(place)
    assert "not signed by who speaks for the run now" in place.refuses(BERT, shown)


def test_a_run_that_opens_asks_for_no_certificate_any_more(place: Place) -> None:
    invited(place)
    place.refuses(BERT, b"")
    place.members.take(place.throne.orders())
    place.members.check(BERT, b"")


def test_a_name_that_could_not_be_banned_is_not_let_in(place: Place) -> None:
    """A ban names the hash of a key: an id of another sort would slip through."""
    place.members.take(place.throne.orders())
    ed25519 = "12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi"
    for name in (ed25519, "bert", ""):
        assert "none that could be told" in place.refuses(name, b"")


def test_signatures_are_checked_once_not_for_each_stream(place: Place) -> None:
    invited(place)
    shown = place.throne.certificate(BERT)
    place.members.check(BERT, shown)
    with patch.object(module, "read_certificate", side_effect=AssertionError("checked again")):
        for _ in range(100):
            place.members.check(BERT, shown)
            place.members.check(BERT, None)
        with pytest.raises(AssertionError):
            place.members.check(BERT, shown + b"\x00")


def test_many_visitors_take_no_more_memory_than_some(place: Place) -> None:
    place.members.take(place.throne.orders())
    with patch.object(module, "_REMEMBERED", 2):
        for peer_id in (ANNA, BERT, CLEO):
            place.members.check(peer_id, b"")
            assert len(place.members._let_in) <= 2


def test_this_peers_own_certificate_holds_or_one_hears_why(place: Place) -> None:
    with pytest.raises(BadSignatureError, match="nobody speaks"):
        place.members.own_certificate()
    invited(place)
    with pytest.raises(BadSignatureError, match="by invitation"):
        place.members.own_certificate()
    place.members.certificate = place.throne.certificate(ANNA)
    assert place.members.own_certificate().peer_id == ANNA
    assert place.members.credentials() == place.members.certificate
