"""Plans of faults: what can be written, what cannot, and what is drawn at random."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.faults.plan import (
    COUNTED,
    Freeze,
    Join,
    Kill,
    Leave,
    Place,
    Plan,
    PlanError,
    Point,
    Return,
    Split,
    parse,
)
from tests.faults.tapes import CALM_ROUNDS, FIRST_ROUND, tape

TAPE = """\
kill peer 3 at round 12 after sending half its parts
kill peer 2 at round 13 after answering 2 parts
freeze peer 5 at round 14 before voting for 6.5 s
freeze peer 5 at round 15 for 6 s
leave peer 1 at round 16
return peer 3 at round 18
kill peer 0 at round 19
join peer 6 at round 20
split 4 5 | 6 7 at round 40 for 3 rounds
"""


def test_a_plan_reads_as_it_is_said() -> None:
    assert parse(TAPE).faults == (
        Kill(3, 12, Point(Place.SENDING)),
        Kill(2, 13, Point(Place.ANSWERING, 2)),
        Freeze(5, 14, 6.5, Point(Place.BEFORE_VOTE)),
        Freeze(5, 15, 6.0),
        Leave(1, 16),
        Return(3, 18),
        Kill(0, 19),
        Join(6, 20),
        Split(((4, 5), (6, 7)), 40, 3),
    )
    assert str(parse(TAPE)) == TAPE


def test_comments_and_spaces_say_nothing() -> None:
    assert parse("\n# nobody\n  kill  peer 1 at round 2 # because\n").faults == (Kill(1, 2),)


points = st.one_of(
    st.none(),
    st.builds(Point, st.sampled_from(Place)),
    st.builds(Point, st.sampled_from(COUNTED), st.integers(1, 99)),
)
rounds = st.integers(0, 10**6)
seconds = st.integers(1, 36_000).map(lambda tenths: tenths / 10)
disturbances = st.one_of(
    st.builds(Freeze, st.integers(0, 7), rounds, seconds, points),
    st.builds(Split, st.just(((0, 1), (2, 3), (4, 5, 6, 7))), rounds, st.integers(1, 50)),
)
ends = st.builds(Kill, st.integers(8, 60), st.just(10**6), points) | st.builds(
    Leave, st.integers(8, 60), st.just(10**6)
)


@given(st.lists(disturbances, max_size=8), st.lists(ends, max_size=5, unique_by=lambda it: it.peer))
def test_every_plan_prints_as_it_parses(
    those: list[Freeze | Split], last: list[Kill | Leave]
) -> None:
    plan = Plan((*those, *last))
    assert parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("murder peer 1 at round 2", "'murder' is none of kill, freeze, leave, join"),
        ("kill peer one at round 2", "not of the form: kill peer N at round N"),
        ("kill peer 1 at round 2 after lunch", "no such point: 'after lunch'; there are: before"),
        ("kill peer 1 at round 2 after sending 0 parts", "after 0 parts"),
        ("kill peer 1 at round 2000000", "a round above 1000000"),
        ("freeze peer 1 at round 2", "not of the form: freeze peer N at round N"),
        ("freeze peer 1 at round 2 for 0 s", "freeze for more than 0"),
        ("split 0 1 | 1 2 at round 2 for 3 rounds", "a peer on two sides"),
        ("split 0 1 2 at round 2 for 3 rounds", "not of the form: split"),
        ("split 0 | 1 at round 2 for 0 rounds", "at least 1 round"),
        ("kill peer 8 at round 2", "there is no peer 8"),
        ("return peer 1 at round 2", "peer 1 is there"),
    ],
)
def test_what_cannot_be_is_named_with_its_line(line: str, problem: str) -> None:
    with pytest.raises(PlanError) as error:
        parse(f"# a comment\n{line}\n", peers=8)
    (said,) = error.value.problems
    assert said.startswith("line 2: ")
    assert problem.split(";", maxsplit=1)[0] in said


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ("kill peer 1 at round 2\nfreeze peer 1 at round 3 for 1 s", "line 2: peer 1 was killed"),
        ("leave peer 1 at round 2\nkill peer 1 at round 3", "line 2: peer 1 has left"),
        ("join peer 1 at round 4\nkill peer 1 at round 3", "line 2: peer 1 has not joined"),
        ("join peer 1 at round 4\njoin peer 1 at round 5", "line 2: peer 1 joins twice"),
    ],
)
def test_nothing_happens_to_a_peer_that_is_not_there(plan: str, problem: str) -> None:
    with pytest.raises(PlanError) as error:
        parse(plan)
    assert error.value.problems == [problem]


def test_all_wrong_lines_are_named_at_once() -> None:
    with pytest.raises(PlanError) as error:
        parse("kill\nkill peer 1 at round 1\nfreeze\n")
    assert [it.split(":")[0] for it in error.value.problems] == ["line 1", "line 3"]


# ---- tapes -----------------------------------------------------------------------------

sizes = st.tuples(st.integers(3, 12), st.integers(8, 80))


@given(st.integers(), sizes)
@example(48, (9, 8))  # more happens than there are rounds
def test_a_tape_is_the_same_for_the_same_seed(seed: int, size: tuple[int, int]) -> None:
    drawn = tape(seed, *size)
    assert drawn == tape(seed, *size)
    assert parse(str(drawn), peers=size[0]) == drawn


def test_tapes_of_other_seeds_are_others() -> None:
    assert len({str(tape(seed, 8, 60)) for seed in range(20)}) == 20


@given(st.integers(), sizes)
def test_a_tape_leaves_a_majority_up(seed: int, size: tuple[int, int]) -> None:
    peers, rounds = size
    plan = tape(seed, peers, rounds)
    up, joined = set(range(peers)) - plan.late, peers - len(plan.late)
    for fault in sorted(plan.faults, key=lambda it: (it.round, isinstance(it, Kill | Leave))):
        assert FIRST_ROUND <= fault.round <= rounds - CALM_ROUNDS
        if isinstance(fault, Join):
            joined += 1
            up.add(fault.peer)
        elif isinstance(fault, Return):
            up.add(fault.peer)
        elif isinstance(fault, Split):
            assert 2 * len(up & set(fault.sides[1])) > len(up)
        elif isinstance(fault, Kill | Leave):
            joined -= isinstance(fault, Leave)
            up.discard(fault.peer)
        assert 2 * len(up) > joined
    assert len(plan.killed()) < peers / 2


def test_the_large_tape_has_every_kind_of_fault() -> None:
    for seed in range(20):
        faults = tape(seed, 8, 60).faults
        kinds = {type(it) for it in faults}
        assert kinds == {Kill, Freeze, Leave, Join, Return, Split}
        points = {it.point for it in faults if isinstance(it, Kill)}
        assert {Point(Place.SENDING), Point(Place.ANSWERING, 2)} <= points
