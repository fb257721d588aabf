"""The micro-batch that this machine's memory takes: learnt the hard way once, and remembered."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peer.files import set_aside
from peer.limits.settings import Limits
from peer.notices import Notices
from swarmpb.files import write_whole

log = logging.getLogger(__name__)

FILE = "micro_batch.json"
FORGOTTEN_SECONDS = 7 * 86400.0
"""Memory may have been short because of something else: larger ones are tried again after that."""
_MOST_BYTES = 4096

_Bytes = Annotated[float, Field(ge=0, le=1e18)] | None


class Learnt(BaseModel):
    """That no more than so many sequences at once fit, and under which circumstances."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run: str
    """Hash of its spec, hex."""
    micro_batch: Annotated[int, Field(ge=1, le=65_536)]
    memory: _Bytes
    """Bytes that were allowed; None: all there is."""
    accelerator_memory: _Bytes
    at: Annotated[float, Field(ge=0, le=1e12)]
    """Unix seconds."""

    def holds(self, run: str, limits: Limits, wall: float) -> bool:
        """Whether it still tells something: same model, no more memory, not long ago."""
        return (
            self.run == run
            and not _raised(self.memory, limits.memory)
            and not _raised(self.accelerator_memory, limits.accelerator_memory)
            and 0 <= wall - self.at < FORGOTTEN_SECONDS
        )


def _raised(before: float | None, now: float | None) -> bool:
    return before is not None and (now is None or now > before)


class MicroBatches:
    """How many sequences this run's trainers may compute at once here."""

    def __init__(self, folder: Path, run: bytes, batch_size: int, notices: Notices) -> None:
        """folder: that of the run; run: hash of its spec."""
        self.batch_size = batch_size
        self._path = folder / FILE
        self._run = run.hex()
        self._notices = notices
        self._learnt = _read(self._path)

    def most(self, limits: Limits, wall: float) -> int:
        """Sequences at once; 0: nothing speaks against the whole batch. wall: unix seconds."""
        learnt = self._learnt
        if learnt is None or not learnt.holds(self._run, limits, wall):
            return 0
        return min(learnt.micro_batch, self.batch_size)

    def too_many(self, sequences: int, limits: Limits, wall: float, why: str) -> int:
        """So many at once (0: all) took too much memory: half of them from now on.

        That is said and remembered. 0: one at a time was too much already.
        """
        before = min(sequences or self.batch_size, self.batch_size)
        fewer = before // 2
        if not fewer:
            return 0
        self._learnt = Learnt(
            run=self._run,
            micro_batch=fewer,
            memory=limits.memory,
            accelerator_memory=limits.accelerator_memory,
            at=wall,
        )
        self._notices.tell(
            f"{why}: training in micro-batches of {fewer} instead of {before}; this is remembered "
            "until more memory is allowed, or for a week"
        )
        try:
            content = self._learnt.model_dump_json().encode()
            write_whole(self._path, lambda file: file.write(content))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
        return fewer


def _read(path: Path) -> Learnt | None:
    try:
        with path.open("rb") as file:
            return Learnt.model_validate_json(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        set_aside(path, str(error).splitlines()[0])
        return None
