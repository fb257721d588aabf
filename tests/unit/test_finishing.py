"""A peer that is to finish, or to rest: after which round it goes, and whether it comes back."""

from __future__ import annotations

from dataclasses import replace

from peer.events import (
    AttemptBegan,
    AttemptEnded,
    FinishAsked,
    LeaveAsked,
    Phase,
    StateAdopted,
    Stop,
    Train,
    WrapUp,
)
from peer.orders import Course
from tests.unit.test_machine import SPEC, Story, at, averaging, started, training

WORDS = "leaving after it, as you asked"
RESTING = LeaveAsked("outside the hours you allow", rest=True)


def finishing(seconds: float = 60.0, *, late: bool = False, story: Story | None = None) -> Story:
    story = story or training()
    story.happens(FinishAsked(WORDS, story.now + seconds, as_late_as_possible=late))
    return story


def merges(story: Story, round_: int) -> tuple[object, ...]:
    """A round that this peer's work goes into."""
    ended = AttemptEnded("bert", True, "")
    return story.happens(AttemptBegan("bert"), ended, StateAdopted(at(round_), 0, merged=True))


def test_it_goes_after_the_round_that_merges_its_work() -> None:
    story = finishing()
    assert (story.phase, story.reason) == (Phase.TRAINING, f"round 6; {WORDS}")
    cut = story.happens(AttemptBegan("bert"))
    assert cut == (Train(on=False),), "what it trains from here on would be in no round"
    story.happens(AttemptEnded("bert", True, ""))
    stop = story.happens(StateAdopted(at(6), 0, merged=True))
    assert stop == (Stop(0, "finished with round 6, as you asked"),)


def test_it_trains_on_if_the_round_is_void_and_goes_with_the_next() -> None:
    story = finishing()
    story.happens(AttemptBegan("bert"))
    assert story.happens(AttemptEnded("bert", False, "half are silent")) == (Train(on=True),)
    assert WORDS in story.reason
    assert merges(story, 6)[-1] == Stop(0, "finished with round 6, as you asked")


def test_a_round_without_its_work_is_not_enough() -> None:
    story = finishing()
    ended = AttemptEnded("bert", True, "")
    effects = story.happens(AttemptBegan("bert"), ended, StateAdopted(at(6), 0, merged=False))
    assert not any(isinstance(it, Stop) for it in effects)
    assert merges(story, 7)[-1] == Stop(0, "finished with round 7, as you asked")


def test_asked_during_a_round_that_one_is_enough() -> None:
    story = averaging("bert")
    assert story.happens(FinishAsked(WORDS, story.now + 60)) == (Train(on=False),)
    story.happens(AttemptEnded("bert", True, ""))
    (stop,) = story.happens(StateAdopted(at(6), 0, merged=True))
    assert isinstance(stop, Stop)


def test_it_does_as_many_rounds_as_end_in_time() -> None:
    story = training()
    merges(story, 6)
    story.passes(10)
    merges(story, 7)
    finishing(25, late=True, story=story)
    for round_ in (8, 9):
        story.passes(10)
        effects = merges(story, round_)
        assert any(isinstance(it, Stop) for it in effects) == (round_ == 9), "5 s are no round"


def test_when_no_round_comes_it_goes_at_its_time() -> None:
    story = finishing(60)
    story.passes(59)
    assert story.sees() == (), "it is alone, and waits for another"
    assert WORDS in story.reason
    story.passes(1)
    stop = Stop(0, "finished: no further round ended in time; the rest is kept")
    assert story.sees() == (stop,)


def test_one_that_has_no_state_or_stands_by_in_a_pause_goes_at_once() -> None:
    stop = (Stop(0, "finished: no round was under way"),)
    asked = FinishAsked(WORDS, 2000.0)
    assert started().happens(asked) == stop
    paused = training(course=Course(paused="paused by the run's owner"))
    assert paused.happens(asked) == stop


def test_asked_twice_it_says_so_once() -> None:
    story = finishing(story=finishing())
    assert story.reason.count(WORDS) == 1


def test_a_rest_is_a_stop_that_it_comes_back_from() -> None:
    assert training().happens(RESTING) == (Stop(0, RESTING.reason, rest=True),)
    story = averaging("bert")
    assert story.happens(RESTING) == (Train(on=False),)
    stop = story.happens(AttemptEnded("bert", True, ""))
    assert stop == (Stop(0, RESTING.reason, rest=True),)


def test_to_leave_for_good_counts_more_than_to_rest() -> None:
    for first, second in ((RESTING, LeaveAsked()), (LeaveAsked(), RESTING)):
        story = averaging("bert")
        story.happens(first, second)
        assert story.happens(AttemptEnded("bert", True, "")) == (Stop(0, "asked to leave"),)


def test_one_that_was_to_finish_has_nothing_to_come_back_to() -> None:
    (stop,) = finishing().happens(RESTING)
    assert stop == Stop(0, RESTING.reason)


def test_a_run_that_ends_is_not_rested_from() -> None:
    story = training()
    story.peer = replace(story.peer, run_tokens=SPEC.stop.tokens)
    assert WrapUp() in story.happens(StateAdopted(at(6), SPEC.stop.tokens))
    (stop,) = story.happens(RESTING)
    assert stop == Stop(0, RESTING.reason)


def test_asked_while_it_sees_a_round_through_before_a_rest_it_does_not_come_back() -> None:
    story = averaging("bert")
    story.happens(RESTING)
    assert not story.happens(FinishAsked(WORDS, story.now + 60))
    (stop,) = story.happens(AttemptEnded("bert", False, "half are silent"))
    assert isinstance(stop, Stop)
    assert not stop.rest
