"""Agreement when messages are lost, late, doubled and out of order: never two decisions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peer.averaging.agreement import (
    NO_BALLOT,
    Acceptor,
    Ballot,
    Promise,
    known_decision,
    majority,
    proposal,
)

LEADER = "a"


def acceptors(count: int) -> list[Acceptor[str]]:
    return [Acceptor() for _ in range(count)]


# ---- the rules, one by one -------------------------------------------------------------


def test_a_majority_is_more_than_half() -> None:
    assert [majority(count) for count in (1, 2, 3, 4, 5, 64)] == [1, 2, 2, 3, 3, 33]


def test_the_leaders_ballot_needs_no_promise() -> None:
    (member,) = acceptors(1)
    answer = member.accept(Ballot(0, LEADER), "commit")
    assert answer.granted
    assert (member.accepted, member.accepted_ballot) == ("commit", Ballot(0, LEADER))


def test_the_leaders_ballot_loses_to_a_promise() -> None:
    (member,) = acceptors(1)
    assert member.prepare(Ballot(1, "b")).granted
    answer = member.accept(Ballot(0, LEADER), "commit")
    assert not answer.granted
    assert answer.promised == Ballot(1, "b")
    assert member.accepted is None


def test_a_promise_names_what_was_accepted_before() -> None:
    (member,) = acceptors(1)
    member.accept(Ballot(0, LEADER), "commit")
    answer = member.prepare(Ballot(1, "b"))
    assert answer == Promise(True, Ballot(1, "b"), Ballot(0, LEADER), "commit", None)


@pytest.mark.parametrize("number", [0, 1])
def test_no_promise_below_or_at_an_earlier_one(number: int) -> None:
    (member,) = acceptors(1)
    member.prepare(Ballot(1, "b"))
    answer = member.prepare(Ballot(number, "b"))
    assert not answer.granted
    assert answer.promised == Ballot(1, "b")


def test_of_two_proposers_with_one_number_the_name_decides() -> None:
    (member,) = acceptors(1)
    assert member.prepare(Ballot(1, "b")).granted
    assert member.prepare(Ballot(1, "c")).granted
    assert not member.accept(Ballot(1, "b"), "void").granted
    assert member.accept(Ballot(1, "c"), "void").granted


def test_a_decision_once_learned_stands() -> None:
    (member,) = acceptors(1)
    member.learn("commit")
    member.learn("void")
    assert member.decided == "commit"
    assert member.prepare(Ballot(9, "c")).decided == "commit"


def test_a_minority_may_propose_nothing() -> None:
    promises = [Promise[str](True, Ballot(1, "b"))]
    assert proposal(promises, 3, "void") is None
    refused = Promise[str](False, Ballot(2, "c"))
    assert proposal([*promises, refused, refused], 3, "void") is None
    assert proposal(promises * 2, 3, "void") == "void"


def test_of_accepted_values_that_of_the_highest_ballot_goes_first() -> None:
    promised = Ballot(5, "b")
    older = Promise(True, promised, Ballot(1, "z"), "void")
    newer = Promise(True, promised, Ballot(2, "b"), "commit")
    nothing = Promise[str](True, promised)
    assert proposal([older, nothing, newer], 5, "own") == "commit"
    assert proposal([nothing] * 3, 5, "own") == "own"


def test_what_a_refusing_acceptor_accepted_does_not_count() -> None:
    refused = Promise(False, Ballot(9, "z"), Ballot(8, "z"), "commit")
    nothing = Promise[str](True, Ballot(5, "b"))
    assert proposal([refused, nothing, nothing], 3, "void") == "void"


def test_a_known_decision_ends_the_search_even_from_a_refusal() -> None:
    refused = Promise(False, Ballot(9, "z"), NO_BALLOT, None, "commit")
    assert known_decision([Promise[str](True, Ballot(5, "b")), refused]) == "commit"
    assert known_decision([Promise[str](True, Ballot(5, "b"))]) is None


# ---- everything at once ----------------------------------------------------------------


class Proposer:
    """Drives ballots as `decision.py` does, but one message at a time."""

    def __init__(self, name: str, members: int) -> None:
        self.name = name
        self.members = members
        self.ballot = NO_BALLOT
        self.value = ""
        self.promises: dict[int, Promise[str]] = {}
        self.votes: set[int] = set()
        self.accepting = False

    def start(self, number: int) -> None:
        self.ballot = Ballot(number, self.name)
        self.promises, self.votes, self.accepting = {}, set(), False

    def start_leading(self) -> None:
        self.start(0)
        self.value, self.accepting = "commit", True

    def promised(self, member: int, promise: Promise[str]) -> None:
        if self.accepting:
            return
        self.promises[member] = promise
        value = proposal(list(self.promises.values()), self.members, f"void by {self.name}")
        if value is not None:
            self.value, self.accepting = value, True


class Cluster:
    """Acceptors, proposers, and the messages between them, which a test delivers as it likes."""

    def __init__(self, members: int) -> None:
        self.acceptors = acceptors(members)
        self.proposers = [Proposer(chr(ord("a") + index), members) for index in range(members)]
        self.requests: list[tuple[int, int, Ballot, str | None]] = []
        """(proposer, acceptor, ballot, value to accept or None to prepare)."""
        self.replies: list[tuple[int, int, Ballot, bool, Promise[str]]] = []
        self.decided: set[str] = set()
        self.highest = 0
        self.proposers[0].start_leading()
        self.send(0)

    def send(self, proposer: int) -> None:
        it = self.proposers[proposer]
        value = it.value if it.accepting else None
        for member in range(len(self.acceptors)):
            self.requests.append((proposer, member, it.ballot, value))

    def recover(self, proposer: int) -> None:
        self.highest += 1
        self.proposers[proposer].start(self.highest)
        self.send(proposer)

    def deliver_request(self, index: int, again: bool) -> None:
        message = self.requests[index] if again else self.requests.pop(index)
        proposer, member, ballot, value = message
        acceptor = self.acceptors[member]
        answer = acceptor.prepare(ballot) if value is None else acceptor.accept(ballot, value)
        self.replies.append((proposer, member, ballot, value is not None, answer))

    def deliver_reply(self, index: int, again: bool) -> None:
        message = self.replies[index] if again else self.replies.pop(index)
        proposer, member, ballot, to_accept, answer = message
        it = self.proposers[proposer]
        if ballot != it.ballot:
            return  # of a ballot that was given up
        if to_accept:
            if answer.granted:
                it.votes.add(member)
            if len(it.votes) >= majority(len(self.acceptors)):
                self.decide(it.value)
        elif not it.accepting:
            it.promised(member, answer)
            if it.accepting:
                self.send(proposer)

    def decide(self, value: str) -> None:
        self.decided.add(value)

    def chosen(self) -> set[str]:
        """Values that a majority of acceptors now holds for one and the same ballot."""
        held = [(it.accepted_ballot, it.accepted) for it in self.acceptors if it.accepted]
        need = majority(len(self.acceptors))
        return {value for ballot, value in held if held.count((ballot, value)) >= need}


class HostileNetwork(RuleBasedStateMachine):
    """Hypothesis picks who proposes, and which message arrives, is lost or comes twice."""

    @initialize(members=st.integers(1, 5))
    def begin(self, members: int) -> None:
        self.cluster = Cluster(members)
        self.ever_chosen: set[str] = set()

    @rule(proposer=st.integers(0, 4))
    def doubt_the_leader(self, proposer: int) -> None:
        self.cluster.recover(proposer % len(self.cluster.acceptors))

    @precondition(lambda self: self.cluster.requests)
    @rule(pick=st.integers(0), again=st.booleans())
    def request_arrives(self, pick: int, again: bool) -> None:
        self.cluster.deliver_request(pick % len(self.cluster.requests), again)

    @precondition(lambda self: self.cluster.replies)
    @rule(pick=st.integers(0), again=st.booleans())
    def reply_arrives(self, pick: int, again: bool) -> None:
        self.cluster.deliver_reply(pick % len(self.cluster.replies), again)

    @precondition(lambda self: self.cluster.requests)
    @rule(pick=st.integers(0))
    def request_is_lost(self, pick: int) -> None:
        self.cluster.requests.pop(pick % len(self.cluster.requests))

    @invariant()
    def nobody_decides_differently(self) -> None:
        if hasattr(self, "cluster"):
            self.ever_chosen |= self.cluster.chosen()
            assert len(self.ever_chosen) <= 1
            assert self.cluster.decided <= self.ever_chosen


TestHostileNetwork = HostileNetwork.TestCase
TestHostileNetwork.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def run_at_random(cluster: Cluster, random: Random, steps: int, lossy: float) -> None:
    """Deliver at random; every proposer may start over at any time."""
    for _ in range(steps):
        again = random.random() < 0.1
        if random.random() < 0.02:
            cluster.recover(random.randrange(len(cluster.proposers)))
        if cluster.requests and random.random() < lossy:
            cluster.requests.pop(random.randrange(len(cluster.requests)))
        if cluster.requests and random.random() < 0.5:
            cluster.deliver_request(random.randrange(len(cluster.requests)), again)
        elif cluster.replies:
            cluster.deliver_reply(random.randrange(len(cluster.replies)), again)


@pytest.mark.parametrize("members", [2, 3, 4, 5])
@pytest.mark.parametrize("lossy", [0.0, 0.1, 0.3])
def test_long_fights_of_many_proposers_end_in_one_decision_or_none(
    members: int, lossy: float
) -> None:
    outcomes: list[Sequence[str]] = []
    for seed in range(60):
        cluster, random = Cluster(members), Random(seed)
        del cluster.requests[random.randrange(members + 1) :]  # how far the leader got
        run_at_random(cluster, random, 400, lossy)
        assert len(cluster.decided) <= 1, f"seed {seed}"
        outcomes.append(sorted(cluster.decided))
    assert ["commit"] in outcomes, "the leader never won: the fight proves nothing"
    assert any(it and it != ["commit"] for it in outcomes), "nobody ever outbid the leader"


@given(st.data(), st.integers(2, 7), st.integers(1, 5))
def test_a_value_that_a_majority_accepted_survives_every_later_ballot(
    data: st.DataObject, members: int, ballots: int
) -> None:
    cluster = acceptors(members)
    need = majority(members)
    some = st.permutations(range(members)).map(lambda order: order[:need])
    for member in data.draw(some):
        assert cluster[member].accept(Ballot(0, LEADER), "commit").granted
    for number in range(1, ballots + 1):
        ballot = Ballot(number, data.draw(st.sampled_from("bcd")))
        promises = [cluster[member].prepare(ballot) for member in data.draw(some)]
        value = proposal(promises, members, "void")
        assert value == "commit"
        reached = data.draw(st.sets(st.integers(0, members - 1)))
        for member in reached:
            cluster[member].accept(ballot, value)


@given(st.data(), st.integers(2, 7))
def test_a_leader_that_reached_only_a_minority_may_be_voided_but_never_both(
    data: st.DataObject, members: int
) -> None:
    cluster = acceptors(members)
    order = data.draw(st.permutations(range(members)))
    reached = data.draw(st.integers(0, majority(members) - 1))
    asked = data.draw(st.permutations(range(members)))[: majority(members)]
    for member in order[:reached]:
        cluster[member].accept(Ballot(0, LEADER), "commit")
    promises = [cluster[member].prepare(Ballot(1, "b")) for member in asked]
    value = proposal(promises, members, "void")
    assert value == ("commit" if set(asked) & set(order[:reached]) else "void")
    late = [cluster[member].accept(Ballot(0, LEADER), "commit") for member in order[reached:]]
    votes = reached + sum(answer.granted for answer in late)
    assert votes < majority(members) or value == "commit"
