"""The live peers and their sums are what a walk through all peers would find, at any time."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coordinator.domain import PeerState
from coordinator.reports.live_peers import ExactSum
from coordinator.reports.progress import Ledger
from tests.reporting import outcome, peer

NAMES = st.sampled_from([f"Qm{letter}" for letter in "abcdef"])
SPEEDS = st.floats(0.0, 1e9)
LOSSES = st.none() | st.floats(0.0, 1e6)
PHASES = st.sampled_from(["training", "exchanging", "stopped", "left"])


class Swarm(RuleBasedStateMachine):
    """Peers come, report, leave, come back, are forgotten; the clock does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now = 1000.0

    @rule(name=NAMES, phase=PHASES, speed=SPEEDS, loss=LOSSES)
    def report(self, name: str, phase: str, speed: float, loss: float | None) -> None:
        told = {"phase": phase, "tokens_per_second": speed, "train_loss": loss}
        self.ledger.see(peer(name, received_at=self.now, **told))

    @rule(name=NAMES, late=st.floats(0.0, 60.0))
    def an_old_state_is_seen(self, name: str, late: float) -> None:
        self.ledger.see(peer(name, received_at=self.now - late))

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        if name in self.ledger.peers:
            self.ledger.forget(name)

    @rule(seconds=st.sampled_from([0.0, 0.1, 5.0, 14.9, 15.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 15.0, 3600.0]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.now -= seconds

    @rule(seconds=st.sampled_from([15.0, 25.0, 50.0]))
    def peers_are_told_to_report_more_or_less(self, seconds: float) -> None:
        self.ledger.live_seconds = seconds

    @invariant()
    def the_live_ones_are_those_that_a_walk_finds(self) -> None:
        ledger = self.ledger
        naive = {name for name, it in ledger.peers.items() if ledger.is_live(it, self.now)}
        assert {it.peer_id for it in ledger.peers_live(self.now)} == naive
        assert all(ledger.peers[it.peer_id] is it for it in ledger.peers_live(self.now))
        assert ledger.count_live(self.now) == len(naive)

    @invariant()
    def the_sums_are_theirs(self) -> None:
        ledger = self.ledger
        live = [it for it in ledger.peers.values() if ledger.is_live(it, self.now)]
        headline = ledger.headline(self.now)
        assert headline.peers_live == len(live)
        assert headline.tokens_per_second == math.fsum(it.tokens_per_second for it in live)
        assert headline.train_loss == mean_loss(live)

    @invariant()
    def the_last_word_is_the_newest_of_all(self) -> None:
        heard = [it.received_at for it in self.ledger.peers.values()]
        assert self.ledger.heard_at == max(heard, default=None)


def mean_loss(live: list[PeerState]) -> float | None:
    known = [(it.tokens_per_second, it.train_loss) for it in live if it.train_loss is not None]
    weight = math.fsum(speed for speed, _ in known)
    return math.fsum(speed * loss for speed, loss in known) / weight if weight > 0 else None


TestSwarm = Swarm.TestCase
TestSwarm.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.data())
def test_who_is_taken_out_of_a_sum_leaves_nothing_behind(
    terms: list[float], data: st.DataObject
) -> None:
    total = ExactSum()
    for term in terms:
        total.add(term)
    for term in data.draw(st.permutations(terms)):
        total.add(term, -1)
    assert total.value == 0.0


def test_a_giant_that_leaves_does_not_take_the_small_ones_along() -> None:
    total = ExactSum()
    for term in (0.1, 1e300, 0.2):
        total.add(term)
    total.add(1e300, -1)
    assert total.value == math.fsum([0.1, 0.2])


def test_a_peer_that_comes_and_goes_all_the_time_takes_no_more_room() -> None:
    ledger = Ledger()
    for number in range(1000):
        phase = "training" if number % 2 else "left"
        ledger.see(peer(phase=phase, received_at=1000.0 + number / 1000))
    assert ledger.count_live(1001.0) == 1
    assert len(ledger._live._heard) == 1


def test_the_median_of_traffic_follows_each_word_on_a_round() -> None:
    ledger = Ledger()
    told = []
    for number, sent in enumerate((4000, 10, 900), start=1):
        ledger.add_outcome(outcome(number, bytes_sent=sent))
        told.append(ledger.headline(1000.0).bytes_sent_per_round)
    assert told == [4000.0, 2005.0, 900.0]
