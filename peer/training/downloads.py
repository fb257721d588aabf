"""A run's text from the network: bounded, checked by hash, cached, never left half-written."""

from __future__ import annotations

import codecs
import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from peer.training.data import END, Text
from peer.training.failure import TrainerFailure
from peer.training.text_cache import text_path
from swarmpb.spec import Download

_PIECE = 1 << 20
_PACED_PIECE = 16 * 1024
_SILENCE_SECONDS = 30.0
_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def downloaded(
    downloads: tuple[Download, ...],
    cache: Path,
    notice: Callable[[str], None],
    room: int = -1,
    rate: int = 0,
) -> Text:
    """The files one after the other, each ended by `END`, memory-mapped from the cache folder.

    What is missing is fetched; what is in the cache and not what the spec names is set aside as
    `.corrupt`, told through `notice`, and fetched again. `TrainerFailure`: data, if a file
    cannot be had or the folder cannot be written; disk, before anything is fetched, if that
    takes more than `room` (bytes; -1: not known). rate: bytes per second; 0: no limit.
    """
    path = text_path(downloads, cache)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_orphans(cache)
        if not _keep_if_intact(path, downloads, notice):
            _require_room(downloads, cache, room)
            for download in downloads:
                one = cache / download.sha256
                if not _keep_if_intact(one, (download,), notice):
                    with _written_whole(one) as file:
                        _receive(download, file, rate)
                        file.write(bytes([END]))
            _join(downloads, path)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise TrainerFailure("data", f"the cache folder {cache} failed: {error}") from error


def _require_room(downloads: tuple[Download, ...], cache: Path, room: int) -> None:
    whole = sum(it.bytes + 1 for it in downloads)
    kept = sum(it.bytes + 1 for it in downloads if (cache / it.sha256).exists())
    needed = 2 * whole - kept  # each file for itself, then all of them as one
    if 0 <= room < needed:
        raise TrainerFailure(
            "disk",
            f"this run's text needs {needed / 1e9:.2f} GB of disk while it is fetched, and "
            f"{room / 1e9:.2f} GB may be taken in {cache}; free some space, allow more "
            "(limits.disk), or choose another folder with --state-dir",
        )


def _remove_orphans(cache: Path) -> None:
    """Remove what a killed process was writing."""
    for part in cache.glob("*.part"):
        writer = part.name.split(".")[-2]
        if not (writer.isdigit() and psutil.pid_exists(int(writer))):
            part.unlink(missing_ok=True)


def _keep_if_intact(
    path: Path, downloads: Sequence[Download], notice: Callable[[str], None]
) -> bool:
    """Does `path` hold these documents? If it holds something else, it is set aside."""
    if not path.exists():
        return False
    if _holds(path, downloads):
        return True
    aside = path.with_suffix(".corrupt")
    path.replace(aside)
    notice(f"a cached text was truncated or corrupt: set aside as {aside}, fetched again")
    return False


def _holds(path: Path, downloads: Sequence[Download]) -> bool:
    if path.stat().st_size != sum(download.bytes + 1 for download in downloads):
        return False
    with path.open("rb") as file:
        for download in downloads:
            digest = hashlib.sha256()
            for piece in _pieces(file, download.bytes):
                digest.update(piece)
            if digest.hexdigest() != download.sha256 or file.read(1) != bytes([END]):
                return False
    return True


def _join(downloads: tuple[Download, ...], path: Path) -> None:
    """One file of all, so that any window of the text is a slice of one map."""
    documents = [path.with_name(download.sha256) for download in downloads]
    with _written_whole(path) as joined:
        for document in documents:
            with document.open("rb") as file:
                joined.writelines(_pieces(file))
    for document in documents:
        document.unlink(missing_ok=True)


@contextmanager
def _written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only once it is complete and on the disk."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _receive(download: Download, file: BinaryIO, rate: int) -> None:
    """Write the body to `file`; `TrainerFailure` unless it is as the spec promised."""
    digest, utf8, size = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0
    try:
        # the spec admits http and https only
        with urllib.request.urlopen(download.url, timeout=_SILENCE_SECONDS) as body:  # noqa: S310
            for piece in _paced(body, rate):
                size += len(piece)
                if size > download.bytes:
                    break
                digest.update(piece)
                utf8.decode(piece)
                file.write(piece)
        utf8.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _unusable(download, f"is no UTF-8 text: {error.reason}") from error
    except http.client.HTTPException as error:
        raise _unusable(download, f"cannot be fetched: {type(error).__name__} {error}") from error
    except urllib.error.HTTPError as error:
        error.close()
        raise _unusable(download, f"cannot be fetched: {error}") from error
    except OSError as error:
        if error.errno in _DISK_FAULTS:
            raise  # our disk, not their server
        raise _unusable(download, f"cannot be fetched: {error}") from error
    if size != download.bytes or digest.hexdigest() != download.sha256:
        raise _unusable(download, "is not the file that the spec names (size or sha256 differ)")


def _pieces(file: BinaryIO, size: int = 1 << 62) -> Iterator[bytes]:
    while piece := file.read(min(_PIECE, size)):
        size -= len(piece)
        yield piece


def _paced(body: BinaryIO, rate: int) -> Iterator[bytes]:
    """Pieces as they may come: while nobody reads here, the kernels hold the sender up."""
    if not rate:
        yield from _pieces(body)
        return
    due = time.monotonic()
    while piece := body.read(_PACED_PIECE):
        due = max(due, time.monotonic()) + len(piece) / rate
        yield piece
        time.sleep(max(0.0, due - time.monotonic()))


def _unusable(download: Download, what: str) -> TrainerFailure:
    return TrainerFailure(
        "data", f"{download.url} {what}; check the network, or ask the run's owner"
    )
