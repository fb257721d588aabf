"""A run's log on this machine: written by every daemon, bounded, for its owner's eyes only.

`peer.log` and two older parts of a megabyte each in the run's folder. Machines' addresses may be in
it; no secret ever is.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from peer.screen.line import live_line
from peer.screen.plain import one_line
from swarmpb.exits import UserError
from swarmpb.v1 import control_pb2
from swarmpb.version import SOFTWARE_VERSION

log = logging.getLogger(__name__)

NAME = "peer.log"
PART_BYTES = 1_000_000
OLDER_PARTS = 2
MAX_RECORD = 4000
"""Letters of one message: words of other peers may be in it."""
_LOOK_SECONDS = 0.5
_OURS = ("peer", "swarmpb")


@contextmanager
def kept_log(folder: Path) -> Iterator[None]:
    """While it lasts, what the daemon does and what goes wrong is written to the run's log.

    A disk that takes nothing is no obstacle: it is said once.
    """
    handler = _Parts(folder / NAME)
    root = logging.getLogger()
    level, others = root.level, [(it, it.level) for it in root.handlers]
    for other, own in others:  # what went to a terminal stays what it was
        other.setLevel(max(own, level))
    root.setLevel(min(root.level, logging.INFO))
    root.addHandler(handler)
    try:
        log.info("process %d begins, version %s", os.getpid(), SOFTWARE_VERSION)
        yield
        log.info("process %d ends", os.getpid())
    except UserError as error:
        log.info("ends with code %d: %s", error.code, error)
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        for other, own in others:
            other.setLevel(own)


async def log_changes(status: Callable[[], control_pb2.StatusReply]) -> None:
    """Write down each change of what the peer does, with its reason, until cancelled."""
    shown = None
    while True:
        reply = status()
        happening = (reply.phase, reply.round, reply.reason)
        if happening != shown:
            shown = happening
            log.info("%s", live_line(reply))
        await anyio.sleep(_LOOK_SECONDS)


class _Parts(logging.handlers.RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=PART_BYTES, backupCount=OLDER_PARTS, delay=True)
        self.setFormatter(_Lines())
        self.addFilter(_is_worth_keeping)
        self._failing = False

    def _open(self) -> Any:
        # no link is followed, whoever put it there
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.baseFilename, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        failing, self._failing = self._failing, False
        super().emit(record)  # which calls `handleError`, and that sets it again
        if self._failing and not failing:
            print(f"peer: cannot write {self.baseFilename}", file=sys.stderr, flush=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging names it
        if isinstance(sys.exc_info()[1], OSError):
            self._failing = True
        else:
            super().handleError(record)


class _Lines(logging.Formatter):
    """One line each; a trace below it is indented, so that no message can pretend to be another."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        own = copy.copy(record)
        own.exc_text = None  # another handler's, which it keeps in the record
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging names it
        record.message = one_line(record.message)[:MAX_RECORD]
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging names it
        lines = super().formatException(ei).splitlines()
        return "\n".join("    " + "".join(it for it in line if it.isprintable()) for line in lines)


def _is_worth_keeping(record: logging.LogRecord) -> bool:
    """All of ours but what is for debugging; of libraries what goes wrong."""
    ours = record.name.partition(".")[0] in _OURS
    return record.levelno >= (logging.INFO if ours else logging.WARNING)
