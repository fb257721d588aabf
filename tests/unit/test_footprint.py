"""As many sequences at once as fit; refused only when not even one does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.training.failure import TrainerFailure
from peer.training.footprint import (
    Footprint,
    Room,
    largest_micro_batch,
    require_room,
    room_for,
    with_device,
)

NEEDED = Footprint(model=400, sequence=100, host=1000, copies=200)


def test_all_that_fit_are_computed_at_once() -> None:
    assert largest_micro_batch(NEEDED, Room(1600 + 800), 8) == 8
    assert largest_micro_batch(NEEDED, Room(1600 + 799), 8) == 4
    assert largest_micro_batch(NEEDED, Room(1600 + 100), 8) == 1
    assert largest_micro_batch(NEEDED, Room(1600 + 99), 8) == 0


def test_refused_only_when_not_even_one_fits() -> None:
    require_room(NEEDED, Room(1700))
    with pytest.raises(TrainerFailure, match=r"is left of limits\.memory") as failure:
        require_room(NEEDED, Room(1699, "is left of limits.memory"))
    assert failure.value.cause == "too_large"


def test_on_an_accelerator_each_memory_holds_its_part() -> None:
    assert largest_micro_batch(NEEDED, Room(1200, device=1200), 8) == 8
    assert largest_micro_batch(NEEDED, Room(1200, device=1199), 8) == 4
    assert largest_micro_batch(NEEDED, Room(1199, device=9999), 8) == 0
    with pytest.raises(TrainerFailure, match="free on the GPU"):
        require_room(NEEDED, Room(1200, device=499))
    with pytest.raises(TrainerFailure, match="free here"):
        require_room(NEEDED, Room(1199, device=500))


def test_the_smaller_of_what_is_free_and_what_is_allowed_counts() -> None:
    assert room_for(allow_memory=0, taken=300, held=0, free=5000) == Room(5000)
    assert room_for(allow_memory=9000, taken=300, held=0, free=5000) == Room(5000)
    limited = room_for(allow_memory=2000, taken=300, held=0, free=5000)
    assert (limited.host, limited.host_bound) == (1700, "is left of limits.memory")


def test_vectors_that_a_daemon_holds_already_are_not_asked_for_twice() -> None:
    """A trainer that is restarted finds less free, and needs less."""
    assert room_for(allow_memory=0, taken=300, held=1000, free=4000) == Room(5000)


@pytest.mark.parametrize(("allowed", "most"), [(0, 5000), (9000, 5000), (3000, 3000)])
def test_an_accelerators_memory_may_be_limited(
    monkeypatch: pytest.MonkeyPatch, allowed: int, most: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5000, 8000))
    assert with_device(Room(7), torch.device("cuda"), allowed).device == most
    assert with_device(Room(7), torch.device("cpu"), allowed) == Room(7)


@given(
    needed=st.builds(Footprint, *[st.integers(0, 10**6)] * 4),
    host=st.integers(0, 10**7),
    batch=st.integers(1, 256),
)
def test_what_is_chosen_fits_and_twice_as_much_would_not(
    needed: Footprint, host: int, batch: int
) -> None:
    fixed = needed.host + needed.copies
    chosen = largest_micro_batch(needed, Room(host), batch)
    if chosen:
        assert fixed + needed.device(chosen) <= host
    if chosen < batch:
        assert fixed + needed.device(2 * chosen or 1) > host - needed.sequence
