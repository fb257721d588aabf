"""What a peer makes of the records of others: bounded, fresh, and the same for everybody."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.links import FASTEST, SLOWEST, UNKNOWN, Link
from peer.halves import head, is_behind
from peer.membership import (
    CLOCK_TOLERANCE,
    MAX_ADDRESSES,
    MAX_ROUND,
    MAX_TEXT,
    MAX_TOKENS_PER_SECOND,
    RECORD_SECONDS,
    PeerFacts,
    Position,
    at_work,
    companions,
    cut_is_due,
    holders_of,
    leading_order,
    parse_record,
    view_of,
)
from swarmpb.v1 import swarm_pb2
from tests.tiny import tiny_spec

NOW = 1_800_000_000.0
DIGEST = bytes(range(32))
ADDRESS = "/ip4/10.0.0.1/tcp/1/p2p/QmXoypizjW3WknFiJnKLwHCnL72vedxjQkDDP1mXWo6uco"
ROUND = tiny_spec(
    round={"target_tokens": 1000, "min_seconds": 2, "max_seconds": 20, "min_peers": 2}
).round


def record(**fields: Any) -> bytes:
    """A good record of Bert; `fields` replace its values."""
    values: dict[str, Any] = {
        "peer_id": "bert",
        "round": 7,
        "digest": DIGEST,
        "phase": "training",
        "pending_tokens": 300,
        "tokens_per_second": 50.0,
        "written_at": NOW - 1,
        "addresses": [ADDRESS],
        "link": swarm_pb2.Link(upload=5_000_000, download=2_000_000, client_mode=True),
    }
    return swarm_pb2.PeerRecord(**(values | fields)).SerializeToString()


def at(round_: int, state: int = 0) -> Position:
    return Position(round_, bytes([state]) * 32)


def facts(
    name: str,
    position: Position | None,
    phase: str = "training",
    pending: int = 0,
    speed: float = 0.0,
    written_at: float = NOW,
) -> PeerFacts:
    return PeerFacts(name, position, phase, pending, speed, written_at)


# ---- records -----------------------------------------------------------------------------


def test_a_good_record_is_read() -> None:
    assert parse_record("bert", record(), NOW) == PeerFacts(
        "bert",
        Position(7, DIGEST),
        "training",
        300,
        50.0,
        NOW - 1,
        (ADDRESS,),
        Link(5_000_000, 2_000_000, client_mode=True),
    )


def test_what_a_record_says_of_its_link_is_kept_within_bounds() -> None:
    boast = swarm_pb2.Link(upload=2**64 - 1, download=1)
    parsed = parse_record("bert", record(link=boast), NOW)
    assert parsed is not None
    assert parsed.link == Link(FASTEST, SLOWEST)
    silent = parse_record("bert", record(link=None), NOW)
    assert silent is not None
    assert silent.link == UNKNOWN


@pytest.mark.parametrize(
    "fields",
    [
        {"written_at": NOW - RECORD_SECONDS - 0.1},
        {"written_at": NOW + CLOCK_TOLERANCE + 0.1},
        {"written_at": math.nan},
        {"written_at": math.inf},
        {"written_at": -math.inf},
        {"written_at": 0.0},
        {"peer_id": "cleo"},
        {"peer_id": ""},
        {"tokens_per_second": math.nan},
        {"tokens_per_second": math.inf},
        {"tokens_per_second": -1.0},
        {"round": MAX_ROUND + 1},
        {"round": 2**64 - 1},
    ],
    ids=str,
)
def test_a_record_out_of_bounds_is_as_good_as_none(fields: dict[str, Any]) -> None:
    assert parse_record("bert", record(**fields), NOW) is None


@pytest.mark.parametrize(
    "written_at", [NOW - RECORD_SECONDS, NOW, NOW + CLOCK_TOLERANCE], ids=["old", "new", "future"]
)
def test_a_clock_may_be_a_little_off(written_at: float) -> None:
    assert parse_record("bert", record(written_at=written_at), NOW) is not None


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33), bytes(1000)], ids=len)
def test_a_digest_of_another_length_names_no_state(digest: bytes) -> None:
    parsed = parse_record("bert", record(digest=digest), NOW)
    assert parsed is not None
    assert parsed.position is None


def test_numbers_and_texts_are_cut_to_size() -> None:
    payload = record(
        pending_tokens=2**64 - 1,
        tokens_per_second=1e300,
        phase="x" * 10_000,
        addresses=[ADDRESS] * 100,
    )
    parsed = parse_record("bert", payload, NOW)
    assert parsed is not None
    assert parsed.tokens_per_second == MAX_TOKENS_PER_SECOND
    assert parsed.pending_tokens == MAX_ROUND
    assert len(parsed.phase) == MAX_TEXT
    assert len(parsed.addresses) == MAX_ADDRESSES


def test_an_address_that_nobody_can_dial_is_left_out() -> None:
    parsed = parse_record("bert", record(addresses=["garbage", ADDRESS]), NOW)
    assert parsed is not None
    assert parsed.addresses == (ADDRESS,)


@given(st.binary(max_size=300))
def test_garbage_never_raises(payload: bytes) -> None:
    parse_record("bert", payload, NOW)
    view_of({"bert": payload}, NOW)


@given(st.data())
def test_a_damaged_record_never_raises(data: st.DataObject) -> None:
    payload = bytearray(record())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    parsed = parse_record("bert", bytes(payload), NOW)
    if parsed is not None:
        assert math.isfinite(parsed.expected_tokens(NOW + 1e9))


def test_the_view_is_of_the_living_in_one_order() -> None:
    payloads = {
        "cleo": record(peer_id="cleo"),
        "anna": record(peer_id="anna", phase="leaving"),
        "gone": record(peer_id="gone", phase="stopped"),
        "late": record(peer_id="late", written_at=NOW - 100),
        "thief": record(peer_id="anna"),
        "noise": b"\xff\xff",
    }
    view = view_of(payloads, NOW)
    assert [peer.peer_id for peer in view.peers] == ["anna", "cleo"]
    assert [peer.peer_id for peer in view.others("anna")] == ["cleo"]
    assert view_of(dict(reversed(payloads.items())), NOW) == view


def test_who_may_not_take_part_is_not_in_the_view_and_what_it_knows_is() -> None:
    """An outsider may be one by old orders only: it names those that would let it in."""
    payloads = {
        "anna": record(peer_id="anna", certificate=b"anna's", orders_serial=1, orders_sequence=7),
        "bert": record(certificate=b"old", orders_serial=2, orders_sequence=1),
        "cleo": record(peer_id="cleo"),
    }
    view = view_of(payloads, NOW, lambda peer_id, shown: shown == f"{peer_id}'s".encode())
    assert [peer.peer_id for peer in view.peers] == ["anna"]
    assert [peer.peer_id for peer in view.others("dora")] == ["anna"]
    assert view.orders_named() == {"anna": (1, 7), "bert": (2, 1), "cleo": (0, 0)}
    assert holders_of(view.others("dora"), Position(7, DIGEST)) == ["anna"]


# ---- where the run stands ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "own", "expected"),
    [
        ([], None, None),
        ([None, None], None, None),
        ([], at(3), at(3)),
        ([at(5)], None, at(5)),
        ([at(5), at(5), at(6)], None, at(5)),
        ([at(5), at(10**12)], at(5), at(5)),
        ([at(5), at(6)], None, at(6)),
        ([at(6)], at(5), at(6)),
        ([at(5)], at(6), at(6)),
        ([at(5, 2), at(5, 1)], None, at(5, 1)),
        ([at(5, 2), at(5, 1)], at(5, 2), at(5, 2)),
        ([at(5, 1), at(5, 2), None], at(4), at(5, 1)),
    ],
)
def test_the_run_stands_where_most_peers_do(
    positions: list[Position | None], own: Position | None, expected: Position | None
) -> None:
    """Ties: the later round, then the smaller digest."""
    for order in permutations(positions):
        others = [facts(f"peer {index}", it) for index, it in enumerate(order)]
        assert head(others, facts("own", own) if own else None) == expected


def test_a_distrusted_state_has_no_votes_but_the_peers_own_has() -> None:
    others = [facts("anna", at(9)), facts("bert", at(9)), facts("cleo", at(5))]
    assert head(others, None, {at(9)}) == at(5)
    assert head(others, None, {at(9), at(5)}) is None
    assert head(others, facts("own", at(9)), {at(9), at(5)}) == at(9)


@given(st.lists(st.builds(at, st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=6))
def test_peers_that_see_each_other_agree_on_the_head(positions: list[Position]) -> None:
    peers = [facts(f"peer {index}", it) for index, it in enumerate(positions)]
    heads = {head([it for it in peers if it is not peer], peer) for peer in peers}
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("own", "there", "expected"),
    [
        (at(5), at(6), True),
        (at(5), at(5, 1), True),
        (at(5), at(5), False),
        (at(6), at(5), False),
        (at(6), at(5, 1), False),
    ],
)
def test_behind_is_an_earlier_round_or_another_state_of_the_same(
    own: Position, there: Position, expected: bool
) -> None:
    assert is_behind(own, there) is expected


def test_companions_are_at_work_and_not_behind() -> None:
    others = [
        facts("trains", at(5)),
        facts("averages", at(5), "averaging"),
        facts("ahead", at(6)),
        facts("elsewhere", at(5, 1)),
        facts("behind", at(4)),
        facts("syncs", at(5), "syncing"),
        facts("leaves", at(5), "leaving"),
        facts("joins", None, "joining"),
    ]
    assert companions(others, at(5)) == ["trains", "averages", "ahead", "elsewhere"]
    assert holders_of(others, at(5)) == ["trains", "averages", "syncs", "leaves"]
    working = ["trains", "averages", "ahead", "elsewhere", "behind"]
    assert [peer.peer_id for peer in at_work(others)] == working


# ---- who leads ---------------------------------------------------------------------------

PEERS = ["anna", "bert", "cleo", "dora"]


def test_everybody_derives_the_same_order() -> None:
    expected = leading_order("run", 7, PEERS)
    assert sorted(expected) == PEERS
    for order in permutations(PEERS):
        assert leading_order("run", 7, order) == expected


def test_the_lead_goes_around() -> None:
    leaders = [leading_order("run", round_, PEERS)[0] for round_ in range(400)]
    for peer in PEERS:
        assert 60 < leaders.count(peer) < 140


def test_another_run_has_another_order() -> None:
    orders = {tuple(leading_order(f"run {number}", 7, PEERS)) for number in range(20)}
    assert len(orders) > 5


def test_a_peer_that_is_gone_does_not_change_the_order_of_the_others() -> None:
    for round_ in range(20):
        order = leading_order("run", round_, PEERS)
        rest = [peer for peer in order if peer != "bert"]
        assert leading_order("run", round_, [it for it in PEERS if it != "bert"]) == rest


def test_those_that_failed_come_last() -> None:
    order = leading_order("run", 7, PEERS)
    failed = {order[0], order[2]}
    assert leading_order("run", 7, PEERS, failed) == [order[1], order[3], order[0], order[2]]
    assert leading_order("run", 7, PEERS, set(PEERS)) == order


def test_those_that_cannot_be_dialled_lead_if_nobody_else_does() -> None:
    order = leading_order("run", 7, PEERS)
    hidden = {order[0]}
    assert leading_order("run", 7, PEERS, (), hidden) == [*order[1:], order[0]]
    failed = {order[1]}
    rest = [it for it in order if it not in (hidden | failed)]
    assert leading_order("run", 7, PEERS, failed, hidden) == [*rest, order[0], order[1]]
    assert leading_order("run", 7, PEERS, (), set(PEERS)) == order


# ---- when to cut -------------------------------------------------------------------------


def is_due(
    others: list[PeerFacts],
    own_tokens: int,
    elapsed: float,
    now: float = NOW,
    shortest: float = ROUND.min_seconds,
) -> bool:
    return cut_is_due(others, at(5), own_tokens, elapsed, shortest, ROUND, now)


@pytest.mark.parametrize(
    ("own_tokens", "pending", "elapsed", "expected"),
    [
        (0, 0, 1.9, False),
        (999, 0, 5.0, False),
        (1000, 0, 5.0, True),
        (600, 399, 5.0, False),
        (600, 400, 5.0, True),
        (10**9, 10**9, 1.9, False),  # never sooner than the shortest round
        (10**9, 0, 2.0, True),
        (0, 0, 19.9, False),
        (0, 0, 20.0, True),  # never later than the longest
    ],
)
def test_tokens_size_the_round_and_the_clock_bounds_it(
    own_tokens: int, pending: int, elapsed: float, expected: bool
) -> None:
    assert is_due([facts("bert", at(5), pending=pending)], own_tokens, elapsed) is expected


@pytest.mark.parametrize(
    ("shortest", "elapsed", "expected"),
    [(7, 6.9, False), (7, 7.0, True), (1000, 19.9, False), (1000, 20.0, True)],
)
def test_a_round_is_no_shorter_than_its_links_sustain_nor_longer_than_the_longest(
    shortest: float, elapsed: float, expected: bool
) -> None:
    assert is_due([], 10**9, elapsed, shortest=shortest) is expected


def test_what_the_others_trained_since_their_records_is_guessed_from_their_speed() -> None:
    bert = facts("bert", at(5), pending=300, speed=100.0, written_at=NOW - 3)
    assert bert.expected_tokens(NOW) == 600
    assert is_due([bert], 400, 5.0)
    assert not is_due([bert], 399, 5.0)
    assert is_due([bert], 399, 5.0, now=NOW + 0.5)


def test_the_guess_does_not_run_away_with_an_old_record_nor_back_with_a_future_one() -> None:
    old = facts("bert", at(5), pending=1, speed=10.0, written_at=NOW - 10 * RECORD_SECONDS)
    assert old.expected_tokens(NOW) == 1 + 10 * RECORD_SECONDS
    future = facts("bert", at(5), pending=300, speed=100.0, written_at=NOW + 2)
    assert future.expected_tokens(NOW) == 300


@pytest.mark.parametrize("position", [None, at(4), at(6), at(5, 1)], ids=str)
def test_work_on_another_state_does_not_count(position: Position | None) -> None:
    assert not is_due([facts("bert", position, pending=10**9)], 999, 5.0)
