"""What a person is told of a run: each thing once, whatever peers say how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.domain import Event, EventKind, Outcome, Report
from coordinator.happenings.presence import START_SECONDS, TOLD_OF_A_PEER
from coordinator.happenings.rounds import ALARMS_TOLD, SETTLING_SECONDS, VOIDS_SECONDS, VOIDS_TOLD
from coordinator.happenings.stalling import patience
from coordinator.happenings.watch import Expected, RunWatch
from coordinator.reports.pace import LOST_SECONDS
from coordinator.reports.progress import Ledger
from swarmpb.spec import preset
from tests.reporting import DIGEST, OTHER_DIGEST, outcome, report

SPEC = preset("demo").round
TARGET = 10_000_000
HERE = {EventKind.JOINED, EventKind.BACK}
ALARMS = {EventKind.STALLED, EventKind.DIVERGED, EventKind.ALL_GONE}


@dataclass
class Story:
    """A run, what its peers say, and all that was told of it."""

    now: float = 1000.0
    ledger: Ledger = field(default_factory=Ledger)
    told: list[Event] = field(default_factory=list)
    expected: Expected = field(default_factory=lambda: Expected(TARGET))
    sequence: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, away: float = 0.0) -> None:
        """The coordinator stops, and starts again after `away` seconds from what it kept."""
        self.now += away
        self.watch = RunWatch("demo", SPEC, self.ledger, self.told, self.now)

    def say(self, name: str = "anna", outcomes: tuple[Outcome, ...] = (), **fields: Any) -> None:
        """One report of a peer that trains, as it is kept and counted."""
        self.sequence += 1
        news = report(
            peer_id=f"Qm{name}",
            name=name,
            outcomes=[replace(it, peer_id=f"Qm{name}") for it in outcomes],
            sequence=self.sequence,
            **{"received_at": self.now} | fields,
        )
        self.take(news)

    def take(self, news: Report) -> None:
        self.ledger.see(news.peer)
        for told in news.outcomes:
            self.ledger.add_outcome(told)
        self.told += self.watch.reported(self.ledger, [news], self.now)

    def wait(self, seconds: float, *talking: str) -> None:
        """Time passes, second by second; these peers go on reporting."""
        for _ in range(max(1, round(seconds))):
            self.now += seconds / max(1, round(seconds))
            for name in talking:
                self.say(name)
            self.told += self.watch.passed(self.ledger, self.expected, self.now)

    def commit(self, number: int, *names: str, **fields: Any) -> None:
        at = int(self.now * 1000)
        for name in names:
            self.say(name, (outcome(number, **{"finished_at_ms": at} | fields),))

    @property
    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.told]

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.told]


def void(number: int, attempt: str = "a", **fields: Any) -> Outcome:
    values: dict[str, Any] = {"committed": False, "included": False, "digest": b"", "members": 2}
    values |= {"attempt": attempt.encode(), "reason": "1 of 2 answered"}
    return outcome(number, **values | fields)


# ---- who is here -----------------------------------------------------------------------


def joined(story: Story) -> None:
    story.say()
    story.wait(5, "anna")


def left(story: Story) -> None:
    story.say("ben")
    story.say()
    story.say(phase="left", reason="Ctrl-C")
    story.say(phase="left", reason="Ctrl-C")
    story.wait(60, "ben")


def lost_and_back(story: Story) -> None:
    story.say("ben")
    story.say()
    story.wait(LOST_SECONDS + 2, "ben")
    story.say()


def last_one_lost(story: Story) -> None:
    story.say()
    story.wait(600)
    story.say()


def gone_after_the_target(story: Story) -> None:
    story.say()
    story.commit(1, "anna", run_tokens=TARGET)
    story.wait(1, "anna")
    story.say(phase="stopped")
    story.wait(600)


def an_old_word_comes_again(story: Story) -> None:
    story.say("ben")
    story.say()
    old = report(peer_id="Qmanna", name="anna", received_at=story.now)
    story.wait(LOST_SECONDS + 2, "ben")
    story.take(replace(old, peer=story.ledger.peers["Qmanna"]))


def only_ever_left(story: Story) -> None:
    story.say(phase="left")
    story.wait(60)


@pytest.mark.parametrize(
    ("story_of", "kinds"),
    [
        (joined, ["joined"]),
        (left, ["joined", "joined", "left"]),
        (lost_and_back, ["joined", "joined", "lost", "back"]),
        (last_one_lost, ["joined", "lost", "all peers gone", "back"]),
        (gone_after_the_target, ["joined", "target reached", "left"]),
        (an_old_word_comes_again, ["joined", "joined", "lost"]),
        (only_ever_left, []),
    ],
)
def test_who_comes_and_goes(story_of: Callable[[Story], None], kinds: list[str]) -> None:
    story = Story()
    story_of(story)
    assert story.kinds == kinds


def test_a_person_reads_who_it_was_and_why() -> None:
    story = Story()
    left(story)
    assert story.texts == ["ben joined", "anna joined", "anna left: Ctrl-C"]
    assert [event.peer_id for event in story.told] == ["Qmben", "Qmanna", "Qmanna"]
    last_one_lost(story)
    assert "anna is lost: not heard of for 30 s; its last word was training" in story.texts


def test_a_flapping_peer_is_told_a_few_times_and_then_how_it_ended() -> None:
    story = Story()
    for _ in range(50):
        story.say("ben")
        story.say()
        story.wait(1, "ben")
        story.say(phase="left")
    story.wait(10, "ben")
    of_anna = [event for event in story.told if event.peer_id == "Qmanna"]
    assert len(of_anna) == TOLD_OF_A_PEER
    assert "told again in an hour" in of_anna[-1].text
    story.say()
    for _ in range(3700):
        story.wait(1, "ben", "anna")
    assert [event.kind for event in story.told if event.peer_id == "Qmanna"][-1] is EventKind.BACK


def test_a_crowd_is_told_as_a_number() -> None:
    story = Story()
    for number in range(1000):
        story.say(f"peer-{number}")
    assert len(story.told) == 400
    for _ in range(37):
        story.now += 100
        story.say("peer-1")
        story.told += story.watch.passed(story.ledger, story.expected, story.now)
    assert "600 times more in an hour" in story.texts
    assert len(story.told) < 820


# ---- restarts --------------------------------------------------------------------------


def test_a_coordinator_that_returns_says_nothing_twice() -> None:
    story = Story()
    story.say()
    story.say("ben")
    story.commit(1, "anna", "ben", run_tokens=TARGET)
    story.say("ben", (void(2),))
    story.say("anna", (void(2),))
    story.wait(2, "anna", "ben")
    before = list(story.told)
    story.restart(away=3 * 3600)
    story.say("anna", (void(2),))
    story.wait(100, "anna", "ben")
    assert story.told == before


def test_who_does_not_return_after_the_coordinator_is_lost_after_a_while() -> None:
    story = Story()
    story.say()
    story.say("ben")
    story.restart(away=3600)
    story.wait(START_SECONDS - 1)
    assert story.kinds == ["joined", "joined"]
    story.say()
    story.wait(LOST_SECONDS, "anna")
    assert story.kinds == ["joined", "joined", "lost"]


def test_a_database_from_before_there_were_events_is_no_news() -> None:
    story = Story()
    story.say("long-ago", received_at=story.now - 9000)
    story.say("anna")
    story.commit(1, "anna", digest=DIGEST)
    story.commit(1, "ben", digest=OTHER_DIGEST)
    story.told.clear()
    story.restart()
    story.wait(START_SECONDS, "anna", "ben")
    assert story.kinds == []


# ---- rounds ----------------------------------------------------------------------------


def test_an_attempt_is_void_once_however_many_tell_it() -> None:
    story = Story()
    for name in ("anna", "ben"):
        story.say(name, (void(1),))
    story.wait(SETTLING_SECONDS + 1, "anna", "ben")
    story.say("carl", (void(1),))
    story.wait(SETTLING_SECONDS + 1, "anna", "ben")
    assert [text for text in story.texts if "void" in text] == ["round 1 void: 1 of 2 answered"]


def test_an_attempt_that_others_committed_was_not_void() -> None:
    story = Story()
    story.say("anna", (void(1, "attempt at 1"),))
    story.wait(SETTLING_SECONDS - 2, "anna")
    story.commit(1, "ben")
    story.wait(SETTLING_SECONDS, "anna", "ben")
    assert "round void" not in story.kinds


def test_a_run_of_voids_becomes_a_count() -> None:
    story = Story()
    for number in range(100):
        story.say("anna", (void(7, f"try {number}", members=1),))
        story.wait(1, "anna")
    story.wait(VOIDS_SECONDS, "anna")
    voids = [text for text in story.texts if "void" in text]
    assert len(voids) == VOIDS_TOLD + 1
    assert voids[-1] == "95 more void attempts in 10 min, the last: round 7 void: 1 of 2 answered"


def test_members_that_disagree_and_agree_again() -> None:
    story = Story()
    story.commit(5, "anna", "ben")
    story.commit(5, "carl", digest=OTHER_DIGEST)
    story.wait(1, "anna", "ben", "carl")
    assert story.kinds[-1] == "diverged"
    story.commit(6, "anna", "ben")
    story.wait(5, "anna", "ben", "carl")
    assert story.kinds[-1] == "diverged", "carl has not told of a round with the others yet"
    story.commit(6, "carl")
    story.wait(1, "anna", "ben", "carl")
    assert (story.kinds[-1], story.told[-1].round) == ("divergence healed", 6)
    story.wait(60, "anna", "ben", "carl")
    assert story.kinds.count("diverged") == story.kinds.count("divergence healed") == 1


def test_a_divergence_heals_without_a_dissenter_who_went() -> None:
    story = Story()
    story.commit(5, "anna", "ben")
    story.commit(5, "carl", digest=OTHER_DIGEST)
    story.say("carl", phase="left")
    story.commit(6, "anna", "ben")
    story.wait(1, "anna", "ben")
    assert story.kinds[-2:] == ["diverged", "divergence healed"]


def test_a_divergence_that_was_told_heals_after_a_restart() -> None:
    story = Story()
    story.commit(5, "anna")
    story.commit(5, "carl", digest=OTHER_DIGEST)
    story.wait(1, "anna", "carl")
    story.restart(away=60)
    story.wait(1, "anna", "carl")
    story.commit(6, "anna", "carl")
    story.wait(1, "anna", "carl")
    assert story.kinds[-2:] == ["diverged", "divergence healed"]


LONG = patience(SPEC, [])


def test_a_stall_is_told_once_and_so_is_its_end() -> None:
    story = Story()
    story.commit(1, "anna", "ben")
    story.wait(LONG + 2, "anna", "ben")
    assert story.kinds[-1] == "stalled"
    story.restart(away=10)
    story.wait(2 * LONG, "anna", "ben")
    story.commit(2, "anna", "ben")
    story.wait(5, "anna", "ben")
    assert story.kinds.count("stalled") == 1
    assert story.kinds[-1] == "moving again"


def alone(story: Story) -> None:
    story.wait(2 * LONG, "anna")


def paused(story: Story) -> None:
    story.expected = Expected(TARGET, rounds=False)
    story.wait(2 * LONG, "anna", "ben")


def at_the_target(story: Story) -> None:
    story.commit(2, "anna", run_tokens=TARGET)
    story.wait(2 * LONG, "anna", "ben")


def with_rounds(story: Story) -> None:
    for number in range(2, 8):
        story.wait(LONG / 4, "anna", "ben")
        story.commit(number, "anna", "ben")


@pytest.mark.parametrize("reason", [alone, paused, at_the_target, with_rounds])
def test_what_is_no_stall(reason: Callable[[Story], None]) -> None:
    story = Story()
    story.commit(1, "anna", "ben")
    reason(story)
    assert "stalled" not in story.kinds


def test_a_stall_that_its_owner_ends_by_pausing_needs_no_commit() -> None:
    story = Story()
    story.commit(1, "anna", "ben")
    story.wait(LONG + 2, "anna", "ben")
    story.expected = Expected(TARGET, rounds=False)
    story.wait(2, "anna", "ben")
    story.expected = Expected(TARGET)
    story.commit(2, "anna", "ben")
    assert "moving again" not in story.kinds


# ---- whatever happens ------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from("abc"), st.sampled_from(["training", "left"])),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 20.0, 40.0, 700.0]), st.just("")),
        st.tuples(st.just("commit"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("diverge"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("void"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("restart"), st.sampled_from([1.0, 5000.0]), st.just("")),
    ),
    max_size=60,
)


def play(steps: list[tuple[Any, Any, Any]]) -> Story:
    story = Story()
    for what, who, more in steps:
        if what == "say":
            story.say(who, phase=more)
        elif what == "wait":
            story.wait(who)
        elif what == "commit":
            story.commit(more, who)
        elif what == "diverge":
            story.commit(more, who, digest=OTHER_DIGEST)
        elif what == "void":
            story.say(who, (void(more, f"attempt at {more}"),))
        else:
            story.restart(who)
    return story


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_reader_of_the_events_is_never_told_the_same_twice(steps: list[Any]) -> None:
    story = play(steps)
    # an hour without flapping, then as it is
    story.wait(4000)
    here = {event.peer_id: False for event in story.told}
    pairs = {EventKind.STALLED: EventKind.MOVING, EventKind.DIVERGED: EventKind.HEALED}
    on = dict.fromkeys(pairs, False)
    for event in story.told:
        if event.kind in HERE | {EventKind.LEFT, EventKind.LOST}:
            assert here[event.peer_id] != (event.kind in HERE), event
            here[event.peer_id] = event.kind in HERE
        for begins, ends in pairs.items():
            if event.kind in (begins, ends):
                assert on[begins] != (event.kind is begins), event
                on[begins] = event.kind is begins
    assert not any(here.values()), "nobody has said a word for an hour"
    assert story.kinds.count("target reached") <= 1


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nobody_floods_the_events(steps: list[Any]) -> None:
    story = play(steps)
    for begin in {event.at for event in story.told}:
        hour = [event for event in story.told if begin <= event.at < begin + 3600]
        peers = Counter(event.peer_id for event in hour if event.peer_id)
        # two stretches of an hour may share any hour
        assert all(number <= 2 * TOLD_OF_A_PEER for number in peers.values())
        for kind in ALARMS:
            restarts = sum(what == "restart" for what, _, _ in steps)
            told = sum(event.kind is kind for event in hour)
            assert told <= (restarts + 2) * ALARMS_TOLD
