"""What a peer holds is on the disk half a minute later, and a full disk is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from peer.averaging.history import History
from peer.averaging.state import GlobalState
from peer.checkpoint_keeper import CHECKPOINT_SECONDS, Checkpoints, FoundCheckpoints
from peer.notices import Notices
from peer.work import Callbacks, LocalWork

pytestmark = pytest.mark.anyio


def state(round_: int, value: float = 0.5) -> GlobalState:
    values = np.full(100, value, np.float32)
    return GlobalState(round_, 10 * round_, values, -values)


def some_work() -> LocalWork:
    return LocalWork(
        "own",
        Callbacks(*[lambda *_: None] * 5),
    )


def keeper(folder: Path, work: LocalWork) -> Checkpoints:
    return Checkpoints(FoundCheckpoints(folder), work, History("int8"), Notices())


async def test_who_has_no_state_writes_none(tmp_path: Path) -> None:
    checkpoints = keeper(tmp_path, some_work())
    await checkpoints.save()
    assert checkpoints.none_yet
    assert FoundCheckpoints(tmp_path).newest is None


async def test_a_restarted_peer_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    work = some_work()
    await work.begin(state(3))
    await keeper(tmp_path, work).save()

    work = some_work()
    checkpoints = keeper(tmp_path, work)
    assert checkpoints.state is not None
    assert checkpoints.state.header == state(3).header
    assert not work.has_state, "the swarm may be ahead: that is for others to decide"
    taken = await checkpoints.take_up()
    assert taken is not None
    await work.begin(taken)
    await checkpoints.save()
    assert not checkpoints.none_yet
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1, "it is there already"


async def test_the_same_state_is_written_once_and_another_of_the_same_round_too(
    tmp_path: Path,
) -> None:
    work = some_work()
    checkpoints = keeper(tmp_path, work)
    for it in (state(3), state(3), state(3, value=0.25)):
        await work.begin(it)
        await checkpoints.save()
    assert sorted(it.name for it in (tmp_path / "checkpoints").iterdir()) == ["3-1", "3-2"]


async def test_a_full_disk_is_told_until_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    work = some_work()
    checkpoints = keeper(tmp_path, work)
    await work.begin(state(3))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        await checkpoints.save()
    assert "no checkpoint can be written, so far: No space left on device" in caplog.text
    assert checkpoints.none_yet
    await checkpoints.save()
    assert not checkpoints.none_yet


async def test_checkpoints_of_a_large_model_are_further_apart(tmp_path: Path) -> None:
    work = some_work()
    checkpoints = keeper(tmp_path, work)
    assert checkpoints._pause() == CHECKPOINT_SECONDS
    vector = np.zeros(10_000_000, np.float32)
    await work.begin(GlobalState(1, 1, vector, vector))
    assert checkpoints._pause() == 56.0, "280 MB at 5 MB/s"
