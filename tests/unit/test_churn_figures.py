"""What a run under faults comes to, told from notes made up for the purpose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.churn_figures import Figures, figures, idle, loss_ratio
from tests.benchmarks.churn_rounds import Happened, Story

TOKENS = 10
STEPS = [(float(at), at + 1.0) for at in range(10)]


def note(
    at: float, round_: int, how: str = "merged", digest: str = "", parent: str = "", tokens: int = 0
) -> dict[str, Any]:
    return {
        "at": at, "how": how, "round": round_, "digest": digest or f"d{round_}",
        "parents": [parent or f"d{round_ - 1}"], "tokens": tokens, "seconds": 0.5,
        "attempt": f"a{digest or round_}",
    }  # fmt: skip


def longest(story: Story, happened: list[Happened]) -> float:
    return max(length for _, length in idle(story, happened))


def measured(stories: list[Story], happened: list[Happened] | None = None) -> Figures:
    return figures("tape", 1, stories, happened or [], TOKENS, 2.0, rounds=99)


def test_what_was_trained_before_the_last_cut_should_be_merged() -> None:
    notes = [note(4.2, 1, tokens=30), note(8.2, 2, tokens=30)]
    result = measured([Story(0, notes, STEPS, True), Story(1, notes, STEPS, False)])
    assert (result.computed, result.merged, result.share) == (80, 60, 60 / 80)
    assert result.run_tokens == 120
    assert result.rounds == 2
    assert result.round_seconds == pytest.approx(4.0)
    assert result.disagreements == []


def test_work_that_only_a_fork_has_is_not_merged() -> None:
    """Unless a state was made of both."""
    own = [note(2.0, 1, tokens=10), note(4.0, 2, digest="fork", tokens=20)]
    others = [note(2.0, 1, tokens=10), note(4.0, 2, tokens=10), note(6.0, 3, tokens=10)]
    stories = [Story(0, own, STEPS, True), Story(1, others, STEPS, True)]
    split = Happened(3.0, "split 0 | 1 at round 1 for 2 rounds", 7.0)
    given_up = measured(stories, [split])
    assert (given_up.merged, given_up.forked, given_up.disagreements) == (40, 1, [])
    others[-1]["parents"] = ["d2", "fork"]
    taken_in = measured(stories, [split])
    assert (taken_in.merged, taken_in.forked) == (60, 0)


def test_two_digests_of_a_round_are_a_disagreement_unless_the_network_was_split() -> None:
    mine = [note(2.0, 1), note(3.0, 2)]
    theirs = [note(2.0, 1, digest="other")]
    stories = [Story(0, mine, STEPS, True), Story(1, theirs, STEPS, True)]
    (said,) = measured(stories).disagreements
    assert said.startswith("round 1: ")
    across = Happened(1.0, "split 0 2 | 1 at round 0 for 3 rounds", 9.0)
    assert measured(stories, [across]).disagreements == []
    within = Happened(1.0, "split 0 1 | 2 at round 0 for 3 rounds", 9.0)
    stories.append(Story(2, theirs, STEPS, True))
    assert len(measured(stories, [within]).disagreements) == 1


def test_the_longest_gap_between_inner_steps_counts_without_the_own_freeze() -> None:
    steps = [(0.0, 1.0), (1.5, 2.5), (8.0, 9.0)]
    story = Story(3, [], steps, True)
    assert longest(story, []) == 5.5
    frozen = [Happened(2.6, "freeze peer 3 at round 1 for 5 s", 7.6)]
    assert longest(story, frozen) == pytest.approx(0.5)
    others = [Happened(2.6, "freeze peer 4 at round 1 for 5 s", 7.6)]
    assert longest(story, others) == 5.5


def test_a_recovery_ends_with_the_next_merged_work_of_all_that_were_hit() -> None:
    stories = [
        Story(0, [note(2.0, 1), note(12.0, 3)], STEPS, True),
        Story(1, [note(2.0, 1), note(15.0, 4)], STEPS, True),
        Story(2, [note(2.0, 1), note(8.0, 2), note(12.0, 3), note(15.0, 4)], STEPS, True),
    ]
    happened = [
        Happened(3.0, "split 0 1 | 2 at round 1 for 2 rounds", 10.0),
        Happened(3.0, "freeze peer 2 at round 1 for 4 s", 7.0),
        Happened(16.0, "return peer 1 at round 4", 16.0),
        Happened(16.0, "kill peer 1 at round 4", 0.0),
    ]
    seconds = [it for _, it in measured(stories, happened).recoveries]
    assert seconds == [5.0, 1.0, None]


def test_who_is_hit_again_before_it_has_recovered_says_nothing_of_the_first_fault() -> None:
    stories = [Story(0, [note(2.0, 1), note(20.0, 5)], STEPS, False)]
    happened = [
        Happened(5.0, "return peer 0 at round 2", 5.0),
        Happened(8.0, "kill peer 0 at round 3", 0.0),
        Happened(15.0, "return peer 0 at round 4", 15.0),
    ]
    assert measured(stories, happened).recoveries == [("return peer 0 at round 4", 5.0)]


def test_a_newcomer_has_the_time_of_its_link_and_a_round() -> None:
    stories = [
        Story(0, [note(2.0, 1), note(6.0, 2), note(10.0, 3)], STEPS, True),
        Story(1, [note(10.0, 3)], STEPS, True),
    ]
    result = measured(stories, [Happened(5.0, "join peer 1 at round 1", 5.0)])
    ((seconds, aim),) = result.joins
    assert (seconds, aim) == pytest.approx((5.0, 1.3 * 2.0 + 4.0))


def test_losses_are_compared_at_the_same_tokens_near_the_end() -> None:
    calm = [(0, 5.0), (100, 3.0), (200, 1.0)]
    assert loss_ratio([(0, 9.0), (150, 2.2), (170, 1.76)], calm) == pytest.approx(1.1)
    assert loss_ratio([], calm) is None


def test_chunks_that_were_passed_over_are_skipped_and_those_done_again_counted() -> None:
    early, late = note(2.0, 1), note(6.0, 11)
    early |= {"chunks": [(0, 6), (8, 12)], "claims": 10}  # ten are done: an orderly run is at 10
    late |= {"chunks": [(0, 7), (8, 50)], "claims": 51}  # 7 is still to be done
    result = measured([Story(0, [early, late | {"parents": ["d1"]}], STEPS, True)])
    assert result.skipped == 1
    assert result.twice == pytest.approx(2 / 51)
