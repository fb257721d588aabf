"""Two queues, at both ends of a line: whatever crosses whatever, they say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.training import lease_queue
from peer.training.lease_queue import MAX_CHUNKS, MAX_LEASE, LeaseQueue


def leased(*chunks: int) -> LeaseQueue:
    queue = LeaseQueue()
    queue.given(chunks)
    queue.took_effect(0)
    return queue


def test_without_a_lease_there_is_nothing_to_do() -> None:
    queue = LeaseQueue()
    assert queue.chunk(0) is None
    assert queue.left(0) == queue.chunks_between(0, 5) == []


def test_a_lease_is_worked_off_in_its_order() -> None:
    queue = leased(7, 3, 5)
    assert [queue.chunk(it) for it in range(4)] == [7, 3, 5, None]
    assert queue.chunks_between(1, 3) == [3, 5]
    assert queue.left(1) == [3, 5]


def test_a_lease_replaces_what_has_not_begun_and_nothing_is_begun_twice() -> None:
    queue = leased(7, 3, 5)
    queue.given([9, 7, 5, 9])
    assert queue.left(0) == [7, 3, 5], "it is only on its way"
    queue.took_effect(2)
    assert queue.chunks_between(0, 2) == [7, 3]
    assert queue.left(2) == [9, 5]


def test_an_empty_lease_takes_the_rest_back() -> None:
    queue = leased(1, 2)
    queue.given([])
    queue.took_effect(1)
    assert (queue.chunk(0), queue.chunk(1)) == (1, None)


def test_a_chunk_that_was_begun_long_ago_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_queue, "REMEMBERED", 3)
    queue = leased(0, 1, 2, 3, 4)
    queue.given([0, 1, 2, 5])
    queue.took_effect(5)
    assert queue.left(5) == [0, 1, 5]
    assert queue.chunks_between(0, 5) == [2, 3, 4]
    assert queue.chunk(0) is None
    assert queue.chunk(5) == 0


@pytest.mark.parametrize(
    "chunks", [[-1], [MAX_CHUNKS], [1.0], [True], ["1"], list(range(MAX_LEASE + 1))]
)
def test_what_is_no_lease_is_refused(chunks: list[int]) -> None:
    queue = leased(1)
    with pytest.raises(ValueError, match="chunk"):
        queue.given(chunks)
    assert queue.left(0) == [1]


@pytest.mark.parametrize("inner_steps", [-1, 3])
def test_no_more_inner_steps_can_have_begun_than_there_were_chunks(inner_steps: int) -> None:
    queue = leased(1, 2)
    queue.given([5])
    with pytest.raises(ValueError, match="cannot have begun"):
        queue.took_effect(inner_steps)


@given(
    story=st.lists(
        st.one_of(
            st.lists(st.integers(0, 15), max_size=6),  # the daemon sends a lease
            st.sampled_from(["trainer obeys", "trainer begins", "daemon reads"]),
        ),
        max_size=40,
    ),
    remembered=st.integers(1, 10),
)
def test_the_daemon_knows_what_its_trainer_does(
    story: list[list[int] | str], remembered: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease_queue, "REMEMBERED", remembered)
        trainer, mirror = LeaseQueue(), LeaseQueue()
        commands: list[list[int]] = []
        answers: list[int] = []
        begun: list[int] = []
        for event in [*story, *["trainer obeys"] * 40, *["daemon reads"] * 40]:
            if isinstance(event, list):
                mirror.given(event)
                commands.append(event)
            elif event == "trainer obeys" and commands:
                trainer.given(commands.pop(0))
                trainer.took_effect(len(begun))
                answers.append(len(begun))
            elif event == "trainer begins" and (chunk := trainer.chunk(len(begun))) is not None:
                assert chunk not in begun[-remembered:]
                begun.append(chunk)
            elif event == "daemon reads" and answers:
                mirror.took_effect(answers.pop(0))
        assert mirror.left(len(begun)) == trainer.left(len(begun))
        last = min(remembered, len(begun))
        assert mirror.chunks_between(len(begun) - last, len(begun)) == begun[len(begun) - last :]
