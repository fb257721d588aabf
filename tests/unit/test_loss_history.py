"""The loss since a peer started: all of it, in few points, whatever happens to its trainers."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from peer.loss_history import MOST_POINTS, LossHistory
from peer.training.messages import Progress


def trained(history: LossHistory, losses: list[float], begin: int = 0) -> None:
    """A trainer that tells its totals after every inner step."""
    total = 0.0
    for number, loss in enumerate(losses):
        total += loss
        step = number + 1
        history.add(Progress(step, 10 * step, total), run_tokens=begin + 10 * step)


def test_few_steps_are_told_one_by_one() -> None:
    history = LossHistory()
    trained(history, [4.0, 3.0, 2.5])
    assert [at for at, _ in history.points()] == [10, 20, 30]
    assert [round(loss, 6) for _, loss in history.points()] == [4.0, 3.0, 2.5]


def test_many_steps_are_means_of_stretches_that_cover_all_of_them() -> None:
    history = LossHistory(most=8)
    trained(history, [float(10_000 - it) for it in range(1000)])
    losses = [loss for _, loss in history.points()]
    assert 4 <= len(losses) < 8
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 9900
    assert losses[-1] < 9200


def test_another_trainer_goes_on_where_the_last_one_ended() -> None:
    history = LossHistory()
    trained(history, [4.0, 3.0])
    history.trainer_replaced()
    trained(history, [2.0, 1.0], begin=100)
    assert [round(loss, 6) for _, loss in history.points()] == [4.0, 3.0, 2.0, 1.0]


def test_a_peer_that_takes_up_an_earlier_state_does_not_go_back() -> None:
    history = LossHistory()
    trained(history, [4.0, 3.0], begin=5000)
    history.trainer_replaced()
    trained(history, [3.5, 3.2], begin=0)
    assert [at for at, _ in history.points()] == [5010, 5020, 5020, 5020]


def test_a_loss_that_is_none_leaves_a_gap() -> None:
    history = LossHistory()
    history.add(Progress(1, 10, 4.0), 10)
    history.add(Progress(2, 20, math.nan), 20)
    assert [loss for _, loss in history.points()] == [4.0]


@given(st.lists(st.tuples(st.integers(-5, 10**9), st.floats()), max_size=400))
def test_whatever_trainers_say_the_points_are_few_and_in_order(
    told: list[tuple[int, float]],
) -> None:
    history = LossHistory()
    for steps, loss_sum in told:
        history.add(Progress(steps, steps, loss_sum), run_tokens=abs(steps))
    points = history.points()
    assert len(points) < MOST_POINTS
    assert [at for at, _ in points] == sorted(at for at, _ in points)
    assert all(math.isfinite(loss) for _, loss in points)
