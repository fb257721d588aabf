"""A run's text from the network: bounded, checked by hash, cached, never left half-written."""

from __future__ import annotations

import codecs
import errno
import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from peer.training.data import END, Text
from peer.training.failure import TrainerFailure
from swarmpb.spec import Download

_PIECE = 1 << 20
_SILENCE_SECONDS = 30.0
_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def downloaded(downloads: tuple[Download, ...], cache: Path, notice: Callable[[str], None]) -> Text:
    """The files one after the other, each ended by `END`, memory-mapped from the cache folder.

    What is missing is fetched; a cached file that is not what its name says is set aside as
    `.corrupt`, told through `notice`, and fetched again. `TrainerFailure("data")` if a file
    cannot be had or the folder cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_orphans(cache)
        for download in downloads:
            _make_present(download, cache, notice)
        path = _joined(downloads, cache)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise TrainerFailure("data", f"the cache folder {cache} failed: {error}") from error


def _remove_orphans(cache: Path) -> None:
    """Remove what a killed process was writing."""
    for part in cache.glob("*.part"):
        writer = part.name.split(".")[-2]
        if not (writer.isdigit() and psutil.pid_exists(int(writer))):
            part.unlink(missing_ok=True)


def _make_present(download: Download, cache: Path, notice: Callable[[str], None]) -> None:
    path = cache / download.sha256
    if path.exists():
        if _fits(path, download):
            return
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        notice(f"the cached copy of {download.url} was corrupt: set aside as {aside}, fetching it")
    _fetch(download, path)


def _fits(path: Path, download: Download) -> bool:
    if path.stat().st_size != download.bytes:
        return False
    with path.open("rb") as file:
        return _digest(file) == download.sha256


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(file):
        digest.update(piece)
    return digest.hexdigest()


def _fetch(download: Download, path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _receive(download, file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _receive(download: Download, file: BinaryIO) -> None:
    """Write the body to `file`; `TrainerFailure` unless it is as the spec promised."""
    digest, utf8, size = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0
    try:
        # the spec admits http and https only
        with urllib.request.urlopen(download.url, timeout=_SILENCE_SECONDS) as body:  # noqa: S310
            for piece in _pieces(body):
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
    except OSError as error:
        if error.errno in _DISK_FAULTS:
            raise  # our disk, not their server
        raise _unusable(download, f"cannot be fetched: {error}") from error
    if size != download.bytes or digest.hexdigest() != download.sha256:
        raise _unusable(download, "is not the file that the spec names (size or sha256 differ)")
    file.flush()
    os.fsync(file.fileno())


def _joined(downloads: tuple[Download, ...], cache: Path) -> Path:
    """All files in one, so that any window of the text is a slice of one map."""
    names = "".join(download.sha256 for download in downloads)
    path = cache / f"{hashlib.sha256(names.encode()).hexdigest()}.text"
    size = sum(download.bytes + 1 for download in downloads)
    if path.exists() and path.stat().st_size == size:
        return path
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for download in downloads:
                with (cache / download.sha256).open("rb") as document:
                    file.writelines(_pieces(document))
                file.write(bytes([END]))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _unusable(download: Download, what: str) -> TrainerFailure:
    return TrainerFailure(
        "data", f"{download.url} {what}; check the network, or ask the run's owner"
    )
