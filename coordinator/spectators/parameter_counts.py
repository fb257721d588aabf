"""How many parameters the runs' models have: counted once, when somebody first wants to know.

Counting needs libraries that take seconds to import and hundreds of megabytes, so it is done by a
process of its own, one at a time, and the result is kept in a small file beside the database.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from coordinator.domain import Run
from swarmpb.files import write_private

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "peer.training.counting")
PATIENCE_SECONDS = 300.0
"""For a small machine that has much else to do."""
MOST_KEPT = 10_000
MOST_PARAMETERS = 10**15


class ParameterCounts:
    """Known counts, and those that are wanted. Asked from any thread, counts on an event loop."""

    def __init__(self, file: Path) -> None:
        """`file`: where counts are kept; made at the first one."""
        self._file = file
        self._known: dict[str, int | None] = dict(_read(file))
        """By the spec's hash in hexadecimal; None: it cannot be counted."""
        self._wanted: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Nothing is wanted that is not known."""
        return not self._wanted

    def of(self, run: Run) -> int | None:
        """The parameters of a run's model; None: not known, perhaps later."""
        name = run.spec_hash.hex()
        if name in self._known:
            return self._known[name]
        self._wanted[name] = run.spec
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)
        return None

    async def keep_counting(self) -> None:
        """Count what is wanted, for ever."""
        self._loop = asyncio.get_running_loop()
        while True:
            for name, spec in list(self._wanted.items()):
                self._known[name] = await _count(spec)
                del self._wanted[name]
                await asyncio.to_thread(self._keep)
            self._wake.clear()
            if not self._wanted:
                await self._wake.wait()

    def _keep(self) -> None:
        counted = {name: count for name, count in self._known.items() if count is not None}
        newest = dict(list(counted.items())[-MOST_KEPT:])
        try:
            write_private(self._file, json.dumps(newest).encode())
        except OSError as error:
            log.warning("%s cannot be written, and is counted anew: %s", self._file, error.strerror)


async def _count(spec: bytes) -> int | None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, str(os.getpid()), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(spec), PATIENCE_SECONDS)
        count = int(said)
    except (asyncio.TimeoutError, ValueError):
        log.warning("the parameters of a run's model could not be counted; its page has none")
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return count if 0 < count <= MOST_PARAMETERS else None


def _read(file: Path) -> dict[str, int]:
    """What is kept in a file; it can be counted again, so a damaged one counts as none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): count for name, count in found.items() if isinstance(count, int)}
