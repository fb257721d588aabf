"""Why a trainer process ended, in words."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from peer.training.messages import Failed

_TAIL_BYTES = 8192


@dataclass(frozen=True)
class TrainerDeath:
    """How a trainer ended."""

    cause: str
    """A cause of `messages.Failed`, or stopped (by us), killed (by a signal), exited."""
    reason: str
    """One line for a person."""
    status: int
    """Exit status; negative: the number of the signal."""
    stderr: str
    """The last of what it wrote to its standard error."""


class TrainerDied(Exception):
    """The trainer ended before it answered; `str(error)` is the reason."""

    def __init__(self, end: TrainerDeath) -> None:
        super().__init__(end.reason)
        self.death = end


def explain(
    status: int, failure: Failed | None, stderr: str, stopping: bool, starved: bool | None
) -> TrainerDeath:
    """Put together what is known: exit status, last message, last words, whether we ended it.

    starved: whether the system killed somebody here for memory meanwhile; None: it does not say.
    """
    if failure is not None:
        return TrainerDeath(failure.cause, failure.reason, status, stderr)
    if stopping:
        return TrainerDeath("stopped", "the trainer was stopped", status, stderr)
    words = f": {stderr.splitlines()[-1]}" if stderr else ""
    if status == -signal.SIGKILL and starved:
        reason = "the system killed the trainer because memory ran out: close other programs"
        return TrainerDeath("memory", reason, status, stderr)
    if status < 0:
        unknown = status == -signal.SIGKILL and starved is None
        hint = " (out of memory?)" if unknown else ""
        name = f"signal {-status} ({signal.strsignal(-status)})"
        reason = f"the trainer was killed by {name}{hint}{words}"
        return TrainerDeath("killed", reason, status, stderr)
    return TrainerDeath("exited", f"the trainer exited with status {status}{words}", status, stderr)


async def last_words(stderr: asyncio.StreamReader | None) -> str:
    """Read a process's standard error to its end, keep the last 8 KiB."""
    tail = b""
    while stderr is not None and (piece := await stderr.read(_TAIL_BYTES)):
        tail = (tail + piece)[-_TAIL_BYTES:]
    return tail.decode(errors="replace").strip()


def send_signal(send: Callable[[], None]) -> None:
    """Signal a process that may have ended by itself just now."""
    with suppress(ProcessLookupError):
        send()
