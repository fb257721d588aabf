"""Every chunk of the text is somebody's, nobody's for long, and seldom two peers'."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.averaging import coverage as module
from peer.averaging.coverage import (
    MAX_AHEAD,
    MAX_DONE,
    Chunks,
    Claim,
    Coverage,
    Lease,
    after_round,
    chunks_of,
    parse_chunks,
    united,
)
from peer.averaging.malformed import Malformed
from peer.averaging.ranges import MAX_CHUNK
from swarmpb.v1 import swarm_pb2

PEERS = ["ann", "bob", "cy", "dee"]


class Text:
    """Peers that train their chunks, round by round, as the daemon has them do."""

    def __init__(self, speeds: dict[str, int]) -> None:
        self.speeds = speeds
        """Chunks in a round, by peer."""
        self.coverage = Coverage()
        self.queues: dict[str, list[int]] = {}
        self.done: dict[str, list[int]] = {name: [] for name in speeds}
        """Trained and not merged."""
        self.trained: Counter[int] = Counter()

    def plan(self, name: str) -> None:
        """Take up what the present state says."""
        wanted = chunks_of(self.coverage, name, len(self.done[name]) + 4 * self.speeds[name])
        self.queues[name] = [it for it in wanted if it not in self.done[name]]

    def train(self, name: str, chunks: int) -> None:
        for _ in range(chunks):
            chunk = self.queues[name].pop(0)
            self.done[name].append(chunk)
            self.trained[chunk] += 1

    def round(self, names: list[str], left_out: tuple[str, ...] = ()) -> None:
        """These train, cut, go on while the round is decided, and adopt it."""
        for name in names:
            if name not in self.queues:
                self.plan(name)
            self.train(name, self.speeds[name])
        claims = {name: self.claim(name, name not in left_out) for name in names}
        for name in names:
            self.train(name, max(1, self.speeds[name] // 4))
        self.coverage = after_round(self.coverage, claims)
        for name in names:
            if claims[name].merged:
                merged = claims[name].chunks.done
                self.done[name] = [it for it in self.done[name] if it not in merged]
            self.plan(name)

    def claim(self, name: str, merged: bool) -> Claim:
        ahead = self.queues[name][: max(4, self.speeds[name])]
        done = tuple(sorted(self.done[name]))
        return Claim(100 * len(done), Chunks(done, tuple(sorted(ahead))), merged)

    @property
    def twice(self) -> int:
        return sum(times - 1 for times in self.trained.values())


def warm(speeds: dict[str, int]) -> Text:
    """After the first rounds, in which nobody knows who else there is."""
    text = Text(speeds)
    for _ in range(3):
        text.round(list(speeds))
    text.trained.clear()
    return text


def test_fast_and_slow_peers_share_the_text_and_nothing_is_trained_twice() -> None:
    text = warm({"ann": 20, "bob": 5, "cy": 1, "dee": 10})
    for _ in range(50):
        text.round(PEERS)
    assert sum(text.trained.values()) > 50 * 36
    assert text.twice == 0
    assert text.coverage.twice == 0


def test_the_frontier_follows_so_no_chunk_is_skipped() -> None:
    text = warm({"ann": 20, "bob": 5, "cy": 2, "dee": 10})
    for _ in range(60):
        text.round(PEERS)
    assert text.coverage.frontier > 0.7 * text.coverage.chunks


def test_what_a_leaver_had_before_it_is_others_within_two_rounds() -> None:
    text = warm({"ann": 6, "bob": 6, "cy": 6, "dee": 6})
    gone = text.queues["dee"][:6]
    rest = ["ann", "bob", "cy"]
    text.round(rest)
    planned = {it for name in rest for it in text.queues[name]}
    assert not planned.intersection(gone), "it may only have missed a round"
    text.round(rest)
    planned = {it for name in rest for it in text.queues[name]}
    assert planned.intersection(gone), "it is gone"
    for _ in range(30):
        text.round(rest)
    assert text.coverage.merged_within(min(gone), max(gone) + 1) == max(gone) + 1 - min(gone)


def test_a_peer_left_out_of_a_round_keeps_what_it_has_trained() -> None:
    text = warm({"ann": 6, "bob": 6, "cy": 6})
    for number in range(20):
        text.round(["ann", "bob", "cy"], left_out=("bob",) if number % 4 < 2 else ())
    assert text.twice == 0


def test_a_peer_that_misses_one_round_now_and_then_costs_nothing() -> None:
    text = warm({"ann": 6, "bob": 6, "cy": 6})
    for number in range(20):
        text.round(["ann", "bob", "cy"] if number % 3 else ["ann", "cy"])
    assert text.twice == 0


def test_newcomers_seldom_take_what_others_train() -> None:
    text = warm(dict.fromkeys(PEERS, 6))
    for number in range(30):
        name = f"new-{number}"
        text.speeds[name], text.done[name] = 6, []
        text.round([*PEERS, name])
        del text.queues[name]
    assert text.twice <= 0.03 * sum(text.trained.values())


def test_two_halves_of_a_swarm_train_different_chunks_for_a_while_and_count_together() -> None:
    whole = warm(dict.fromkeys(PEERS, 6))
    common = whole.coverage
    left, right = Text(dict(whole.speeds)), Text(dict(whole.speeds))
    for half in (left, right):
        half.coverage, half.queues, half.done = (
            common,
            {name: list(it) for name, it in whole.queues.items()},
            {name: list(it) for name, it in whole.done.items()},
        )
    left.speeds, right.speeds = {"ann": 15, "bob": 9}, {"cy": 8, "dee": 14}  # rounds are longer now
    for _ in range(5):
        left.round(["ann", "bob"])
        right.round(["cy", "dee"])
    assert not set(left.trained) & set(right.trained)
    both = united(left.coverage, right.coverage, common.claims)
    assert both == united(right.coverage, left.coverage, common.claims), "whoever computes it"
    assert both.twice == 0
    assert both.claims == left.coverage.claims + right.coverage.claims - common.claims
    assert set(both.leases or {}) == set(PEERS)
    assert all(it.missed == 0 for it in (both.leases or {}).values())


def test_what_both_halves_have_trained_counts_as_twice() -> None:
    one, other = Coverage(((0, 10),), 10), Coverage(((0, 6), (8, 12)), 10)
    both = united(one, other, 6)
    assert (both.merged, both.claims, both.twice) == (((0, 12),), 14, 2)


def test_one_of_three_that_leaves_is_no_split() -> None:
    leases = {name: Lease(100, (chunk,)) for chunk, name in enumerate(PEERS[:3])}
    claims = {name: Claim(100, Chunks(), True) for name in PEERS[:2]}
    first = after_round(Coverage(leases=leases), claims)
    assert set(first.leases or {}) == set(PEERS[:3])
    assert set(after_round(first, claims).leases or {}) == set(PEERS[:2])


@given(st.integers(1, 60), st.sets(st.sampled_from(PEERS), min_size=1), st.randoms())
def test_everybody_derives_the_same_shares_and_they_do_not_overlap(
    wanted: int, names: set[str], random: object
) -> None:
    leases = {
        name: Lease(100 + len(name), (3 * place,)) for place, name in enumerate(sorted(names))
    }
    coverage = Coverage(((1, 3), (20, 25)), 7, leases)
    lists = {name: chunks_of(coverage, name, wanted) for name in names}
    everything = [it for chunks in lists.values() for it in chunks]
    assert len(everything) == len(set(everything)) == wanted * len(names)
    assert not {1, 2, 20, 24} & set(everything)
    assert all(chunks[0] == leases[name].chunks[0] for name, chunks in lists.items())


def test_shares_follow_the_work_of_the_last_round() -> None:
    leases = {"ann": Lease(3000, ()), "bob": Lease(1000, ())}
    shares = {name: chunks_of(Coverage(leases=leases), name, 500)[-1] for name in leases}
    # who does more finds its 500 in fewer chunks
    assert shares["ann"] == pytest.approx(500 * 4 / 3, rel=0.15)
    assert shares["bob"] == pytest.approx(500 * 4, rel=0.15)


@pytest.mark.parametrize(("claimed", "most"), [(40_000, 2000), (2**40, 8000)])
def test_who_claims_a_share_and_trains_none_of_it_does_not_hold_the_text_up(
    claimed: int, most: int
) -> None:
    """Gaps that never close would fill the record: what it has no room for is trained again."""
    text = warm({"ann": 400, "bob": 400, "cy": 400})
    for _ in range(25):
        claims = {"liar": Claim(claimed, Chunks(), merged=True)}
        for name in text.speeds:
            text.plan(name)
            text.train(name, text.speeds[name])
            claims[name] = text.claim(name, merged=True)
        text.coverage = after_round(text.coverage, claims)
        text.done = {name: [] for name in text.speeds}
    assert len(text.coverage.merged) < most
    assert text.twice < 100


def test_a_peer_that_did_next_to_nothing_still_finds_chunks_soon() -> None:
    leases = {"ann": Lease(10**9, ()), "bob": Lease(0, ())}
    assert chunks_of(Coverage(leases=leases), "bob", 20)[-1] < 20 * 64 * 3


# ---- the record that travels -----------------------------------------------------------

leases = st.builds(
    Lease,
    st.integers(0, 2**40),
    st.sets(st.integers(0, MAX_CHUNK - 1), max_size=5).map(sorted).map(tuple),
    st.integers(0, 3),
    st.integers(3, 8),
)
ranges = st.lists(st.integers(0, 2**50), max_size=8, unique=True).map(
    lambda it: tuple(zip(sorted(it)[::2], sorted(it)[1::2], strict=False))
)
coverages = st.builds(Coverage, ranges, st.integers(0, 2**50), st.dictionaries(st.text(), leases))


@given(coverages)
def test_a_coverage_survives_the_trip_in_one_form(coverage: Coverage) -> None:
    data = coverage.encode()
    assert Coverage.decode(data) == coverage
    shuffled = replace(coverage, leases=dict(reversed(list((coverage.leases or {}).items()))))
    assert shuffled.encode() == data


def test_a_run_begins_with_nothing_trained() -> None:
    assert Coverage.decode(b"") == Coverage()
    assert Coverage().frontier == 0


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"[]",
        b"{}",
        b'{"claims":0,"leases":{},"merged":[3,-1]}',
        b'{"claims":0,"leases":{},"merged":[1,2,3]}',
        b'{"claims":0,"leases":{},"merged":[9007199254740990,9007199254740990]}',
        b'{"claims":0,"leases":{},"merged":[-4,2]}',
        b'{"claims": 0,"leases":{},"merged":[]}',
        b'{"claims":0,"leases":{"a":[1,[2,0],0,1]},"merged":[]}',
        b'{"claims":0,"leases":{"a":[1]},"merged":[]}',
        b'{"claims":0,"leases":{"a":7},"merged":[]}',
        b'{"claims":0,"leases":[],"merged":[]}',
        b'{"claims":"0","leases":{},"merged":[]}',
        b'{"claims":NaN,"leases":{},"merged":[]}',
        b'{"claims":Infinity,"leases":{},"merged":[]}',
        b'{"claims":-1,"leases":{},"merged":[]}',
        b'{"claims":0,"leases":{"a":[-1,[],0,1]},"merged":[]}',
        b'{"claims":0,"leases":{"a":[1' + b"0" * 400 + b',[],0,1]},"merged":[]}',
        b'{"claims":0,"leases":{"a":[1,[],0,99999]},"merged":[]}',
        b'{"claims":0,"leases":{"a":[1,[9007199254740992],0,1]},"merged":[]}',
        b"[" * 5000,
    ],
)
def test_a_strangers_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Coverage.decode(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_coverage_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        assert Coverage.decode(data).encode() == data or not data


def test_far_flung_claims_cannot_make_the_record_grow_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_GAPS", 10)
    coverage = Coverage()
    for number in range(30):
        done = tuple(range(number, 4000, 97))
        coverage = after_round(coverage, {"liar": Claim(1, Chunks(done), True)})
    assert len(coverage.merged) <= 10


def spread(count: int, first: int = 0) -> tuple[int, ...]:
    """So many chunks, as far from each other as they may be."""
    return tuple(range(first, MAX_CHUNK, (MAX_CHUNK - first) // count))[:count]


def test_there_is_a_last_chunk_and_whoever_claims_one_behind_it_is_refused() -> None:
    last = parse_chunks(swarm_pb2.Chunks(done=[MAX_CHUNK - 1], ahead=[MAX_CHUNK - 1]))
    coverage = after_round(Coverage(), {"liar": Claim(1, last, True)})
    assert Coverage.decode(coverage.encode()) == coverage
    for message in (swarm_pb2.Chunks(done=[MAX_CHUNK]), swarm_pb2.Chunks(ahead=[MAX_CHUNK])):
        with pytest.raises(Malformed):
            parse_chunks(message)


def test_whatever_the_members_claim_everybody_can_read_the_record_afterwards() -> None:
    """And those that claim little keep it."""
    crowd = {
        f"liar{index:02}": Claim(2**40, Chunks(spread(MAX_DONE, index), spread(MAX_AHEAD)), False)
        for index in range(63)
    }
    honest = Claim(100, Chunks((), (1, 2, 3)), True)
    coverage = after_round(Coverage(), {**crowd, "ann": honest})
    for _ in range(2):
        assert Coverage.decode(coverage.encode()) == coverage
        assert coverage.leases is not None
        assert coverage.leases["ann"].chunks == (1, 2, 3)
        assert len(coverage.leases) == 64
        coverage = united(coverage, coverage, 0)


chunk_sets = st.sets(st.integers(0, MAX_CHUNK - 1), max_size=6).map(sorted).map(tuple)
claims = st.builds(
    Claim, st.integers(0, 2**40), st.builds(Chunks, chunk_sets, chunk_sets), st.booleans()
)


@given(st.lists(st.dictionaries(st.sampled_from(PEERS), claims), max_size=5))
def test_what_rounds_make_of_any_claims_can_be_read(
    rounds: list[dict[str, Claim]],
) -> None:
    coverage = Coverage()
    for members in rounds:
        coverage = after_round(coverage, members)
        assert Coverage.decode(coverage.encode()) == coverage


@settings(max_examples=30)
@given(st.lists(st.sets(st.sampled_from(PEERS), min_size=1), min_size=1, max_size=12))
def test_whoever_comes_and_goes_what_is_merged_was_trained(attendance: list[set[str]]) -> None:
    text = Text(dict.fromkeys(PEERS, 3))
    for names in attendance:
        text.round(sorted(names))
    waiting = {it for done in text.done.values() for it in done}
    merged = {it for pair in text.coverage.merged for it in range(*pair)}
    assert merged | waiting == set(text.trained)
