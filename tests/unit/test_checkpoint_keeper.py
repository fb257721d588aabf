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
from peer.limits.disk import Disk, how_many_stay
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.local_runs import disk_bytes
from peer.notices import Notices
from peer.work import Callbacks, LocalWork

pytestmark = pytest.mark.anyio


def state(round_: int, value: float = 0.5, size: int = 100) -> GlobalState:
    values = np.full(size, value, np.float32)
    return GlobalState(round_, 10 * round_, values, -values)


def some_work() -> LocalWork:
    return LocalWork(
        "own",
        Callbacks(*[lambda *_: None] * 5),
    )


def keeper(
    folder: Path,
    work: LocalWork,
    limits: LimitsInForce | None = None,
    notices: Notices | None = None,
) -> Checkpoints:
    disk = Disk(limits or LimitsInForce(Limits(disk_free=0.0)), folder)
    notices = notices or Notices()
    return Checkpoints(FoundCheckpoints(folder), work, History("int8"), notices, disk)


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


# ---- a limited disk ----------------------------------------------------------------------


def generations(folder: Path) -> int:
    return len(list((folder / "checkpoints").iterdir()))


async def saved(folder: Path, limits: LimitsInForce, rounds: int) -> Notices:
    """After checkpoints of so many rounds: 700 kB each with a trainer, 212 kB without one."""
    work, notices = some_work(), Notices()
    checkpoints = keeper(folder, work, limits, notices)
    for number in range(1, rounds + 1):
        await work.begin(state(number, float(number), size=25_000))
        await checkpoints.save()
    return notices


async def test_without_a_limit_three_are_kept(tmp_path: Path) -> None:
    limits = LimitsInForce(Limits(disk_free=0.0))
    await saved(tmp_path, limits, rounds=5)
    assert (generations(tmp_path), limits.acting()) == (3, {})


@pytest.mark.parametrize(
    ("allowed", "kept", "words"),
    [
        (1_000_000, 2, "2 checkpoints instead of 3: this run may take 1 MB"),
        (800_000, 1, "1 checkpoint instead of 3: this run may take 800 kB"),
    ],
)
async def test_with_less_disk_fewer_are_kept_and_it_is_never_passed(
    tmp_path: Path, allowed: int, kept: int, words: str
) -> None:
    limits = LimitsInForce(Limits(disk=float(allowed), disk_free=0.0))
    notices = await saved(tmp_path, limits, rounds=5)
    assert (generations(tmp_path), limits.acting()["disk"]) == (kept, words)
    assert notices.current() == []
    assert disk_bytes(tmp_path) <= allowed
    newest = FoundCheckpoints(tmp_path).newest
    assert newest is not None
    assert newest.state.round == 5


async def test_where_not_one_fits_none_is_written_and_that_is_said_once(tmp_path: Path) -> None:
    limits = LimitsInForce(Limits(disk=600_000.0, disk_free=0.0))
    notices = await saved(tmp_path, limits, rounds=3)
    assert FoundCheckpoints(tmp_path).newest is None
    (said,) = notices.current()
    assert "one takes 700 kB, and this run may take 600 kB; allow more (limits.disk" in said
    assert limits.acting()["disk"].startswith("no checkpoint: one takes 700 kB")


async def test_with_the_first_checkpoint_that_fits_again_nothing_acts_any_more(
    tmp_path: Path,
) -> None:
    limits = LimitsInForce(Limits(disk=600_000.0, disk_free=0.0))
    await saved(tmp_path, limits, rounds=1)
    assert "disk" in limits.acting()
    limits.change(Limits(disk_free=0.0))
    await saved(tmp_path, limits, rounds=1)
    assert (generations(tmp_path), limits.acting()) == (1, {})


async def test_a_disk_that_others_fill_is_left_alone_and_what_was_written_stays(
    tmp_path: Path,
) -> None:
    limits = LimitsInForce(Limits(disk_free=0.0))
    await saved(tmp_path, limits, rounds=1)
    limits.change(Limits(disk_free=1e15))
    notices = await saved(tmp_path, limits, rounds=2)
    assert "1,000 TB of the disk stay free" in notices.current()[0].replace("1000", "1,000")
    assert generations(tmp_path) == 1
    limits.change(Limits(disk_free=0.0))
    await saved(tmp_path, limits, rounds=2)
    assert generations(tmp_path) > 1


def test_the_newest_stay_as_far_as_there_is_room() -> None:
    assert how_many_stay(10, [10, 10, 10], 40) == 3
    assert how_many_stay(10, [10, 10, 10], 39) == 2
    assert how_many_stay(10, [10, 10, 10], 10) == 0
    assert how_many_stay(10, [], 9) == -1
