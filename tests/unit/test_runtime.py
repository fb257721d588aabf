"""One process for one state folder, and nothing left behind by those that were killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer.runtime import RuntimeFolder, running, state_folder_error
from swarmpb.exits import Exit, UserError

HOLDER = """
import sys, pathlib
from peer.runtime import RuntimeFolder
folder = RuntimeFolder.claim(pathlib.Path(sys.argv[1]), "a test")
(folder.path / "socket").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Private folders of these tests, and of the processes they start, lie here."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def holder(state_dir: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has claimed `state_dir`, and its private folder."""
    command = [sys.executable, "-c", HOLDER, str(state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_claim_has_a_private_folder_and_says_who_holds_it(state_dir: Path) -> None:
    folder = RuntimeFolder.claim(state_dir, "peer")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((state_dir / "lock").stat().st_mode) == 0o600
    assert running(state_dir) == (os.getpid(), folder.path)
    folder.close()


def test_the_private_folder_leaves_room_for_a_sockets_name(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # noqa: S108  where it lies in real life
    folder = RuntimeFolder.claim(state_dir, "peer")
    folder.close()
    assert len(os.fsencode(folder.path / "control.sock")) < 60


def test_a_second_claim_names_the_process_that_is_in_the_way(state_dir: Path) -> None:
    with holder(state_dir) as (process, private):
        with pytest.raises(UserError) as refusal:
            RuntimeFolder.claim(state_dir, "peer of run demo")
        assert refusal.value.code == Exit.ALREADY_RUNNING
        assert str(refusal.value).startswith(
            f"peer of run demo is already running here (process {process.pid}); stop it first"
        )
        assert running(state_dir) == (process.pid, private)
        assert (private / "socket").exists(), "the holder keeps its folder"


def test_what_a_killed_process_left_is_removed(state_dir: Path, own_temporary_folder: Path) -> None:
    with holder(state_dir) as (process, private):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (private / "socket").exists()
        assert running(state_dir) is None
        folder = RuntimeFolder.claim(state_dir, "peer")
        assert list(own_temporary_folder.iterdir()) == [folder.path]
        folder.close()


def test_closing_leaves_nothing_and_allows_a_new_claim(
    state_dir: Path, own_temporary_folder: Path
) -> None:
    for _ in range(2):
        folder = RuntimeFolder.claim(state_dir, "peer")
        (folder.path / "socket").touch()
        folder.close()
        assert not list(own_temporary_folder.iterdir())
        assert running(state_dir) is None


def test_nobody_runs_where_nobody_ever_did(state_dir: Path) -> None:
    assert running(state_dir) is None
    assert not state_dir.exists()


def refused(state_dir: Path) -> str:
    with pytest.raises(UserError) as refusal:
        RuntimeFolder.claim(state_dir, "peer")
    assert refusal.value.code == Exit.STATE_FOLDER
    message = str(refusal.value)
    assert "\n" not in message
    assert "--state-dir" in message
    return message


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state_dir = tmp_path / "file" / "state"
    assert refused(state_dir) == (
        f"cannot write to the state folder {state_dir}: Not a directory; make it writable, "
        "or choose another with --state-dir"
    )


def test_a_folder_of_the_kernel_cannot_be_written() -> None:
    assert "cannot write to the state folder /proc/murmuration" in refused(
        Path("/proc/murmuration")
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that_and_nothing_is_left(
    state_dir: Path, own_temporary_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert "the disk is full" in refused(state_dir)
    assert not list(own_temporary_folder.iterdir())
    RuntimeFolder.claim(state_dir, "peer").close()  # the lock was let go


def test_an_error_of_the_system_without_words_is_named_by_its_sort(state_dir: Path) -> None:
    assert "PermissionError; make it writable" in str(
        state_folder_error(state_dir, PermissionError())
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"pid": 1',
        b"null",
        b"[]",
        b'{"pid": 1}',
        b'{"pid": "x", "folder": "/"}',
        b'{"pid": 1, "folder": 3}',
        b'{"pid": 1e999, "folder": "/"}',
        b"\xff\xff",
        b"\x00" * 4096,
    ],
)
def test_a_lock_file_cut_short_by_a_crash_is_no_obstacle(state_dir: Path, content: bytes) -> None:
    state_dir.mkdir()
    (state_dir / "lock").write_bytes(content)
    folder = RuntimeFolder.claim(state_dir, "peer")
    assert running(state_dir) == (os.getpid(), folder.path)
    folder.close()


@pytest.mark.parametrize("name", ["precious", "other-murmuration-1", "murmuration-a/../precious"])
def test_only_private_folders_are_ever_removed(
    state_dir: Path, own_temporary_folder: Path, name: str
) -> None:
    precious = own_temporary_folder / "precious"
    (precious / "photos").mkdir(parents=True)
    (own_temporary_folder / "other-murmuration-1").mkdir()
    state_dir.mkdir()
    record = {"pid": 1, "folder": str(own_temporary_folder / name)}
    (state_dir / "lock").write_text(json.dumps(record))
    RuntimeFolder.claim(state_dir, "peer").close()
    assert (precious / "photos").exists()
    assert (own_temporary_folder / "other-murmuration-1").exists()


def test_a_link_in_place_of_a_private_folder_is_not_followed(
    state_dir: Path, own_temporary_folder: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    link = own_temporary_folder / "murmuration-link"
    link.symlink_to(precious)
    state_dir.mkdir()
    (state_dir / "lock").write_text(json.dumps({"pid": 1, "folder": str(link)}))
    RuntimeFolder.claim(state_dir, "peer").close()
    assert precious.exists()


def test_what_a_killed_process_was_writing_is_removed_by_the_next(state_dir: Path) -> None:
    (state_dir / "data").mkdir(parents=True)
    unfinished = [state_dir / "run.json.tmp", state_dir / "data" / "text.tmp"]
    kept = [state_dir / "run.json", state_dir / "data" / "text"]
    for path in (*unfinished, *kept):
        path.write_text("half")
    (state_dir / "7.tmp").mkdir()
    RuntimeFolder.claim(state_dir, "a test").close()
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in (*unfinished, state_dir / "7.tmp"))
