"""The identities of this machine's peers: one for each run, kept in the run's folder.

An identity is made by chance when a run is joined, and of nothing else: neither the machine nor its
user can be told from it, nor that two peers of different runs are the same machine's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from peer.local_runs import run_folder
from peer.runtime import RuntimeFolder, state_folder_error
from swarmpb.files import write_private
from swarmpb.signing import PeerIdentity

IDENTITY = "identity.key"
_ITS_OWN = (
    IDENTITY,
    "certificate.bin",
    "journal.sqlite",
    "journal.sqlite-wal",
    "journal.sqlite-shm",
)
"""What speaks for one identity, and would be wrong in the mouth of another."""


def identity_of(folder: Path) -> PeerIdentity | None:
    """The identity of a run's peer; None if there is none yet. `OSError`, `ValueError` if bad."""
    try:
        return PeerIdentity.load(folder / IDENTITY)
    except FileNotFoundError:
        return None


def install(state_dir: Path, run_id: str, identity: PeerIdentity) -> Path | None:
    """Make this the identity of a run's peer, which must not run; where the one before is now.

    Raises `UserError` ALREADY_RUNNING or STATE_FOLDER.
    """
    folder = run_folder(state_dir, run_id)
    runtime = RuntimeFolder.claim(folder, f"a peer of run {run_id}")
    try:
        aside = _set_aside(folder)
        write_private(folder / IDENTITY, identity.to_bytes())
        _give_to_owner(state_dir, folder)
    except OSError as error:
        raise state_folder_error(folder, error) from error
    finally:
        runtime.close()
    return aside


def _set_aside(folder: Path) -> Path | None:
    """Move what belongs to the identity before into a folder of its own."""
    found = [folder / name for name in _ITS_OWN if os.path.lexists(folder / name)]
    if not found:
        return None
    aside = folder / f"before-{time.time_ns()}"
    aside.mkdir(mode=0o700)
    for path in found:
        path.rename(aside / path.name)
    return aside


def _give_to_owner(state_dir: Path, folder: Path) -> None:
    """What root writes for a service's own user is that user's."""
    owner = state_dir.stat()
    if os.getuid() != 0 or owner.st_uid == 0:
        return
    for path in (folder.parent, folder, folder / "lock", folder / IDENTITY):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
