"""Files are written whole or not at all; damaged ones are kept and said."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from peer.files import set_aside
from swarmpb.files import write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, lambda file: file.write(b"content"))
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"a long first content"))
    write_whole(path, lambda file: file.write(b"short"))
    assert path.read_bytes() == b"short"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
def test_what_stops_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_content_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that reports at the last moment that it is full, as network disks do."""
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_a_killed_process_left_half_written_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / "file.tmp").write_bytes(b"a longer half-written content")
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_damaged_files_are_kept_side_by_side_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, kept = tmp_path / "file", []
    for content in (b"first", b"second"):
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            kept.append(set_aside(path, "it is cut short"))
        assert f"{path} is damaged (it is cut short): kept as {kept[-1].name}" in caplog.text
    assert [aside.read_bytes() for aside in kept] == [b"first", b"second"]
    assert all(aside.name.startswith("file.damaged-") for aside in kept)
    assert not path.exists()
