"""The life of a run: which wishes of its owner are granted, and where it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.membership.refusals import RunStateError
from coordinator.membership.run_life import Course, Plan, change, ended, told_by_most
from swarmpb.membership import RunState

DRAFT, OPEN, PAUSED = RunState.DRAFT, RunState.OPEN, RunState.PAUSED
FINISHING, FINISHED = RunState.FINISHING, RunState.FINISHED
TARGET = 1_000_000
HALFWAY = Course(tokens=TARGET // 2, target_tokens=TARGET, cooldown_tokens=1000)
STATES = st.sampled_from([DRAFT, OPEN, PAUSED, FINISHING, FINISHED])


def ask(now: Plan, *wishes: RunState, course: Course = HALFWAY) -> Plan:
    for wanted in wishes:
        now = change(now, wanted, "", 0, course)
    return now


def test_a_draft_is_opened_paused_goes_on_and_is_finished() -> None:
    plan = ask(Plan(DRAFT), OPEN, PAUSED, OPEN, FINISHING)
    assert plan == Plan(FINISHING, "", TARGET // 2 + 1000, 1000)
    assert ended(plan, Course(TARGET // 2 + 999, TARGET, 1000)) is None
    end = ended(plan, Course(TARGET // 2 + 1000, TARGET, 1000))
    assert end is not None
    assert (end.state, end.reason) == (FINISHED, "its owner has finished it")


def test_a_run_that_is_paused_while_it_finishes_goes_on_finishing() -> None:
    finishing = ask(Plan(OPEN), FINISHING)
    assert ask(finishing, PAUSED, OPEN) == finishing


def test_a_finish_can_be_called_off_and_the_rate_is_what_it_was() -> None:
    assert ask(Plan(OPEN), FINISHING, OPEN) == Plan(OPEN)


def test_a_finish_never_ends_behind_the_spec_and_at_once_without_a_cooldown() -> None:
    late = Course(TARGET - 10, TARGET, 1000)
    assert ask(Plan(OPEN), FINISHING, course=late) == Plan(FINISHING, "", TARGET, 10)
    none = Course(TARGET // 2, TARGET, 0)
    assert ask(Plan(OPEN), FINISHING, course=none).state == FINISHED
    assert change(Plan(OPEN), FINISHING, "", 77, none).stop_tokens == TARGET // 2 + 77


@pytest.mark.parametrize("state", [OPEN, PAUSED, FINISHING])
def test_a_run_that_reaches_its_target_is_finished(state: RunState) -> None:
    reached = ended(Plan(state), Course(TARGET, TARGET, 0))
    assert reached is not None
    assert (reached.state, reached.reason) == (FINISHED, "its target is reached")


@pytest.mark.parametrize(
    ("state", "wanted", "words"),
    [
        (FINISHED, OPEN, "finished, and stays so"),
        (FINISHED, FINISHING, "finished, and stays so"),
        (DRAFT, FINISHING, "open it with"),
        (DRAFT, PAUSED, "open it with"),
        (OPEN, DRAFT, "it is open"),
        (OPEN, 99, "no state 99"),
        (OPEN, RunState.RUN_STATE_UNKNOWN, "no state 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    state: RunState, wanted: RunState, words: str
) -> None:
    with pytest.raises(RunStateError, match=words):
        change(Plan(state), wanted, "", 0, HALFWAY)


@given(
    st.sampled_from([DRAFT, OPEN, PAUSED, FINISHED]),
    st.lists(STATES, max_size=12),
    st.integers(0, 2 * TARGET),
    st.integers(0, TARGET),
)
def test_whatever_is_asked_for_the_end_lies_ahead_and_a_finished_run_stays_finished(
    state: RunState, wishes: list[RunState], tokens: int, cooldown: int
) -> None:
    plan, course = Plan(state), Course(tokens, TARGET, 1000)
    for wanted in wishes:
        before = plan
        try:
            plan = change(plan, wanted, "", cooldown, course)
        except RunStateError:
            assert plan == before
        if before.state == FINISHED:
            assert plan.state == FINISHED
        assert plan.stop_tokens <= TARGET
        if plan.state == FINISHING:
            assert plan.stop_tokens > tokens, "it would have ended already"
            assert plan.cooldown_tokens == plan.stop_tokens - tokens


@given(
    st.lists(st.integers(0, TARGET - 1), min_size=1, max_size=20),
    st.lists(st.just(10**18), max_size=20),
)
def test_liars_that_are_no_majority_cannot_end_a_run(honest: list[int], lies: list[int]) -> None:
    told = told_by_most(honest + lies[: len(honest)])
    assert min(honest) <= told <= max(honest)


def test_nobody_live_says_nothing() -> None:
    assert told_by_most([]) == 0
