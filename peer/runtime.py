"""The folders of a long-running process: one lock, one short-lived private folder for sockets.

The lock is an flock, so a process killed with SIGKILL leaves no lock behind; what it leaves in
its private folder is removed by the next one that claims the same state folder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmpb.exits import Exit, UserError
from swarmpb.files import UNFINISHED

_CLAIM_TRIES = 5
_CLAIM_PAUSE = 0.05
"""Seconds; whoever asks for a status holds the lock for an instant."""
_HANDED_OVER = "MURMURATION_LOCK"
_PREFIX = "murmuration-"  # short: a socket's path has at most 107 bytes


class RuntimeFolder:
    """An exclusive claim on a state folder, with a private folder for sockets (mode 0700)."""

    def __init__(self, lock: int, path: Path, claimed: Path) -> None:
        self._lock = lock
        self.path = path
        self.claimed = claimed
        """The state folder."""

    @classmethod
    def claim(cls, state_dir: Path, what: str) -> RuntimeFolder:
        """Lock `state_dir` for this process; `what` names the process in error messages.

        Raises `UserError` ALREADY_RUNNING if another process holds the lock, and STATE_FOLDER
        if the folder cannot be written.
        """
        try:
            # others on this machine need not see with whom this one trains, and when
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(state_dir / "lock", flags, 0o600)
        except OSError as error:
            raise state_folder_error(state_dir, error) from error
        try:
            _lock(lock)
        except BlockingIOError as error:
            os.close(lock)
            holder = running(state_dir)
            pid = f" (process {holder[0]})" if holder else ""
            raise UserError(
                Exit.ALREADY_RUNNING,
                f"{what} is already running here{pid}; stop it first, or choose another state "
                "folder with --state-dir",
            ) from error
        try:
            _remove_stale(os.pread(lock, 4096, 0))
            _remove_unfinished(state_dir)
            path = Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(4)}"
            # written down before it exists: whenever this process is killed, the next one finds it
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"pid": os.getpid(), "folder": str(path)}).encode(), 0)
            path.mkdir(mode=0o700)
        except OSError as error:
            os.close(lock)
            raise state_folder_error(state_dir, error) from error
        return cls(lock, path, state_dir)

    @classmethod
    def claim_or_take_over(cls, state_dir: Path, what: str) -> RuntimeFolder:
        """Claim `state_dir`, or go on with the claim that this process handed to itself."""
        handed = os.environ.pop(_HANDED_OVER, None)
        if handed is None:
            return cls.claim(state_dir, what)
        lock = int(handed)
        os.set_inheritable(lock, False)
        holder = _parse(os.pread(lock, 4096, 0))
        if holder is None or holder[0] != os.getpid():
            raise RuntimeError(f"descriptor {lock} is no claim of this process")
        _remove_unfinished(state_dir)
        return cls(lock, holder[1], state_dir)

    def hand_over(self) -> None:
        """Let the program that takes this one's place in this process keep the claim."""
        os.set_inheritable(self._lock, True)
        os.environ[_HANDED_OVER] = str(self._lock)

    def close(self) -> None:
        """Remove the private folder and release the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def _lock(descriptor: int) -> None:
    """Take the lock; `BlockingIOError` if somebody keeps it for longer than `running` does."""
    for _ in range(_CLAIM_TRIES - 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_CLAIM_PAUSE)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def open_to_us() -> Iterator[None]:
    """`UserError` STATE_FOLDER where a folder turns out to be somebody else's."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            Exit.STATE_FOLDER,
            f"{error.filename} is closed to this user; if it is a service's of the system, or "
            "somebody else's, ask with sudo, or name your own with --state-dir",
        ) from error


def running(state_dir: Path) -> tuple[int, Path] | None:
    """The (process id, private folder) of the process that holds `state_dir`, if one does.

    `UserError` STATE_FOLDER if that is not for this user to know.
    """
    try:
        with open_to_us(), (state_dir / "lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _parse(file.read(4096))
    except FileNotFoundError:
        return None
    return None


def state_folder_error(state_dir: Path, error: OSError) -> UserError:
    """What to tell the user when `state_dir` cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "the disk is full; free some space, or choose another folder with --state-dir"
    else:
        reason = error.strerror or type(error).__name__
        advice = f"{reason}; make it writable, or choose another with --state-dir"
    return UserError(Exit.STATE_FOLDER, f"cannot write to the state folder {state_dir}: {advice}")


def _parse(content: bytes) -> tuple[int, Path] | None:
    try:
        fields = json.loads(content)
        return int(fields["pid"]), Path(fields["folder"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None  # empty (released), or cut short by a crash: nothing to clean


def _remove_unfinished(state_dir: Path) -> None:
    """What the predecessor was writing here, or in a folder of this one, when it was killed."""
    for depth in ("", "*/"):
        for path in state_dir.glob(f"{depth}*{UNFINISHED}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_stale(content: bytes) -> None:
    predecessor = _parse(content)
    if predecessor is None:
        return
    folder = predecessor[1]
    ours = folder.name.startswith(_PREFIX) and folder.parent == Path(tempfile.gettempdir())
    if ours and folder.is_dir() and folder.stat().st_uid == os.getuid():
        shutil.rmtree(folder, ignore_errors=True)
