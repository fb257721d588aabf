"""What a peer does when the run's owner pauses, resumes, finishes the run, or bans the peer."""

from __future__ import annotations

from typing import Any

import pytest

from peer.events import (
    AttemptBegan,
    AttemptEnded,
    BeginFromSeed,
    Effect,
    Forked,
    KeepCheckpoint,
    Lead,
    OrdersGiven,
    Phase,
    Stop,
    SwarmJoined,
    Synchronise,
    Synchronised,
    Train,
    TrainerLost,
    TrainerReady,
    WrapUp,
)
from peer.membership import LEADER_PATIENCE, SwarmView, at_work, companions
from peer.orders import Course
from peer.outlook import LONGEST_YIELD_SECONDS
from swarmpb.exits import Exit
from tests.unit.test_machine import SPEC, Story, at, averaging, facts, started, training

PAUSED = Course(paused="paused by the run's owner: a holiday")
OPEN = Course()
FINISHED = Course(finished="the run is finished: enough")


def given(story: Story, course: Course) -> tuple[Effect, ...]:
    return story.happens(OrdersGiven(course))


def ordered(story: Story, **course: Any) -> tuple[Effect, ...]:
    return given(story, Course(**course))


# ---- a pause -----------------------------------------------------------------------------


def test_a_pause_stops_training_and_keeps_a_checkpoint() -> None:
    story = training()
    assert given(story, PAUSED) == (Train(on=False), KeepCheckpoint())
    assert (story.phase, story.reason) == (Phase.PAUSED, PAUSED.paused)


def test_no_round_is_led_during_a_pause_however_long() -> None:
    story = training()
    given(story, PAUSED)
    story.passes(1000)
    assert story.sees(facts("bert", at(5)), own_tokens=10**6) == ()
    assert (story.phase, story.reason) == (Phase.PAUSED, PAUSED.paused)


def test_a_round_under_way_when_a_pause_comes_is_finished() -> None:
    story = averaging("bert")
    assert given(story, PAUSED) == (Train(on=False), KeepCheckpoint())
    assert story.phase is Phase.AVERAGING
    story.happens(AttemptEnded("bert", True, ""))
    assert story.adopts(at(6)) == (Train(on=False),)
    assert (story.phase, story.reason) == (Phase.PAUSED, PAUSED.paused)


def test_a_round_that_was_void_when_a_pause_comes_is_not_tried_again() -> None:
    story = averaging("bert")
    given(story, PAUSED)
    story.happens(AttemptEnded("bert", False, "bert is gone"))
    assert story.phase is Phase.PAUSED
    story.passes(1000)
    assert story.sees(facts("bert", at(5)), own_tokens=10**6) == ()


def test_what_the_others_have_finished_is_still_taken_during_a_pause() -> None:
    """They heard of it a round later: whoever is paused holds what they hold."""
    story = training()
    given(story, PAUSED)
    effects = story.sees(facts("bert", at(6)), facts("cleo", at(6)))
    assert effects == (Synchronise(at(6), ("bert", "cleo")),)
    assert story.adopts(at(6)) == (Train(on=False),)
    story.happens(Synchronised())
    assert (story.phase, story.reason) == (Phase.PAUSED, PAUSED.paused)


def test_the_end_of_a_pause_is_the_beginning_of_a_round() -> None:
    story = training()
    given(story, PAUSED)
    story.passes(1000)
    assert given(story, OPEN) == (Train(on=True),)
    assert (story.phase, story.reason) == (Phase.TRAINING, "round 6")
    # the pause does not count as time in which the round should have been made
    assert story.sees(facts("bert", at(5))) == ()
    story.passes(SPEC.round.max_seconds)
    effects = story.sees(facts("bert", at(5)))
    story.passes(LEADER_PATIENCE)
    assert Lead(("bert",)) in (*effects, *story.sees(facts("bert", at(5))))


def test_a_trainer_that_is_replaced_during_a_pause_stands_still_too() -> None:
    story = training()
    given(story, PAUSED)
    story.happens(TrainerLost("memory", "out of memory"))
    assert story.happens(TrainerReady()) == (Train(on=False),)


def test_who_joins_during_a_pause_gets_the_state_and_waits() -> None:
    story = Story(course=PAUSED)
    story.happens(SwarmJoined(), TrainerReady())
    assert story.sees(facts("bert", at(5), "paused")) == (Synchronise(at(5), ("bert",)),)
    assert story.adopts(at(5)) == (Train(on=False),)
    story.happens(Synchronised())
    assert (story.phase, story.reason) == (Phase.PAUSED, PAUSED.paused)


def test_a_run_may_be_paused_before_its_first_round() -> None:
    story = started(course=PAUSED)
    assert story.sees() == (BeginFromSeed(),)
    assert story.adopts(at(0)) == (Train(on=False),)
    assert story.phase is Phase.PAUSED


def test_the_reason_of_a_pause_may_change() -> None:
    story = training()
    given(story, PAUSED)
    assert ordered(story, paused="paused by the run's owner: longer") == ()
    assert story.reason == "paused by the run's owner: longer"


def test_a_pause_that_was_told_again_changes_nothing() -> None:
    story = training()
    given(story, PAUSED)
    assert given(story, PAUSED) == ()


def test_a_half_of_a_split_swarm_that_waits_does_not_lose_patience_during_a_pause() -> None:
    """The larger half makes no rounds, so it cannot take this one's in."""
    story = training()
    story.happens(Forked(at(9), 3))
    given(story, PAUSED)
    story.passes(2 * LONGEST_YIELD_SECONDS)
    assert story.sees(facts("bert", at(9, 1), "paused")) == ()
    given(story, OPEN)
    assert story.sees(facts("bert", at(9, 1))) == (), "its patience begins anew"
    story.passes(2 * LONGEST_YIELD_SECONDS)
    (gives_up,) = story.sees(facts("bert", at(9, 1)))
    assert isinstance(gives_up, Synchronise)
    assert gives_up.give_up


def test_those_that_are_paused_count_so_that_no_part_of_a_swarm_goes_on_alone() -> None:
    others = [facts("bert", at(5), "paused"), facts("cleo", at(5), "training")]
    assert at_work(others) == others
    assert companions(others, at(5)) == ["bert", "cleo"]


# ---- the end -----------------------------------------------------------------------------


def ends(effects: tuple[Effect, ...]) -> bool:
    return effects == (Train(on=False), WrapUp())


def test_a_run_that_its_owner_finished_ends_as_one_that_reached_its_target() -> None:
    story = training()
    given(story, FINISHED)
    assert ends(story.sees(facts("bert", at(5))))
    assert (story.phase, story.reason) == (
        Phase.LEAVING,
        "the run is finished: enough: handing over",
    )


def test_a_round_under_way_when_the_run_is_finished_is_its_last() -> None:
    story = averaging("bert")
    assert given(story, FINISHED) == ()
    assert story.sees(facts("bert", at(5))) == ()
    story.happens(AttemptEnded("bert", True, ""))
    assert ends(story.adopts(at(6)))


def test_who_is_behind_when_the_run_is_finished_gets_the_last_round_first() -> None:
    story = training()
    given(story, FINISHED)
    (effect,) = story.sees(facts("bert", at(6)), facts("cleo", at(6)))
    assert isinstance(effect, Synchronise)
    assert ends(story.adopts(at(6)))


def test_an_end_that_is_brought_forward_comes_with_the_round_that_reaches_it() -> None:
    story = training()
    assert ordered(story, stop_tokens=5000) == ()
    assert story.adopts(at(6), run_tokens=4999) == (Train(on=True),)
    assert ends(story.adopts(at(7), run_tokens=5000))


def test_an_end_that_is_behind_already_is_here() -> None:
    story = training()
    story.adopts(at(6), run_tokens=6000)
    ordered(story, stop_tokens=5000)
    assert ends(story.sees(facts("bert", at(6))))


def test_an_end_that_is_put_off_is_not_reached_at_the_specs() -> None:
    story = training()
    ordered(story, stop_tokens=2 * SPEC.stop.tokens)
    assert story.adopts(at(6), run_tokens=SPEC.stop.tokens) == (Train(on=True),)


def test_a_finish_that_is_called_off_leaves_the_run_at_the_specs_end() -> None:
    story = training()
    ordered(story, stop_tokens=5000, cooldown_tokens=1000)
    given(story, OPEN)
    assert story.adopts(at(6), run_tokens=5000) == (Train(on=True),)


def test_a_paused_run_can_be_finished() -> None:
    story = training()
    given(story, PAUSED)
    given(story, FINISHED)
    assert ends(story.sees(facts("bert", at(5), "paused")))


def test_there_is_nothing_to_join_in_a_finished_run() -> None:
    story = started(course=FINISHED)
    (effect,) = story.sees()
    assert isinstance(effect, Stop)
    assert effect.code is Exit.RUN_FINISHED
    assert "the run is finished: enough; there is nothing left to train" in effect.reason


# ---- a ban -------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [started(), training(), averaging()])
def test_a_banned_peer_says_why_and_stops_whatever_it_does(story: Story) -> None:
    (effect,) = ordered(story, banned=True)
    assert isinstance(effect, Stop)
    assert effect.code is Exit.BANNED
    assert effect.reason == "this peer is banned from run tiny by its owner; ask them why"
    assert story.phase is Phase.STOPPED


def test_a_banned_peer_waits_for_no_round() -> None:
    story = training()
    story.happens(AttemptBegan("bert"))
    assert any(isinstance(it, Stop) for it in ordered(story, banned=True))


def test_nobody_in_view_is_an_outsider() -> None:
    outsider = facts("eve", at(9))
    view = SwarmView((facts("bert", at(5)),), (outsider,))
    assert outsider not in view.others("anna")
    assert set(view.orders_named()) == {"bert", "eve"}


def test_a_lone_peer_of_a_run_by_invitation_is_not_told_to_invite_others_itself() -> None:
    story = training()
    given(story, Course(by_invitation=True))
    story.sees()
    assert story.reason == "1 of 2 peers needed to average; the run's owner can invite another"
