"""The life of a peer as events in and effects out; no clock, no network, no trainer."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer import machine
from peer.condition import Peer
from peer.events import (
    AttemptBegan,
    AttemptEnded,
    BeginFromSeed,
    Effect,
    Event,
    FellBehind,
    Forked,
    Lead,
    LeaveAsked,
    Phase,
    RestartTrainer,
    ResumeCheckpoint,
    StateAdopted,
    StateDropped,
    Stop,
    SwarmJoined,
    SwarmLost,
    SyncFailed,
    Synchronise,
    Synchronised,
    TakeIn,
    TakeInFailed,
    Train,
    TrainerLost,
    TrainerReady,
    ViewSeen,
    WrappedUp,
    WrapUp,
)
from peer.machine import (
    DISTRUST_SECONDS,
    MAX_TRAINER_RESTARTS,
    RESTARTS_COUNT_SECONDS,
    RETRY_SECONDS,
)
from peer.membership import AT_WORK, LEADER_PATIENCE, PeerFacts, Position, SwarmView, leading_order
from peer.outlook import (
    LINGER_SECONDS,
    LONGEST_LINGER_SECONDS,
    LONGEST_YIELD_SECONDS,
    MODEL_SECONDS,
    YIELD_SECONDS,
)
from swarmpb.exits import Exit
from tests.tiny import tiny_spec

SPEC = tiny_spec(round={"target_tokens": 640, "min_seconds": 1, "max_seconds": 30, "min_peers": 2})
TARGET = SPEC.round.target_tokens
INVITATION = "peer join --run tiny --coordinator here:7700"


def at(round_: int, state: int = 0) -> Position:
    """A state of a round; those with different `state` differ in their digests."""
    return Position(round_, bytes([state]) * 32)


def facts(name: str, position: Position | None, phase: str = "training") -> PeerFacts:
    """A live peer that has trained nothing since its last round."""
    return PeerFacts(name, position, phase, 0, 0.0, 0.0)


class Story:
    """A peer to which things happen; `now` passes only when the test says so."""

    def __init__(self, name: str = "anna", **fields: Any) -> None:
        self.now = 1000.0
        self.peer = Peer(peer_id=name, spec=SPEC, invitation=INVITATION)
        self.peer = replace(self.peer, **fields)

    def happens(self, *events: Event) -> tuple[Effect, ...]:
        """The effects of all of them."""
        effects: list[Effect] = []
        for event in events:
            self.peer, more = machine.step(self.peer, event, self.now)
            effects += more
        return tuple(effects)

    def sees(self, *others: PeerFacts, own_tokens: int = 0) -> tuple[Effect, ...]:
        return self.happens(ViewSeen(SwarmView(others), 0.0, own_tokens))

    def hears_that_the_model_is_wanted(self, *, giving: bool) -> tuple[Effect, ...]:
        return self.happens(ViewSeen(SwarmView(), 0.0, 0, giving=giving, model_wanted=True))

    def adopts(self, position: Position, run_tokens: int = 0) -> tuple[Effect, ...]:
        return self.happens(StateAdopted(position, run_tokens))

    def passes(self, seconds: float) -> None:
        self.now += seconds

    @property
    def phase(self) -> Phase:
        return self.peer.phase

    @property
    def reason(self) -> str:
        return self.peer.reason


def started(name: str = "anna", **fields: Any) -> Story:
    """Connected, with a trainer, without a state."""
    story = Story(name, **fields)
    story.happens(SwarmJoined(), TrainerReady())
    return story


def training(name: str = "anna", position: Position | None = None, **fields: Any) -> Story:
    """At work on a state that it took a minimal round's time ago."""
    story = started(name, **fields)
    story.adopts(position or at(5))
    story.passes(SPEC.round.min_seconds)
    return story


def averaging(leader: str = "bert", **fields: Any) -> Story:
    story = training(**fields)
    story.happens(AttemptBegan(leader))
    return story


def finished() -> Story:
    """The run's target is reached."""
    story = training()
    story.adopts(at(6), SPEC.stop.tokens)
    return story


# ---- joining -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (SwarmJoined(), TrainerReady(), "building the model"),
        (TrainerReady(), SwarmJoined(), "connecting to the swarm"),
    ],
)
def test_nothing_is_decided_before_both_the_swarm_and_the_trainer_are_there(
    first: Event, second: Event, reason: str
) -> None:
    story = Story()
    assert story.sees() == ()
    story.happens(first)
    assert story.sees() == ()
    assert story.reason == reason
    story.happens(second)
    assert story.sees() == (BeginFromSeed(),)


def test_the_first_peer_begins_the_run_once_and_trains() -> None:
    story = started()
    assert story.sees() == (BeginFromSeed(),)
    assert story.sees() == (), "it is beginning already"
    assert story.adopts(at(0)) == (Train(on=True),)
    assert story.phase is Phase.TRAINING


def test_a_peer_whose_trainer_died_while_beginning_begins_again() -> None:
    story = started()
    story.sees()
    story.happens(TrainerLost("killed", "killed by signal 9"), TrainerReady())
    assert story.sees() == (BeginFromSeed(),)


def test_a_late_peer_downloads_what_most_hold_and_then_trains() -> None:
    story = started()
    others = [facts("bert", at(7)), facts("cleo", at(7)), facts("dora", at(6))]
    assert story.sees(*others) == (Synchronise(at(7), ("bert", "cleo")),)
    assert story.phase is Phase.SYNCING
    assert story.reason == "downloading the state of round 7"
    assert story.sees(*others) == (), "one download at a time"
    assert story.adopts(at(7)) == (Train(on=True),)


def test_peers_that_are_still_joining_do_not_keep_the_first_from_beginning() -> None:
    story = started()
    assert story.sees(facts("bert", None, "joining")) == (BeginFromSeed(),)


def test_alone_with_a_checkpoint_it_goes_on_from_there_once() -> None:
    story = started(checkpoint=at(9), known_round=12)
    assert story.sees() == (ResumeCheckpoint(),)
    assert story.sees() == ()
    story.adopts(at(9))
    assert story.phase is Phase.TRAINING


def test_a_checkpoint_that_the_swarm_stands_at_needs_no_download() -> None:
    story = started(checkpoint=at(9))
    assert story.sees(facts("bert", at(9)), facts("cleo", at(9))) == (ResumeCheckpoint(),)


def test_a_checkpoint_is_resumed_first_and_then_compared_with_the_swarm() -> None:
    story = started(checkpoint=at(8))
    assert story.sees(facts("bert", at(9))) == (ResumeCheckpoint(),)
    story.adopts(at(8))
    assert story.peer.resumed
    assert story.sees(facts("bert", at(9))) == (Synchronise(at(9), ("bert",)),)
    story.adopts(at(9))
    assert not story.peer.resumed


def test_a_checkpoint_ahead_of_the_only_other_peer_is_not_thrown_away() -> None:
    """All were killed; the one whose checkpoint is older came back first."""
    story = started(checkpoint=at(10))
    assert story.sees(facts("bert", at(8))) == (ResumeCheckpoint(),)


def test_a_checkpoint_of_a_state_that_the_majority_left_gives_way() -> None:
    story = started(checkpoint=at(10, state=1))
    others = [facts("bert", at(10, state=2)), facts("cleo", at(10, state=2))]
    assert story.sees(*others) == (ResumeCheckpoint(),)
    story.adopts(at(10, state=1))
    assert story.sees(*others) == (Synchronise(at(10, state=2), ("bert", "cleo")),)


def test_a_run_known_to_be_further_is_waited_for_not_begun_again() -> None:
    story = started(known_round=30)
    assert story.sees() == ()
    assert story.phase is Phase.JOINING
    assert "round 30" in story.reason
    assert "waiting for one to come back" in story.reason
    assert story.sees(facts("bert", at(30))) == (Synchronise(at(30), ("bert",)),)


def test_a_newcomer_to_a_finished_run_is_told_so() -> None:
    story = started(known_round=30, known_tokens=SPEC.stop.tokens)
    (stop,) = story.sees()
    assert isinstance(stop, Stop)
    assert stop.code == Exit.RUN_FINISHED
    assert "reached its target" in stop.reason


def test_a_newcomer_to_a_finished_run_still_gets_the_model_from_who_holds_it() -> None:
    story = started(known_round=30, known_tokens=SPEC.stop.tokens)
    assert story.sees(facts("bert", at(30))) == (Synchronise(at(30), ("bert",)),)


def test_donors_that_cannot_give_the_state_are_asked_again_later() -> None:
    story = started()
    bert = facts("bert", at(7))
    story.sees(bert)
    assert story.happens(SyncFailed(at(7), "bert hung up")) == ()
    assert story.phase is Phase.JOINING
    assert story.sees(bert) == ()
    assert story.reason == "could not get round 7: bert hung up"
    story.passes(DISTRUST_SECONDS)
    assert story.sees(bert) == (Synchronise(at(7), ("bert",)),)


# ---- who leads ---------------------------------------------------------------------------

NAMES = ("anna", "bert", "cleo")
ORDER = leading_order(SPEC.run_id, 5, NAMES)


def due(story: Story, phase: str = "training") -> tuple[Effect, ...]:
    """The view of a swarm of three that has trained enough for round 6."""
    others = [facts(name, at(5), phase) for name in NAMES if name != story.peer.peer_id]
    return story.sees(*others, own_tokens=TARGET)


def test_exactly_one_peer_leads_at_once() -> None:
    led = [name for name in NAMES if due(training(name))]
    assert led == ORDER[:1]


def test_the_leader_asks_everybody_at_work() -> None:
    story = training(ORDER[0])
    assert due(story) == (Lead(tuple(sorted(ORDER[1:]))),)


@pytest.mark.parametrize("place", [1, 2])
def test_the_next_in_the_order_leads_instead_of_a_silent_one(place: int) -> None:
    story = training(ORDER[place])
    for _ in range(place):
        assert due(story) == ()
        story.passes(LEADER_PATIENCE - 0.1)
        assert due(story) == ()
        story.passes(0.1)
    assert due(story) == (Lead(tuple(sorted(set(NAMES) - {ORDER[place]}))),)


def test_patience_counts_from_when_the_round_is_due() -> None:
    story = training(ORDER[1])
    others = [facts(name, at(5)) for name in NAMES if name != ORDER[1]]
    story.passes(LEADER_PATIENCE)
    assert story.sees(*others, own_tokens=0) == (), "not enough trained"
    assert due(story) == (), "due only now"
    story.passes(LEADER_PATIENCE)
    assert len(due(story)) == 1


@pytest.mark.parametrize(
    ("sustained", "elapsed", "leads"),
    [
        (0, 0.9, False),
        (0, 1.0, True),
        (7, 6.9, False),
        (7, 7.0, True),
        (900, 29.9, False),
        (900, 30, True),
    ],
)
def test_a_round_is_due_when_the_links_sustain_it(
    sustained: float, elapsed: float, leads: bool
) -> None:
    """And never later than the longest round of the run."""
    story = training(ORDER[0])
    story.now = story.peer.adopted_at + elapsed
    others = SwarmView(tuple(facts(name, at(5)) for name in ORDER[1:]))
    effects = story.happens(ViewSeen(others, 0.0, TARGET, sustained))
    assert (Lead(tuple(sorted(ORDER[1:]))) in effects) is leads


def test_a_second_view_does_not_lead_a_second_attempt() -> None:
    story = training(ORDER[0])
    assert len(due(story)) == 1
    assert due(story) == (), "before the attempt began"
    story.happens(AttemptBegan(ORDER[0]))
    story.passes(60)
    assert due(story) == (), "and while it is under way"


def test_nobody_leads_while_an_attempt_of_another_is_under_way() -> None:
    story = training(ORDER[0])
    story.happens(AttemptBegan(ORDER[1]))
    assert story.phase is Phase.AVERAGING
    assert story.reason == "round 6"
    assert due(story) == ()


def test_being_refused_the_lead_does_not_end_the_attempt_of_another() -> None:
    """Both went to lead at one moment; the other's call for a cut came first."""
    story = training(ORDER[0])
    assert len(due(story)) == 1
    story.happens(AttemptBegan(ORDER[1]))
    story.happens(AttemptEnded(ORDER[0], False, "round 5 is still being decided"))
    assert story.phase is Phase.AVERAGING
    story.passes(60)
    assert due(story) == (), "still one attempt at a time"
    assert story.happens(LeaveAsked()) == (Train(on=False),), "and it leaves after that round"


def test_a_void_round_says_why_and_is_tried_again_a_little_later() -> None:
    story = training(ORDER[0])
    due(story)
    story.happens(AttemptBegan(ORDER[0]))
    story.happens(AttemptEnded(ORDER[0], False, "every owner was lost"))
    assert story.phase is Phase.TRAINING
    assert due(story) == ()
    assert story.reason == "the last try at a round was void: every owner was lost"
    story.passes(RETRY_SECONDS)
    assert due(story) == (), "whoever failed comes last now"
    story.passes(2 * LEADER_PATIENCE)
    assert len(due(story)) == 1


def test_after_a_leader_failed_the_next_one_leads_without_waiting_for_it() -> None:
    story = training(ORDER[1])
    story.happens(AttemptBegan(ORDER[0]), AttemptEnded(ORDER[0], False, "fell silent"))
    story.passes(RETRY_SECONDS)
    assert len(due(story)) == 1


def test_a_committed_round_forgives_those_that_failed() -> None:
    story = training("anna", at(4))
    everybody = tuple(leading_order(SPEC.run_id, 5, NAMES))
    story.happens(AttemptBegan(everybody[0]), AttemptEnded(everybody[0], False, "fell silent"))
    assert story.peer.failed_leaders == {everybody[0]}
    story.happens(AttemptBegan("bert"), AttemptEnded("bert", True, ""))
    assert story.adopts(at(5)) == (Train(on=True),)
    assert (story.phase, story.reason) == (Phase.TRAINING, "round 6")
    assert story.peer.failed_leaders == frozenset()


def test_a_round_lasts_at_least_its_shortest_time() -> None:
    story = started(ORDER[0])
    story.adopts(at(5))
    story.passes(SPEC.round.min_seconds - 0.1)
    assert due(story) == ()
    story.passes(0.1)
    assert len(due(story)) == 1


def test_too_few_peers_are_said_with_what_to_do_about_it() -> None:
    story = training()
    for _ in range(3):
        assert story.sees(own_tokens=10 * TARGET) == ()
        story.passes(60)
    assert story.phase is Phase.TRAINING
    assert story.reason == f"1 of 2 peers needed to average; invite another: {INVITATION}"
    assert story.sees(facts("bert", None, "joining"), own_tokens=TARGET) == (), "not at work yet"
    assert story.reason.startswith("1 of 2 peers needed")


def test_a_round_is_not_tried_before_enough_of_the_others_have_adopted_the_last() -> None:
    story = training(ORDER[0])
    story.passes(SPEC.round.max_seconds)
    assert story.sees(facts("bert", at(4)), own_tokens=TARGET) == (), "it would be void"
    assert (story.phase, story.reason) == (Phase.TRAINING, "the others are about to adopt round 5")
    assert len(story.sees(facts(ORDER[1], at(5)), own_tokens=TARGET)) == 1


# ---- ahead and behind --------------------------------------------------------------------


def test_while_it_replays_several_rounds_it_does_not_begin_a_second_time() -> None:
    story = training()
    others = [facts("bert", at(8)), facts("cleo", at(8))]
    assert story.sees(*others) == (Synchronise(at(8), ("bert", "cleo")),)
    for round_ in (6, 7):
        assert story.adopts(at(round_)) == (Train(on=True),)
        assert story.sees(*others) == ()
        assert story.phase is Phase.SYNCING
    story.adopts(at(8))
    assert story.phase is Phase.TRAINING


def test_catching_up_ends_with_whatever_state_it_led_to() -> None:
    story = training()
    story.sees(facts("bert", at(8)))
    story.adopts(at(9))
    story.happens(Synchronised())
    assert (story.phase, story.reason) == (Phase.TRAINING, "round 10")
    assert story.sees(facts("bert", at(11))) == (Synchronise(at(11), ("bert",)),)


def test_a_peer_that_missed_a_round_takes_the_state_of_those_that_did_not() -> None:
    story = training()
    assert story.sees(facts("bert", at(6)), facts("cleo", at(6))) == (
        Synchronise(at(6), ("bert", "cleo")),
    )
    assert story.adopts(at(6)) == (Train(on=True),)


def test_a_round_that_could_not_be_adopted_leads_to_a_download() -> None:
    story = averaging()
    story.happens(FellBehind("round 5 was committed, but a part is missing"))
    assert story.phase is Phase.SYNCING
    assert "a part is missing" in story.reason
    assert story.sees(facts("bert", at(6))) == (Synchronise(at(6), ("bert",)),)


def test_the_minority_takes_the_state_of_the_majority() -> None:
    story = training(position=at(5, state=1))
    others = [facts("bert", at(5, state=2)), facts("cleo", at(5, state=2))]
    assert story.sees(*others) == (Synchronise(at(5, state=2), ("bert", "cleo")),)
    assert story.reason == "2 peers hold another state of round 5: taking theirs"


def test_the_majority_does_not_take_the_state_of_the_minority() -> None:
    story = training(position=at(5, state=2))
    others = [facts("bert", at(5, state=2)), facts("cleo", at(5, state=1))]
    assert not any(isinstance(effect, Synchronise) for effect in story.sees(*others))


def test_two_peers_of_different_states_end_up_with_one() -> None:
    first, second = training("anna", at(5, state=1)), training("bert", at(5, state=2))
    moves = (first.sees(facts("bert", at(5, state=2))), second.sees(facts("anna", at(5, state=1))))
    assert moves == ((), (Synchronise(at(5, state=1), ("anna",)),))


def test_one_record_from_a_far_round_stops_nobody_that_trains() -> None:
    """Nor does it get a place in the order, where the others would wait for it to lead."""
    names = (f"liar {number}" for number in range(1000))
    liar = next(it for it in names if leading_order(SPEC.run_id, 5, [*NAMES, it])[0] == it)
    story = training(ORDER[0])
    others = [facts(name, at(5)) for name in ORDER[1:]]
    (lead,) = story.sees(*others, facts(liar, at(10**12)), own_tokens=TARGET)
    assert isinstance(lead, Lead)


def test_a_peer_alone_with_a_liar_trains_on_between_its_questions() -> None:
    story = training()
    liar = facts("liar", at(10**12))
    assert story.sees(liar) == (Synchronise(at(10**12), ("liar",)),)
    story.happens(SyncFailed(at(10**12), "a description that does not fit the state"))
    assert story.phase is Phase.TRAINING
    story.passes(DISTRUST_SECONDS - 0.1)
    assert not any(isinstance(effect, Synchronise) for effect in story.sees(liar))
    story.passes(0.1)
    assert story.sees(liar) == (Synchronise(at(10**12), ("liar",)),)


def test_a_joining_peer_gets_past_a_liar_to_the_run() -> None:
    story = started()
    others = [facts("bert", at(5)), facts("liar", at(10**12))]
    story.sees(*others)
    story.happens(SyncFailed(at(10**12), "wrong block"))
    assert story.sees(*others) == (Synchronise(at(5), ("bert",)),)


def test_a_swarm_that_is_lost_is_joined_again_without_losing_the_state() -> None:
    story = training(ORDER[0])
    story.happens(AttemptBegan(ORDER[1]), SwarmLost("p2pd ended with status -9"))
    assert story.reason == "joining the swarm again: p2pd ended with status -9"
    assert due(story) == (), "nobody to lead"
    story.happens(SwarmJoined())
    assert len(due(story)) == 1, "the attempt that was cut off is forgotten"


def test_a_download_that_the_lost_swarm_cut_off_is_asked_for_again() -> None:
    story = started()
    bert = facts("bert", at(7))
    story.sees(bert)
    story.happens(SwarmLost("p2pd ended with status -9"), SwarmJoined())
    assert story.phase is Phase.JOINING
    assert story.sees(bert) == (Synchronise(at(7), ("bert",)),)


# ---- the trainer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        ("too_large", Exit.NOT_ENOUGH_MEMORY),
        ("spec", Exit.BAD_SPEC),
        ("data", Exit.DATA_UNAVAILABLE),
        ("disk", Exit.NOT_ENOUGH_DISK),
    ],
)
def test_what_a_restart_cannot_mend_stops_the_peer(cause: str, code: Exit) -> None:
    story = Story()
    assert story.happens(TrainerLost(cause, "this is why")) == (Stop(code, "this is why"),)
    assert story.phase is Phase.STOPPED


@pytest.mark.parametrize("cause", ["memory", "killed", "crash", "other"])
def test_a_dead_trainer_is_restarted(cause: str) -> None:
    story = training()
    assert story.happens(TrainerLost(cause, "this is why")) == (RestartTrainer(),)
    assert story.reason == "restarting the trainer: this is why"
    assert due(story) == (), "nobody to cut here"
    assert story.happens(TrainerReady()) == (Train(on=True),)
    assert story.phase is Phase.TRAINING


def test_while_its_trainer_does_not_answer_a_peer_leads_nothing_and_nobody_counts_on_it() -> None:
    story = training()
    trouble = "the trainer has not answered for 20 s"
    seen = ViewSeen(SwarmView((facts("bert", at(5)),)), 0.0, TARGET, trainer_trouble=trouble)
    assert story.happens(seen) == ()
    assert (story.phase, story.reason) == (Phase.SYNCING, trouble)
    assert story.phase.value not in AT_WORK

    story.sees(facts("bert", at(5)))
    assert (story.phase, story.reason) == (Phase.TRAINING, "round 6")


def test_a_trainer_that_keeps_dying_is_given_up() -> None:
    story = training()
    for _ in range(MAX_TRAINER_RESTARTS):
        assert story.happens(TrainerLost("crash", "boom")) == (RestartTrainer(),)
        story.happens(TrainerReady())
    (stop,) = story.happens(TrainerLost("crash", "the last boom"))
    assert stop == Stop(
        Exit.TRAINER_FAILED,
        f"the trainer failed {MAX_TRAINER_RESTARTS + 1} times within an hour; the last time: "
        "the last boom",
    )


def test_looking_for_a_micro_batch_that_fits_is_no_failure() -> None:
    story = training()
    for _ in range(2 * MAX_TRAINER_RESTARTS):
        lost = TrainerLost("memory", "out of memory", smaller=True)
        assert story.happens(lost) == (RestartTrainer(),)
        story.happens(TrainerReady())


def test_a_trainer_that_dies_now_and_then_is_not_given_up() -> None:
    story = training()
    for _ in range(3 * MAX_TRAINER_RESTARTS):
        assert story.happens(TrainerLost("crash", "boom")) == (RestartTrainer(),)
        story.happens(TrainerReady())
        story.passes(RESTARTS_COUNT_SECONDS / MAX_TRAINER_RESTARTS)


# ---- leaving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(lambda: Story(), id="starting"),
        pytest.param(lambda: started(), id="joining"),
        pytest.param(lambda: training(), id="training"),
    ],
)
def test_a_peer_with_no_round_under_way_leaves_at_once(story: Any) -> None:
    peer: Story = story()
    assert peer.happens(LeaveAsked()) == (Stop(0, "asked to leave"),)
    assert peer.phase is Phase.STOPPED


def test_a_download_does_not_hold_up_leaving() -> None:
    story = started()
    story.sees(facts("bert", at(7)))
    assert story.happens(LeaveAsked()) == (Stop(0, "asked to leave"),)


@pytest.mark.parametrize(
    "end",
    [
        AttemptEnded("bert", True, ""),
        AttemptEnded("bert", False, "every owner was lost"),
        FellBehind("round 5 was committed, but a part is missing"),
        SwarmLost("p2pd ended with status -9"),
    ],
    ids=["committed", "void", "fell behind", "swarm lost"],
)
def test_a_peer_in_a_round_leaves_when_the_round_is_over(end: Event) -> None:
    story = averaging("bert")
    assert story.happens(LeaveAsked()) == (Train(on=False),)
    assert (story.phase, story.reason) == (Phase.LEAVING, "leaving after this round")
    assert story.happens(LeaveAsked()) == (), "it heard the first time"
    assert story.sees(facts("bert", at(9))) == (), "nothing new is begun"
    assert story.happens(end) == (Stop(0, "asked to leave"),)


def test_the_trainer_is_not_needed_any_more_by_a_peer_that_leaves() -> None:
    story = averaging("bert")
    story.happens(LeaveAsked())
    assert story.happens(TrainerLost("too_large", "whatever")) == ()
    assert story.happens(TrainerReady()) == (Train(on=False),), "one that was being restarted"
    assert story.happens(AttemptEnded("bert", True, "")) == (Stop(0, "asked to leave"),)


# ---- the end of the run ------------------------------------------------------------------


def test_at_the_target_the_peer_stops_training_and_wraps_up() -> None:
    story = training()
    assert story.adopts(at(6), SPEC.stop.tokens - 1) == (Train(on=True),)
    assert story.adopts(at(7), SPEC.stop.tokens) == (Train(on=False), WrapUp())
    assert story.phase is Phase.LEAVING
    assert "target" in story.reason


def test_it_stays_for_those_that_missed_the_last_round() -> None:
    story = finished()
    behind = facts("bert", at(5))
    assert story.sees() == (), "not wrapped up yet"
    story.happens(WrappedUp())
    assert story.sees(behind) == ()
    assert story.sees(facts("bert", None)) == (), "nor for one that is just joining"
    assert story.sees(facts("bert", at(6))) == (Stop(0, "the run has reached its target"),)


def test_it_does_not_stay_for_ever() -> None:
    story = finished()
    story.happens(WrappedUp())
    story.passes(LINGER_SECONDS - 0.1)
    assert story.sees(facts("bert", at(5))) == ()
    story.passes(0.1)
    assert story.sees(facts("bert", at(5))) == (Stop(0, "the run has reached its target"),)


def test_it_stays_for_a_coordinator_that_wants_the_model_and_goes_when_that_has_it() -> None:
    story = finished()
    story.happens(WrappedUp())
    story.passes(MODEL_SECONDS - 1)
    assert story.hears_that_the_model_is_wanted(giving=True) == ()
    assert "handing over its model" in story.reason
    story.passes(MODEL_SECONDS - 1)
    assert story.hears_that_the_model_is_wanted(giving=False) == (), "it was given until now"
    assert story.sees() == (Stop(0, "the run has reached its target"),)


def test_a_coordinator_that_wants_the_model_and_does_not_fetch_it_holds_nobody_up() -> None:
    story = finished()
    story.happens(WrappedUp())
    story.passes(MODEL_SECONDS)
    (effect,) = story.hears_that_the_model_is_wanted(giving=False)
    assert effect == Stop(0, "the run has reached its target")


def test_a_download_without_an_end_holds_nobody_up_for_ever() -> None:
    story = finished()
    story.happens(WrappedUp())
    for _ in range(int(LONGEST_LINGER_SECONDS / MODEL_SECONDS) - 1):
        story.passes(MODEL_SECONDS)
        assert story.hears_that_the_model_is_wanted(giving=True) == ()
    story.passes(MODEL_SECONDS)
    (effect,) = story.hears_that_the_model_is_wanted(giving=True)
    assert effect == Stop(0, "the run has reached its target")


def test_a_peer_that_joins_after_the_end_takes_the_model_and_wraps_up() -> None:
    story = started()
    story.sees(facts("bert", at(6)))
    assert story.adopts(at(6), SPEC.stop.tokens) == (Train(on=False), WrapUp())


def test_who_asks_a_finished_peer_to_leave_need_not_wait() -> None:
    assert finished().happens(LeaveAsked()) == (Stop(0, "asked to leave"),)


def test_a_round_under_way_after_the_end_does_not_stop_a_peer_that_stays_for_others() -> None:
    story = finished()
    story.happens(AttemptBegan("bert"))
    assert story.happens(AttemptEnded("bert", False, "void")) == ()
    assert story.phase is Phase.LEAVING


# ---- whatever happens --------------------------------------------------------------------

POSITIONS = [at(round_, state) for round_, state in product((0, 5, 6, 10**12), (0, 1))]
positions = st.sampled_from(POSITIONS)
names = st.sampled_from(NAMES)
views = st.lists(
    st.builds(
        facts,
        names,
        st.none() | positions,
        st.sampled_from([phase.value for phase in Phase] + ["?"]),
    ),
    max_size=3,
    unique_by=lambda it: it.peer_id,
).map(lambda peers: SwarmView(tuple(peers)))
events = st.one_of(
    st.just(TrainerReady()),
    st.builds(TrainerLost, st.sampled_from(["memory", "killed", "crash", "data"]), st.just("why")),
    st.just(SwarmJoined()),
    st.just(SwarmLost("why")),
    st.builds(
        ViewSeen,
        views,
        st.just(0.0),
        st.sampled_from([0, TARGET]),
        st.sampled_from([0.0, 10.0, 1e9]),
    ),
    st.builds(StateAdopted, positions, st.sampled_from([0, 100, SPEC.stop.tokens])),
    st.builds(SyncFailed, positions, st.just("why")),
    st.just(Synchronised()),
    st.builds(Forked, positions, st.just(3)),
    st.builds(TakeInFailed, positions, st.just("why")),
    st.just(FellBehind("why")),
    st.builds(AttemptBegan, names),
    st.builds(AttemptEnded, names, st.booleans(), st.just("why")),
    st.just(LeaveAsked()),
    st.just(WrappedUp()),
)
steps = st.lists(st.tuples(events, st.sampled_from([0.0, 0.5, 3.0, 60.0])), max_size=40)
beginnings = st.sampled_from(
    [
        Story,
        started,
        training,
        averaging,
        lambda: started(checkpoint=at(5)),
        lambda: started(known_round=9),
        finished,
    ]
)


@settings(max_examples=300, deadline=None)
@given(beginnings, steps)
def test_whatever_happens_the_machine_keeps_its_promises(begin: Any, steps: Any) -> None:
    story: Story = begin()
    leader = story.peer.attempt_by
    for event, seconds in steps:
        story.passes(seconds)
        before = story.peer
        effects = story.happens(event)
        after = story.peer
        assert after.reason, "a state without a reason"
        assert after.effects == (), "effects are handed out, not kept"
        kinds = [type(effect) for effect in effects]
        if before.phase is Phase.STOPPED:
            assert effects == ()
            assert after == before
        assert (Stop in kinds) == (after.phase is Phase.STOPPED != before.phase)
        if isinstance(event, AttemptBegan):
            leader = event.leader
        ends = isinstance(event, AttemptEnded) and event.leader == leader
        if ends or isinstance(event, FellBehind | SwarmLost):
            leader = None
        if Lead in kinds:
            assert isinstance(event, ViewSeen)
            assert leader is None, "two attempts at once"
            assert before.position is not None
            assert before.trainer_ready
            leader = after.peer_id
        moving = {BeginFromSeed, ResumeCheckpoint, Synchronise} & set(kinds)
        assert len(moving) <= 1
        if moving:
            assert before.syncing is None
            assert not before.entering
        if Synchronise in kinds:
            (sync,) = (effect for effect in effects if isinstance(effect, Synchronise))
            assert sync.holders
            assert story.peer.peer_id not in sync.holders
        if before.phase is Phase.LEAVING:
            assert after.phase in (Phase.LEAVING, Phase.STOPPED)
            assert Train(on=True) not in effects


# ---- while the model is being built --------------------------------------------------------


def test_a_newcomer_downloads_while_its_model_is_built() -> None:
    story = Story()
    story.happens(SwarmJoined())
    assert story.sees(facts("bert", at(9))) == (Synchronise(at(9), ("bert",)),)
    assert story.adopts(at(9)) == (), "there is nobody to train yet"
    assert (story.phase, story.reason) == (Phase.JOINING, "building the model")
    assert story.happens(TrainerReady()) == (Train(on=True),)


def test_who_has_a_checkpoint_waits_for_its_model_to_take_it_up() -> None:
    story = Story(checkpoint=at(8))
    story.happens(SwarmJoined())
    assert story.sees(facts("bert", at(9))) == ()


def test_a_state_that_does_not_fit_the_model_is_dropped_and_not_asked_for_again_soon() -> None:
    story = Story()
    story.happens(SwarmJoined())
    story.sees(facts("eve", at(9)))
    story.adopts(at(9))
    story.happens(StateDropped(at(9), "it has 5 parameters"))
    assert "5 parameters" in story.reason
    story.happens(TrainerReady())
    assert story.peer.position is None
    assert story.sees(facts("eve", at(9))) == ()


# ---- a split swarm -----------------------------------------------------------------------


HERE, THERE = at(7, state=1), at(9, state=2)
LARGER = [facts(name, THERE) for name in ("bert", "cleo", "dora")]


def yielding(**fields: Any) -> Story:
    """In the smaller half, which has gone on by itself since round 5."""
    story = training(position=HERE, **fields)
    assert story.sees(facts("emil", HERE), *LARGER) == (Synchronise(THERE, LARGER_NAMES),)
    assert story.happens(Forked(THERE, 5)) == ()
    return story


LARGER_NAMES = tuple(it.peer_id for it in LARGER)


def test_the_smaller_half_trains_on_and_waits_to_be_taken_in() -> None:
    story = yielding()
    assert story.phase is Phase.TRAINING
    assert "split after round 5" in story.reason
    assert "round 9" in story.reason
    story.passes(SPEC.round.max_seconds)
    assert story.sees(facts("emil", HERE), *LARGER) == (), "it leads no round meanwhile"


def test_once_it_is_taken_in_it_follows() -> None:
    story = yielding()
    merged = at(10, state=2)
    others = [
        replace(facts(name, merged), recent=(THERE.digest, HERE.digest)) for name in LARGER_NAMES
    ]
    assert story.sees(*others) == (Synchronise(merged, LARGER_NAMES),)
    story.adopts(merged)
    assert story.peer.yields_since is None


def test_a_half_that_is_not_taken_in_gives_its_rounds_up_in_the_end() -> None:
    story = yielding()
    story.passes(YIELD_SECONDS + 1)
    assert story.sees(*LARGER) == (Synchronise(THERE, LARGER_NAMES, give_up=True),)


def test_a_half_whose_state_is_being_downloaded_waits_for_that_to_end_but_not_for_ever() -> None:
    story = yielding()
    giving = ViewSeen(SwarmView(tuple(LARGER)), 0.0, 0, giving=True)
    story.passes(YIELD_SECONDS)
    assert story.happens(giving) == ()
    story.passes(YIELD_SECONDS)
    assert story.sees(*LARGER) == ()
    story.passes(LONGEST_YIELD_SECONDS)
    assert story.happens(giving) == (Synchronise(THERE, LARGER_NAMES, give_up=True),)


def test_of_three_parts_the_last_one_waits_while_another_is_taken_in_but_not_for_ever() -> None:
    story = yielding()
    others = yielders(at(8, state=3))
    for _ in range(3):
        story.passes(YIELD_SECONDS - 1)
        assert story.sees(*LARGER, *others) == ()
    story.passes(LONGEST_YIELD_SECONDS)
    assert story.sees(*LARGER, *others) == (Synchronise(THERE, LARGER_NAMES, give_up=True),)


def test_who_only_says_that_a_half_was_taken_in_does_not_prolong_its_wait() -> None:
    story = yielding()
    liar = replace(facts("eve", THERE), recent=(HERE.digest,))
    for _ in range(3):
        story.passes(YIELD_SECONDS / 2)
        (effect,) = story.sees(liar, *LARGER)
        assert isinstance(effect, Synchronise)
        story.happens(Forked(THERE, 5))
    assert story.sees(*LARGER) == (Synchronise(THERE, LARGER_NAMES, give_up=True),)


def test_a_half_that_has_become_the_larger_goes_on_by_itself() -> None:
    story = yielding()
    story.sees(facts("emil", HERE), LARGER[0])
    assert story.peer.yields_since is None


def yielders(position: Position = THERE) -> list[PeerFacts]:
    return [replace(facts(name, position), yields=True) for name in ("yves", "zoe")]


def test_the_larger_half_gets_what_waits_once_and_goes_on_with_its_rounds() -> None:
    story = training(position=HERE)
    friends = [facts(name, HERE) for name in ("bert", "cleo")]
    effects = story.sees(*friends, *yielders(), own_tokens=SPEC.round.target_tokens)
    assert TakeIn(THERE, ("yves", "zoe")) in effects
    effects = story.sees(*friends, *yielders())
    assert not any(isinstance(it, TakeIn) for it in effects), "it is under way"


def test_one_peer_alone_does_not_make_the_others_merge_its_state() -> None:
    story = training(position=HERE)
    effects = story.sees(facts("emil", HERE), yielders()[0])
    assert not any(isinstance(it, TakeIn) for it in effects)


def test_who_waits_is_not_called_to_a_round() -> None:
    story = training(position=HERE)
    friends = [facts("bert", HERE), facts("cleo", HERE)]
    effects = story.sees(*friends, *yielders(HERE), own_tokens=SPEC.round.target_tokens)
    leads = [it for it in effects if isinstance(it, Lead)]
    assert all("yves" not in it.others for it in leads)


def test_what_cannot_be_taken_in_is_tried_again_later() -> None:
    story = training(position=HERE)
    friends = [facts(name, HERE) for name in ("bert", "cleo")]
    story.sees(*friends, *yielders())
    story.happens(TakeInFailed(THERE, "nobody holds it"))
    assert not any(isinstance(it, TakeIn) for it in story.sees(*friends, *yielders()))
    story.passes(DISTRUST_SECONDS + 1)
    assert TakeIn(THERE, ("yves", "zoe")) in story.sees(*friends, *yielders())


def test_what_was_being_taken_in_when_the_network_broke_is_got_again() -> None:
    story = training(position=HERE)
    friends = [facts(name, HERE) for name in ("bert", "cleo")]
    story.sees(*friends, *yielders())
    story.happens(SwarmLost("p2pd ended"), SwarmJoined())
    assert TakeIn(THERE, ("yves", "zoe")) in story.sees(*friends, *yielders())


def test_a_head_that_this_peer_descends_from_moves_it_nowhere() -> None:
    story = training(position=HERE)
    behind = [facts(name, at(6)) for name in ("bert", "cleo")]
    view = ViewSeen(SwarmView(tuple(behind)), 0.0, 0, ancestors=(at(6).digest,))
    assert not any(isinstance(it, Synchronise) for it in story.happens(view))
    fork = ViewSeen(SwarmView(tuple(behind)), 0.0, 0, ancestors=(bytes(31) + b"x",))
    assert Synchronise(at(6), ("bert", "cleo")) in story.happens(fork), "that is another history"
