"""A checkpoint comes back bit for bit, or is set aside and the one before it is taken."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from peer.averaging.state import GlobalState
from peer.checkpoint import KEPT, KEPT_DAMAGED, LOCAL_FILE, Checkpoint, CheckpointStore
from peer.checkpoint_manifest import Generation, Pending, parse_manifest, sealed
from peer.files import file_digest
from peer.training.messages import SnapshotWritten

GLOBAL, RESIDUALS, LINEAGE, MANIFEST = (
    "global.safetensors",
    "residuals.safetensors",
    "lineage",
    "manifest.json",
)
PENDING = Pending(chunks=[5, 2**53 - 1], inner_steps=2, tokens=64, loss_sum=1 / 3)


def some_state(round_: int, size: int = 1000) -> GlobalState:
    values = np.random.default_rng(round_).standard_normal(2 * size, np.float32)
    parents = (bytes([round_ % 256]) * 32,) if round_ else ()
    return GlobalState(round_, 100 * round_, values[:size], values[size:], parents, b"covered")


def kept(store: CheckpointStore, round_: int, size: int = 1000) -> Path:
    """A checkpoint with all that may belong to one."""
    residuals = {"own": np.ones(3, np.float32), "part 7": np.zeros(2, np.float32)}
    state = some_state(round_, size)
    checkpoint = Checkpoint(state, None, PENDING, residuals, merged_tokens=77, lineage=b"header")
    with store.begin() as draft:
        (draft.folder / LOCAL_FILE).write_bytes(b"the trainer's")
        written = SnapshotWritten(file_digest(draft.folder / LOCAL_FILE), 13, "")
        return draft.keep(checkpoint, written)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest(folder: Path) -> Checkpoint | None:
    """As a restarted daemon finds it."""
    return CheckpointStore(folder).newest()


def newest_round(folder: Path) -> int | None:
    found = newest(folder)
    return found.state.round if found else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the checkpoints of two rounds."""
    store = CheckpointStore(tmp_path)
    for round_ in (1, 2):
        kept(store, round_)
    return tmp_path


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = kept(CheckpointStore(tmp_path), 7)
    back, state = newest(tmp_path), some_state(7)
    assert back is not None
    assert (back.state.header, back.state.coverage) == (state.header, state.coverage)
    assert back.state.parameters.tobytes() == state.parameters.tobytes()
    assert back.state.momentum.tobytes() == state.momentum.tobytes()
    assert back.local == path / LOCAL_FILE
    assert back.pending == PENDING
    assert {name: it.tolist() for name, it in back.residuals.items()} == {
        "own": [1, 1, 1],
        "part 7": [0, 0],
    }
    assert (back.merged_tokens, back.lineage) == (77, b"header")


def test_values_of_every_kind_and_views_of_others_come_back(tmp_path: Path) -> None:
    strange = np.array([0.0, -0.0, 1e-45, np.finfo(np.float32).max, 1 / 3], np.float32)
    for state in (
        GlobalState(7, 2**60, strange, strange[::-1].copy()),
        GlobalState(8, 2**61, np.arange(4000, dtype=np.float32)[::4], strange.repeat(200)[::1]),
        GlobalState(9, 0, np.zeros(0, np.float32), np.zeros(0, np.float32)),
    ):
        CheckpointStore(tmp_path).begin().keep(Checkpoint(state))
        back = newest(tmp_path)
        assert back is not None
        assert back.state.header == state.header
        assert back.state.parameters.tobytes() == state.parameters.tobytes()
        assert (back.local, back.pending, dict(back.residuals)) == (None, Pending(), {})


def test_without_checkpoints_there_is_none(tmp_path: Path) -> None:
    assert newest(tmp_path / "new") is None
    assert names(tmp_path / "new") == []


def test_the_newest_is_taken_and_three_are_kept(folder: Path) -> None:
    store = CheckpointStore(folder)
    for round_ in (3, 4, 5):
        kept(store, round_)
    assert names(folder) == ["3-3", "4-4", "5-5"]
    assert len(names(folder)) == KEPT
    assert newest_round(folder) == 5


def test_what_was_written_last_counts_and_not_the_highest_round(folder: Path) -> None:
    """Half of a split swarm gives its rounds up, and its checkpoints."""
    kept(CheckpointStore(folder), 1)
    assert newest_round(folder) == 1
    assert names(folder) == ["1-1", "1-3", "2-2"]


def test_a_state_that_is_there_already_takes_no_room(folder: Path) -> None:
    store = CheckpointStore(folder)
    for found in (False, True):
        if found:
            store = CheckpointStore(folder)
            assert store.newest() is not None
        paths = [kept(store, 2) for _ in range(2)]
        assert len({(path / GLOBAL).stat().st_ino for path in paths}) == 1
    linked = (folder / "2-6" / GLOBAL).stat()
    assert linked.st_ino == (folder / "2-5" / GLOBAL).stat().st_ino
    for name in ("2-4", "2-5"):
        shutil.rmtree(folder / name)
    assert newest_round(folder) == 2


def test_a_file_system_without_links_takes_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = CheckpointStore(folder)
    kept(store, 3)
    kept(store, 3)
    assert newest_round(folder) == 3


def test_a_dropped_draft_leaves_nothing(folder: Path) -> None:
    draft = CheckpointStore(folder).begin()
    (draft.folder / LOCAL_FILE).write_bytes(b"half")
    draft.drop()
    assert names(folder) == ["1-1", "2-2"]


def test_what_a_dead_trainer_began_to_write_is_no_part_of_it(folder: Path) -> None:
    draft = CheckpointStore(folder).begin()
    for name in (LOCAL_FILE, ".tmpXyz"):
        (draft.folder / name).write_bytes(b"half")
    path = draft.keep(Checkpoint(some_state(3), pending=PENDING))
    assert names(path) == [GLOBAL, MANIFEST]
    back = newest(folder)
    assert back is not None
    assert (back.local, back.pending) == (None, Pending())


# ---- damage ----------------------------------------------------------------------------


def resized(path: Path, by: int) -> None:
    os.truncate(path, path.stat().st_size + by)


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rewritten(path: Path, values: dict[str, Any], **claims: Any) -> None:
    """A generation by somebody who knows the format, with other values."""
    save_file(values, path / GLOBAL)
    manifest = json.loads((path / MANIFEST).read_bytes())["manifest"]
    manifest["files"][GLOBAL] = {
        "bytes": (path / GLOBAL).stat().st_size,
        "digest": file_digest(path / GLOBAL),
    }
    (path / MANIFEST).write_bytes(sealed(manifest | claims))


def with_values(**values: Any) -> Callable[[Path], None]:
    return lambda path: rewritten(path, load_file(path / GLOBAL) | values)


def with_claims(**claims: Any) -> Callable[[Path], None]:
    return lambda path: rewritten(path, load_file(path / GLOBAL), **claims)


def enormous(path: Path) -> None:
    (path / GLOBAL).write_bytes(struct.pack("<Q", 1 << 42) + b"{}")
    manifest = json.loads((path / MANIFEST).read_bytes())["manifest"]
    manifest["files"][GLOBAL] = {"bytes": 10, "digest": file_digest(path / GLOBAL)}
    (path / MANIFEST).write_bytes(sealed(manifest))


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no global state": lambda path: (path / GLOBAL).unlink(),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "an empty global state": lambda path: (path / GLOBAL).write_bytes(b""),
    "an empty manifest": lambda path: (path / MANIFEST).write_bytes(b""),
    "a folder for a file": lambda path: replaced_by_a_folder(path / GLOBAL),
    "cut short": lambda path: resized(path / GLOBAL, -1),
    "longer": lambda path: resized(path / GLOBAL, 1),
    "a terabyte long": lambda path: resized(path / GLOBAL, 1 << 40),
    "a header of terabytes": enormous,
    "a bit flipped in the header": lambda path: flipped(path / GLOBAL, 20),
    "a bit flipped in the values": lambda path: flipped(path / GLOBAL, -10),
    "a bit flipped in the manifest": lambda path: flipped(path / MANIFEST, 60),
    "a manifest of text": lambda path: (path / MANIFEST).write_bytes(b"text"),
    "a manifest that is a list": lambda path: (path / MANIFEST).write_bytes(b"[1, 2]"),
    "a nested manifest": lambda path: (path / MANIFEST).write_bytes(b"[" * 10**6),
    "another round": with_claims(round=3),
    "other tokens": with_claims(tokens=201),
    "a negative round": with_claims(round=-1),
    "a round in words": with_claims(round="two"),
    "other parents": with_claims(parents=[]),
    "another digest": with_claims(digest="00" * 32),
    "a later format": with_claims(format=2),
    "other coverage": with_values(coverage=np.zeros(3, np.uint8)),
    "vectors of two lengths": with_values(momentum=np.zeros(11, np.float32)),
    "vectors of another type": with_values(parameters=np.zeros(1000)),
    "matrices": with_values(
        parameters=np.zeros((10, 100), np.float32), momentum=np.zeros((10, 100), np.float32)
    ),
    "no momentum": lambda path: rewritten(path, {"parameters": np.zeros(1000, np.float32)}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(
    folder: Path, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder / "2-2")
    assert newest_round(folder) == 1
    (aside,) = (name for name in names(folder) if "damaged" in name)
    assert names(folder) == ["1-1", aside]
    assert f"{folder / '2-2'} is damaged" in caplog.text
    assert aside in caplog.text
    kept(CheckpointStore(folder), 2)
    assert "2-3" in names(folder), "no number comes twice"


LESSER: dict[str, Callable[[Checkpoint], Any]] = {
    LOCAL_FILE: lambda it: (it.local, it.pending) == (None, Pending()),
    RESIDUALS: lambda it: it.residuals == {},
    LINEAGE: lambda it: it.lineage == b"",
}


@pytest.mark.parametrize("name", LESSER)
@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: resized(path, -1), lambda path: flipped(path, 1)],
    ids=["gone", "cut short", "a bit flipped"],
)
def test_a_whole_global_state_counts_whatever_lies_beside_it(
    folder: Path,
    name: str,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(folder / "2-2" / name)
    back = newest(folder)
    assert back is not None
    assert back.state.header == some_state(2).header
    for other, is_lost in LESSER.items():
        assert is_lost(back) == (other == name)
    assert name in caplog.text
    assert names(folder) == ["1-1", "2-2"]


def test_all_are_damaged_and_two_are_kept_to_look_at(folder: Path) -> None:
    store = CheckpointStore(folder)
    kept(store, 3)
    for name in names(folder):
        (folder / name / MANIFEST).write_bytes(b"damaged")
    assert newest(folder) is None
    assert len(names(folder)) == KEPT_DAMAGED
    assert all("damaged-" in name for name in names(folder))


def test_other_folders_are_left_alone(folder: Path) -> None:
    for name in ("notes", "3-x", "-4", "3-4-5", "9" * 30 + "-1"):
        (folder / name).mkdir()
    before = names(folder)
    assert newest_round(folder) == 2
    assert names(folder) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_no_damage_to_a_few_bytes_raises_or_passes(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    path = kept(CheckpointStore(folder), 2, size=20)
    fractions = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3)
    for name in data.draw(st.sets(st.sampled_from(names(path)), min_size=1)):
        content = bytearray((path / name).read_bytes())
        # places as fractions: a manifest's length hangs on the time
        places = [int(it * len(content)) for it in data.draw(fractions)]
        if data.draw(st.booleans()):
            del content[places[0] :]
        else:
            for place in places:
                content[place] ^= data.draw(st.integers(1, 255))
        (path / name).write_bytes(content)
    back = newest(folder)
    if back is None:
        return
    assert back.state.header == some_state(2, size=20).header
    assert back.state.momentum.tobytes() == some_state(2, size=20).momentum.tobytes()
    assert back.pending == (PENDING if back.local else Pending())
    assert back.local is None or back.local.read_bytes() == b"the trainer's"
    assert back.lineage in (b"", b"header")
    assert back.residuals == {} or back.residuals["own"].tolist() == [1, 1, 1]


@given(name=st.text(max_size=30) | st.from_regex(r"[0-9]{1,20}-[0-9]{1,20}", fullmatch=True))
def test_names_of_generations_are_read_as_they_are_written(name: str) -> None:
    generation = Generation.named(name)
    if generation is not None:
        assert Generation.named(generation.name) == generation


@given(data=st.binary(max_size=100) | st.text().map(str.encode))
def test_what_is_no_manifest_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        parse_manifest(data)


# ---- crashes and full disks ------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from peer.checkpoint import CheckpointStore
from tests.unit.test_checkpoint import kept

left = int(sys.argv[2])

def deadly(call):
    def instead(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return instead

store = CheckpointStore(Path(sys.argv[1]))
for name in ("fsync", "rename", "mkdir", "unlink", "rmdir", "open"):
    setattr(os, name, deadly(getattr(os, name)))
for round_ in range(1, 6):
    kept(store, round_)
    print(round_, flush=True)
"""


def killed_after(calls: int, folder: Path) -> int:
    """The last round that was kept before SIGKILL came at this call to the system."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(calls)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout.split()[-1]) if done.stdout else 0


@pytest.mark.parametrize("calls", [1, 4, 12, 13, 14, 50, 58, 62])
def test_who_is_killed_while_writing_has_the_one_before_or_the_new_one(
    tmp_path: Path, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    said = killed_after(calls, tmp_path)
    back = newest_round(tmp_path) or 0
    assert said <= back <= said + 1
    assert "damaged" not in caplog.text, "what a crash leaves does not look like damage"
    assert not [name for name in names(tmp_path) if name.startswith("draft-")]
    assert len(names(tmp_path)) <= KEPT + 1
    assert newest_round(tmp_path) == (back or None)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As a disk that has so much room; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 10, 500, 5000])
def test_a_disk_that_stays_full_costs_no_checkpoint(folder: Path, room: int) -> None:
    """At whichever of the files it is full."""
    store = CheckpointStore(folder)
    for round_ in (3, 4, 5):
        with no_file_above(room), pytest.raises(OSError, match=r"[Ll]arge"):
            kept(store, round_)
        assert names(folder) == ["1-1", "2-2"]
        assert newest_round(folder) == 2
    kept(store, 6)
    assert newest_round(folder) == 6
    assert names(folder) == ["1-1", "2-2", "6-3"]


def test_a_disk_that_does_not_keep_what_it_took_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = CheckpointStore(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            kept(store, 3)
    assert names(folder) == ["1-1", "2-2"]


def test_an_old_checkpoint_that_cannot_be_removed_does_no_harm(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    store = CheckpointStore(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        for round_ in (3, 4):
            kept(store, round_)
    assert "1-1 could not be removed" in caplog.text
    assert newest_round(folder) == 4
    assert names(folder) == ["2-2", "3-3", "4-4"]
