"""Checkpoints on this machine's disk, so that a killed peer goes on from the newest.

Each is a folder, a generation: the global state, what the trainer had on top of it, what error
feedback holds, and a manifest with a digest of every file. Folders get their name last, so a
generation is whole or not there.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from peer.averaging.codecs import FlatVector
from peer.averaging.state import GlobalState
from peer.checkpoint_manifest import (
    MAX_MANIFEST_BYTES,
    CheckpointManifest,
    Generation,
    Pending,
    StoredFile,
    parse_manifest,
)
from peer.files import file_digest, set_aside
from peer.local_runs import disk_bytes
from peer.training.messages import SnapshotWritten
from swarmpb.files import sync

log = logging.getLogger(__name__)

KEPT = 3
KEPT_DAMAGED = 2
LOCAL_FILE = "local.safetensors"
"""The trainer writes it, see `training/local_state.py`."""

_GLOBAL_FILE = "global.safetensors"
_RESIDUALS_FILE = "residuals.safetensors"
_LINEAGE_FILE = "lineage"
_MANIFEST_FILE = "manifest.json"
_DRAFT_PREFIX = "draft-"
_COST = {
    LOCAL_FILE: "training goes on from the global state, without what this peer did since",
    _RESIDUALS_FILE: "what its last messages had lost is lost",
    _LINEAGE_FILE: "should the swarm have split, this peer cannot tell where from",
}
"""What a damaged file means."""
_DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True)
class Checkpoint:
    """What a peer goes on from."""

    state: GlobalState
    local: Path | None = None
    """The trainer's file; its parameters sit on `state`."""
    pending: Pending = field(default_factory=Pending)
    """What `local` holds beyond `state`."""
    residuals: Mapping[str, FlatVector] = field(default_factory=dict)
    """What error feedback holds, by names that the daemon gives."""
    merged_tokens: int = 0
    """Of this peer's work, in the run."""
    written_at: float = 0.0
    """Unix seconds; of one that was found."""
    lineage: bytes = b""
    """Where `state` comes from, as the daemon encodes it."""


class CheckpointStore:
    """The generations in one folder, which no other process uses."""

    def __init__(self, folder: Path) -> None:
        """Removes what a crash has left; `OSError` if the folder cannot be used."""
        self._folder = folder
        self._last: tuple[str, Path] | None = None
        """Digest of the newest whole global state here, and its file."""
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_DRAFT_PREFIX}*"):
            shutil.rmtree(left)

    def begin(self) -> Draft:
        """A generation that is not there yet; `keep` it or `drop` it."""
        folder = tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=self._folder)
        return Draft(Path(folder), self._add)

    def newest(self) -> Checkpoint | None:
        """The newest whose global state its digests confirm; damaged ones are set aside, and said.

        Of the other files those that are damaged are left out, and said.
        """
        for generation in self._generations():
            path = self._folder / generation.name
            try:
                checkpoint = _verified(path)
            except _DAMAGED as error:
                self._set_aside(path, " ".join(f"{type(error).__name__}: {error}".split()))
                continue
            self._last = (checkpoint.state.digest.hex(), path / _GLOBAL_FILE)
            return checkpoint
        return None

    def sizes(self) -> list[int]:
        """Bytes of each generation's files, less those that a newer one has too; newest first."""
        seen: set[tuple[int, int]] = set()
        return [disk_bytes(self._folder / it.name, seen) for it in self._generations()]

    def keep_newest(self, count: int) -> None:
        """Remove the others: a new one needs their room."""
        self._remove([self._folder / old.name for old in self._generations()[count:]])

    def _add(self, draft: Path, checkpoint: Checkpoint, local: SnapshotWritten | None) -> Path:
        state = checkpoint.state
        digest = state.digest.hex()
        if self._last is None or self._last[0] != digest or not _linked(self._last[1], draft):
            coverage = np.frombuffer(state.coverage, np.uint8)
            values = {"parameters": state.parameters, "momentum": state.momentum}
            _save(draft / _GLOBAL_FILE, {**values, "coverage": coverage})
        if checkpoint.residuals:
            _save(draft / _RESIDUALS_FILE, checkpoint.residuals)
        if checkpoint.lineage:
            (draft / _LINEAGE_FILE).write_bytes(checkpoint.lineage)
        _write_manifest(draft, checkpoint, local)
        taken = [it.number for it in self._generations(damaged=True)]
        path = self._folder / Generation(max(taken, default=0) + 1, state.round).name
        draft.rename(path)
        sync(self._folder)
        self._last = (digest, path / _GLOBAL_FILE)
        self.keep_newest(KEPT)
        return path

    def _generations(self, damaged: bool = False) -> list[Generation]:
        """The newest first; damaged: also those that are set aside."""
        names = [path.name for path in self._folder.iterdir()]
        names = [name.partition(".damaged-")[0] if damaged else name for name in names]
        found = (Generation.named(name) for name in names)
        return sorted((it for it in found if it is not None), reverse=True)

    def _set_aside(self, path: Path, why: str) -> None:
        set_aside(path, why)
        damaged = sorted(self._folder.glob("*.damaged-*"), key=lambda it: it.name.split("-")[-1])
        self._remove(damaged[:-KEPT_DAMAGED])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            # under another name first: half a generation must not look like one that is damaged
            doomed = path.with_name(f"{_DRAFT_PREFIX}{path.name}")
            try:
                path.rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:  # no harm to the ones that are kept; tried again next time
                log.warning("the old checkpoint %s could not be removed: %s", path, error)


class Draft:
    """A folder that becomes a generation; the trainer may write `LOCAL_FILE` to it.

    As a context it is dropped in the end, unless it was kept.
    """

    def __init__(
        self, folder: Path, add: Callable[[Path, Checkpoint, SnapshotWritten | None], Path]
    ) -> None:
        self.folder = folder
        self._add = add

    def keep(self, checkpoint: Checkpoint, local: SnapshotWritten | None = None) -> Path:
        """Write all but the trainer's file, of which `local` tells; the generation's folder.

        `checkpoint.local` is not looked at: the file lies here. `OSError` if the disk does not
        take it: the draft is gone then, the generations before it stay.
        """
        try:
            return self._add(self.folder, checkpoint, local)
        except SafetensorError as error:  # of a writer: the disk
            self.drop()
            raise OSError(str(error)) from error
        except BaseException:
            self.drop()
            raise

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop()

    def drop(self) -> None:
        """It is not needed after all. Not while the trainer still writes to it."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    save_file({name: np.ascontiguousarray(it) for name, it in arrays.items()}, path)


def _linked(known: Path, draft: Path) -> bool:
    """Whether the same file could be put in the draft too, without another byte."""
    try:
        os.link(known, draft / _GLOBAL_FILE)
    except OSError as error:
        log.debug("%s is written again: %s", known, error)  # not every file system has links
        return False
    return True


def _write_manifest(draft: Path, checkpoint: Checkpoint, local: SnapshotWritten | None) -> None:
    files = {}
    for path in sorted(draft.iterdir()):
        if path.name in (_GLOBAL_FILE, _RESIDUALS_FILE, _LINEAGE_FILE):
            sync(path)
            files[path.name] = StoredFile(bytes=path.stat().st_size, digest=file_digest(path))
        elif path.name != LOCAL_FILE or local is None:
            path.unlink()  # what a trainer that died had begun to write
    if local is not None:  # synced and hashed by the trainer already
        files[LOCAL_FILE] = StoredFile(bytes=local.bytes, digest=local.digest)
    state = checkpoint.state
    manifest = CheckpointManifest(
        round=state.round,
        tokens=state.tokens,
        digest=state.digest.hex(),
        parents=[it.hex() for it in state.parents],
        merged_tokens=checkpoint.merged_tokens,
        pending=checkpoint.pending if local is not None else Pending(),
        written_at=time.time(),
        files=files,
    )
    path = draft / _MANIFEST_FILE
    path.write_bytes(manifest.encode())
    sync(path)
    sync(draft)


def _verified(path: Path) -> Checkpoint:
    """One of `_DAMAGED` if the global state is not what the manifest says."""
    with (path / _MANIFEST_FILE).open("rb") as file:
        manifest = parse_manifest(file.read(MAX_MANIFEST_BYTES))
    _require_intact(path, manifest, _GLOBAL_FILE)
    values = load_file(path / _GLOBAL_FILE)
    state = _state(manifest, values)
    local = _found(path, manifest, LOCAL_FILE)
    residuals = _found(path, manifest, _RESIDUALS_FILE)
    lineage = _found(path, manifest, _LINEAGE_FILE)
    return Checkpoint(
        state,
        local,
        manifest.pending if local else Pending(),
        load_file(residuals) if residuals else {},
        manifest.merged_tokens,
        manifest.written_at,
        lineage.read_bytes() if lineage else b"",
    )


def _state(manifest: CheckpointManifest, values: dict[str, Any]) -> GlobalState:
    parameters, momentum = values["parameters"], values["momentum"]
    for vector in (parameters, momentum):
        if vector.dtype != np.float32 or vector.shape != (parameters.size,):
            raise ValueError("its vectors do not fit together")
    parents = tuple(bytes.fromhex(it) for it in manifest.parents)
    coverage = values["coverage"].tobytes()
    state = GlobalState(manifest.round, manifest.tokens, parameters, momentum, parents, coverage)
    if state.digest.hex() != manifest.digest:
        raise ValueError("its global state does not match its digest")
    return state


def _found(path: Path, manifest: CheckpointManifest, name: str) -> Path | None:
    """A file beside the global state, if there is one and it is whole."""
    if name not in manifest.files:
        return None
    try:
        _require_intact(path, manifest, name)
    except (OSError, ValueError) as error:
        log.warning("%s: %s; %s", path, error, _COST[name])
        return None
    return path / name


def _require_intact(path: Path, manifest: CheckpointManifest, name: str) -> None:
    known = manifest.files[name]
    size = (path / name).stat().st_size
    if size != known.bytes:
        raise ValueError(f"{name} has {size} bytes, not {known.bytes}")
    if file_digest(path / name) != known.digest:
        raise ValueError(f"{name} does not match its digest")
