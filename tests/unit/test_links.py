"""Who owns how much, how long an exchange takes, how often rounds may be: by the peers' links."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.codec_names import codec_named
from peer.averaging.links import (
    EXCHANGE_SHARE,
    FAST_ENOUGH_SECONDS,
    FASTEST,
    REMEMBERED_EXCHANGES,
    SLOWEST,
    STAR_SECONDS,
    UNKNOWN,
    UNSEEN_RATE,
    Link,
    LinkMeter,
    exchange_seconds,
    link_message,
    owned_units,
    parse_link,
    shortest_round,
    star_centre,
    sustained_round,
)
from peer.averaging.parts import MAX_MEMBERS
from swarmpb.v1 import swarm_pb2
from tests.tiny import tiny_spec

MEGA = 1_000_000
B = 100 * MEGA
LARGE = 10**12
"""So many bytes that no link is fast enough."""


def link(rate: int) -> Link:
    return Link(rate, rate)


def owned(units: int, members: list[Link], encoded_bytes: int = LARGE) -> list[int]:
    return owned_units(units, encoded_bytes, members)


def outgoing(rate: int) -> Link:
    """A peer that cannot be dialled."""
    return Link(rate, rate, client_mode=True)


rates = st.just(0) | st.integers(SLOWEST, FASTEST)
links = st.builds(Link, rates, rates, st.booleans())
swarms = st.lists(links, min_size=1, max_size=MAX_MEMBERS)
known_swarms = st.lists(
    st.builds(link, st.integers(SLOWEST, FASTEST)), min_size=2, max_size=MAX_MEMBERS
)


# ---- shares --------------------------------------------------------------------------------


@given(st.integers(1, 100_000), st.integers(1, 10**12), swarms)
def test_every_unit_has_one_owner(units: int, size: int, members: list[Link]) -> None:
    found = owned_units(units, size, members)
    assert len(found) == len(members)
    assert sum(found) == units
    assert min(found) >= 0


@given(st.integers(1, 10_000), st.integers(1, MAX_MEMBERS), st.integers(SLOWEST, FASTEST))
def test_equal_links_own_equal_shares(units: int, members: int, rate: int) -> None:
    for alike in (link(rate), UNKNOWN, outgoing(rate)):
        shares = owned(units, [alike] * members)
        assert max(shares) - min(shares) <= 1


@given(st.integers(1, 100_000), known_swarms)
def test_a_faster_link_never_owns_less(units: int, members: list[Link]) -> None:
    shares = owned(units, members)
    by_rate = sorted(zip((it.both_ways for it in members), shares, strict=True))
    for (slower, less), (faster, more) in pairwise(by_rate):
        # whole units: at most one more or less than a member's share
        assert slower <= faster
        assert less <= more + 1


def test_shares_follow_from_making_all_finish_at_once() -> None:
    # T = (2 + 4) / (10 + 4 + 4 + 4); shares (T r - 1) / 2: 19/22 and 1/22
    members = [link(10 * MEGA), link(4 * MEGA), link(4 * MEGA), link(4 * MEGA)]
    assert owned(2200, members) == [1900, 100, 100, 100]


def test_links_that_differ_by_no_more_than_measuring_does_own_equally() -> None:
    members = [link(10 * MEGA), link(8 * MEGA), link(11 * MEGA), link(9 * MEGA)]
    assert owned(400, members) == [100] * 4


def test_a_slow_link_owns_nothing() -> None:
    members = [link(10 * MEGA), link(MEGA), link(10 * MEGA), link(10 * MEGA)]
    assert owned(3000, members) == [1000, 0, 1000, 1000]


def test_what_counts_is_the_direction_that_carries_less() -> None:
    lopsided = Link(upload=MEGA, download=50 * MEGA)
    assert lopsided.both_ways == MEGA
    members = [link(10 * MEGA), link(10 * MEGA), link(10 * MEGA), lopsided]
    assert owned(3000, members) == [1000, 1000, 1000, 0]
    assert Link(upload=0, download=5).both_ways == 5, "what is known stands for both"


def test_peers_in_client_mode_own_nothing() -> None:
    members = [outgoing(100 * MEGA), link(MEGA), link(MEGA)]
    assert owned(100, members) == [0, 50, 50]
    assert owned(100, [outgoing(MEGA), link(MEGA)]) == [0, 100]
    assert owned(100, [Link(client_mode=True), UNKNOWN]) == [0, 100]


def test_when_nobody_can_be_dialled_all_own_the_same() -> None:
    assert owned(9, [outgoing(MEGA), outgoing(50 * MEGA), outgoing(0)]) == [3, 3, 3]
    assert owned(9, [outgoing(MEGA)]) == [9]


def test_an_unknown_link_counts_as_the_median_of_the_others() -> None:
    others = [link(8 * MEGA), link(10 * MEGA), link(11 * MEGA)]
    assert owned(999, [*others, UNKNOWN]) == owned(999, [*others, link(10 * MEGA)])


def test_two_peers_share_whatever_their_links_are() -> None:
    """Each sends its contribution or its answer: the same bytes, whoever owns them."""
    assert owned(10, [link(MEGA), link(100 * MEGA)]) == [5, 5]


def test_links_that_carry_everything_in_a_second_are_as_good_as_any() -> None:
    enough = round(B / FAST_ENOUGH_SECONDS)
    members = [link(FASTEST), link(enough), link(enough + 1), link(enough)]
    assert owned(400, members, B) == [100] * 4
    slower = [*members[:3], link(enough // 3)]
    assert owned(400, slower, B)[3] < 50
    assert owned(400, slower, B // 3) == [100] * 4, "what is enough follows from the vector"
    assert owned(400, [outgoing(FASTEST), *members[:2]], B) == [0, 200, 200]


def test_fewer_units_than_members_still_add_up() -> None:
    shares = owned(2, [link(MEGA)] * 5)
    assert sum(shares) == 2
    assert max(shares) == 1


# ---- small vectors -------------------------------------------------------------------------


def test_a_small_vector_goes_through_one_that_can_be_dialled_and_is_fast_enough() -> None:
    members = [link(MEGA), link(4 * MEGA), link(2 * MEGA), outgoing(50 * MEGA)]
    few = int(STAR_SECONDS * 4 * MEGA / 3)
    assert {star_centre(few, members, turn) for turn in range(8)} == {1}
    assert owned(7, members, few) == [0, 7, 0, 0]
    assert star_centre(few + 1, members, 0) is None
    butterfly = owned(100, members, few + 1)
    assert sum(butterfly) == 100
    assert butterfly[3] == 0
    assert max(butterfly) < 100


def test_those_that_are_fast_enough_take_turns_so_that_one_that_fails_is_not_the_next() -> None:
    members = [link(4 * MEGA), link(MEGA), link(4 * MEGA)]
    few = int(STAR_SECONDS * 4 * MEGA / 2)
    assert [star_centre(few, members, turn) for turn in range(4)] == [0, 2, 0, 2]
    assert owned_units(5, few, members, turn=1) == [0, 0, 5]


def test_the_more_members_the_sooner_one_owner_is_not_enough() -> None:
    size = round(STAR_SECONDS * 10 * MEGA / 4)
    assert star_centre(size, [link(10 * MEGA)] * 5, 0) == 0
    assert star_centre(size, [link(10 * MEGA)] * 6, 0) is None


def test_a_link_that_has_shown_nothing_is_trusted_with_little() -> None:
    few = round(STAR_SECONDS * UNSEEN_RATE)
    assert star_centre(few, [UNKNOWN, UNKNOWN], 0) == 0
    assert star_centre(few + 1, [UNKNOWN, UNKNOWN], 0) is None
    assert star_centre(few, [link(SLOWEST), UNKNOWN], 0) == 1


def test_nobody_is_the_centre_of_those_that_cannot_be_dialled() -> None:
    assert star_centre(1, [outgoing(FASTEST)] * 3, 0) is None
    assert owned(6, [outgoing(FASTEST)] * 3, 1) == [2, 2, 2]
    assert star_centre(LARGE, [link(SLOWEST)], 0) == 0, "alone one owns everything"


# ---- how long an exchange takes ------------------------------------------------------------


@given(known_swarms)
def test_equal_shares_of_equal_links_take_what_a_butterfly_takes(members: list[Link]) -> None:
    n, rate = len(members), members[0].both_ways
    expected = B * (1 + (n - 2) / n) / rate
    assert exchange_seconds(B, [link(rate)] * n) == pytest.approx(expected)


def test_each_member_sends_and_receives_by_its_share() -> None:
    # the same bytes each way, whichever way one counts them: own contributions and answers
    n, share = 5, 0.3
    assert (1 - share) * B + (n - 1) * share * B == pytest.approx(B * (1 + (n - 2) * share))
    # T = (2 + 4) / (4 + 4 + 3 + 3) for all of them
    members = [link(4 * MEGA), link(3 * MEGA), link(4 * MEGA), link(3 * MEGA)]
    assert exchange_seconds(B, members) == pytest.approx(B / MEGA * 6 / 14)


def test_who_owns_nothing_only_trades_its_own() -> None:
    slow = [link(10 * MEGA), link(MEGA), link(10 * MEGA), link(10 * MEGA)]
    assert exchange_seconds(B, slow) == pytest.approx(B / MEGA)
    # the others own it all: 1 + (3 - 2) / 2 of the bytes at 1 MB/s, the client 1 at 2 MB/s
    clients = [outgoing(2 * MEGA), link(MEGA), link(MEGA)]
    assert exchange_seconds(B, clients) == pytest.approx(B / MEGA * 1.5)


@given(st.integers(0, 10**12), swarms)
def test_an_exchange_takes_at_least_what_the_slowest_needs_for_its_own(
    size: int, members: list[Link]
) -> None:
    seconds = exchange_seconds(size, members)
    known = [it.both_ways for it in members if it.both_ways]
    if len(members) < 2 or not known:
        assert seconds == 0
        return
    n = len(members)
    assert seconds >= size / min(known) * (1 - 1e-9)
    assert seconds <= size * (n - 1) / min(known) * (1 + 1e-9)


@given(st.lists(st.integers(SLOWEST, FASTEST), min_size=3, max_size=8), st.data())
def test_no_other_shares_would_take_less_time(speeds: list[int], data: st.DataObject) -> None:
    n = len(speeds)
    weights = data.draw(st.lists(st.integers(0, 100), min_size=n, max_size=n).filter(any))
    shares = [weight / sum(weights) for weight in weights]
    theirs = max(
        B * (1 + (n - 2) * share) / speed for share, speed in zip(shares, speeds, strict=True)
    )
    assert exchange_seconds(B, [link(it) for it in speeds]) <= theirs * (1 + 1e-9)


@given(known_swarms, st.data())
def test_the_order_of_members_does_not_matter(members: list[Link], data: st.DataObject) -> None:
    other = data.draw(st.permutations(members))
    assert exchange_seconds(B, other) == pytest.approx(exchange_seconds(B, members))


def test_nobody_waits_for_an_exchange_of_one_or_of_unknown_links() -> None:
    assert exchange_seconds(B, []) == 0
    assert exchange_seconds(B, [link(MEGA)]) == 0
    assert exchange_seconds(B, [UNKNOWN] * 4) == 0
    assert exchange_seconds(0, [link(MEGA)] * 4) == 0


# ---- how often rounds may be ---------------------------------------------------------------


@given(st.integers(0, 10**11), swarms, st.floats(1, 86_400))
def test_the_shortest_round_is_within_its_bounds(
    size: int, members: list[Link], longest: float
) -> None:
    assert 0 <= shortest_round(size, members, longest) <= longest


def test_an_exchange_takes_a_fifth_of_a_round_at_most() -> None:
    members = [link(10 * MEGA)] * 4
    expected = exchange_seconds(B, members) / EXCHANGE_SHARE
    assert shortest_round(B, members, 1e6) == pytest.approx(expected) == pytest.approx(75)
    assert shortest_round(B, members, 70) == 70


def test_a_round_does_not_wait_for_a_link_that_would_need_longer_than_the_longest() -> None:
    fast, modem = [link(10 * MEGA)] * 4, link(10_000)
    assert shortest_round(B, [*fast, modem], 600) == shortest_round(B, fast, 600)
    # 100 MB in 120 s, a fifth of 600 s: just useful
    useful = link(B // 120 + 1)
    assert shortest_round(B, [*fast, useful], 600) == pytest.approx(600, rel=1e-3)
    assert shortest_round(B, [*fast, link(B // 121)], 600) < 100


def test_unknown_links_are_given_a_chance() -> None:
    assert shortest_round(B, [UNKNOWN] * 4, 600) == 0
    fast = [link(10 * MEGA)] * 3
    expected = shortest_round(B, [*fast, link(10 * MEGA)], 600)
    assert shortest_round(B, [*fast, UNKNOWN], 600) == pytest.approx(expected)


def test_a_swarm_of_nothing_but_slow_links_has_the_longest_rounds() -> None:
    assert shortest_round(B, [link(10_000)] * 4, 600) == 600
    assert shortest_round(B, [link(10 * MEGA), *[link(10_000)] * 3], 600) == 600


def test_nobody_makes_a_lone_peer_wait() -> None:
    assert shortest_round(B, [link(10_000)], 600) == 0
    assert shortest_round(B, [UNKNOWN], 600) == 0


@pytest.mark.parametrize("codec", ["fp32", "int8", "int4"])
def test_a_runs_rounds_are_as_short_as_its_codec_allows(codec: str) -> None:
    spec = tiny_spec().round.model_copy(update={"codec": codec, "max_seconds": 1e5})
    members = [link(10 * MEGA)] * 4
    size = codec_named(codec).encoded_bytes(B)
    found = sustained_round(spec, B, members)
    assert found == shortest_round(size, members, 1e5) > 0
    assert sustained_round(spec, B, [link(1000)] * 4) == 1e5


# ---- what a peer sees of its link ----------------------------------------------------------


def test_a_meter_without_exchanges_knows_nothing() -> None:
    assert LinkMeter().link == UNKNOWN


def test_a_meter_shows_the_best_of_the_last_exchanges_each_way() -> None:
    meter = LinkMeter()
    for seen in (Link(5, 2), Link(3, 9), Link(4, 4)):
        meter.add(seen)
    assert meter.link == Link(5, 9)
    for _ in range(REMEMBERED_EXCHANGES - 1):
        meter.add(Link(1, 1))
    assert meter.link == Link(4, 4)
    meter.add(Link(1, 1))
    assert meter.link == Link(1, 1), "a link that has become slower is seen to be"


def test_exchanges_too_short_to_show_anything_push_nothing_out() -> None:
    meter = LinkMeter()
    meter.add(Link(7, 7))
    for _ in range(2 * REMEMBERED_EXCHANGES):
        meter.add(UNKNOWN)
    assert meter.link == Link(7, 7)
    meter.add(Link(upload=9))
    assert meter.link == Link(9, 7)


# ---- what peers say of their links ---------------------------------------------------------


@given(links)
def test_a_link_comes_back_from_its_message(said: Link) -> None:
    data = link_message(said).SerializeToString()
    assert parse_link(swarm_pb2.Link.FromString(data)) == said


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        (0, 0),
        (1, SLOWEST),
        (SLOWEST - 1, SLOWEST),
        (SLOWEST, SLOWEST),
        (FASTEST, FASTEST),
        (FASTEST + 1, FASTEST),
        (2**64 - 1, FASTEST),
    ],
)
def test_a_peers_word_is_kept_within_bounds(said: int, believed: int) -> None:
    assert parse_link(swarm_pb2.Link(upload=said)) == Link(believed, 0)
    assert parse_link(swarm_pb2.Link(download=said)) == Link(0, believed)


def test_a_braggart_owns_no_more_than_the_fastest_may() -> None:
    braggart = parse_link(swarm_pb2.Link(upload=2**64 - 1, download=2**64 - 1))
    assert owned(400, [link(FASTEST), braggart, link(FASTEST), link(FASTEST)]) == [100] * 4
