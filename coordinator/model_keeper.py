"""Keeps the last model of each run that has ended: its peers leave soon, and take it with them.

A model is fetched once, by a process of its own. Until it is here the run's peers are told that it
is wanted, and stay a little for it (`ReportReply.model_wanted`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from coordinator.domain import RefusedError, Run
from coordinator.exporting import Admit, Export, Exporter
from coordinator.rpc.wire import signed_spec
from swarmpb.exits import UserError

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RETRY_SECONDS = 30.0
MAX_TRIES = 4
"""Then the peers are not asked to stay any more."""
FACTS_FILE = "murmuration.json"
"""Written last into a model's folder, by `peer.export_process`."""

EndedRuns = Callable[[], Awaitable[Sequence[Run]]]
"""Those runs that have ended, and whose peers are there still."""


class KeptModels:
    """The folder of kept models, one folder for each run.

    Its name has the spec in it: a run that was deleted may be followed by another of its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, run_id: str, spec_hash: bytes) -> Path:
        """Where a run's model is, or would be."""
        return self._folder / f"{run_id}-{spec_hash.hex()[:12]}"

    def has(self, run_id: str, spec_hash: bytes) -> bool:
        """Whether it is here, whole."""
        return (self.place(run_id, spec_hash) / FACTS_FILE).is_file()

    def forget(self, run_id: str, spec_hash: bytes) -> None:
        """Remove it, if it is here. `OSError` if the disk does not let go."""
        place = self.place(run_id, spec_hash)
        if place.exists():
            shutil.rmtree(place)


class ModelKeeper:
    """Fetches the models that are missing, one at a time."""

    def __init__(
        self, models: KeptModels, ended: EndedRuns, initial_peers: Sequence[str], admit: Admit
    ) -> None:
        """initial_peers: libp2p multiaddresses through which the runs' peers are found."""
        self._models = models
        self._ended = ended
        self._initial_peers = tuple(initial_peers)
        self._admit = admit
        self._tries: dict[bytes, int] = {}
        """By the run's spec, as all here."""
        self._retry_at: dict[bytes, float] = {}

    def wants(self, run: Run) -> bool:
        """Whether the peers of a run that has ended shall stay for its model."""
        tried = self._tries.get(run.spec_hash, 0)
        return tried < MAX_TRIES and not self._models.has(run.run_id, run.spec_hash)

    def forget(self, run: Run) -> None:
        """Remove what is kept of a run's model; said, if the disk does not let go."""
        try:
            self._models.forget(run.run_id, run.spec_hash)
        except OSError as error:
            log.warning("the model of run %s could not be removed: %s", run.run_id, error)

    async def keep(self) -> None:
        """Watch for runs that end, until cancelled."""
        while True:
            for run in await self._ended():
                if not self._models.has(run.run_id, run.spec_hash) and self._is_due(run):
                    await self._fetch(run)
            await anyio.sleep(LOOK_SECONDS)

    def _is_due(self, run: Run) -> bool:
        return anyio.current_time() >= self._retry_at.get(run.spec_hash, 0.0)

    async def _fetch(self, run: Run) -> None:
        place = self._models.place(run.run_id, run.spec_hash)
        tries = self._tries[run.spec_hash] = self._tries.get(run.spec_hash, 0) + 1
        export = Export(run.run_id, signed_spec(run), self._initial_peers, place)
        try:
            await run_export(export, self._admit, log.info)
        except (UserError, RefusedError, OSError) as error:
            pause = RETRY_SECONDS * 2.0 ** min(tries - 1, 6)
            self._retry_at[run.spec_hash] = anyio.current_time() + pause
            log.warning(
                "the model of run %s is not kept yet: %s; next try in %.0f s",
                run.run_id,
                error,
                pause,
            )
        else:
            log.info("the model of run %s is kept in %s", run.run_id, export.folder)


async def run_export(export: Export, admit: Admit, tell: Callable[[str], None]) -> None:
    """An export in the background; cancelling ends it. Raises as `Exporter` does."""
    exporter = await anyio.to_thread.run_sync(Exporter, export, admit)
    try:
        await anyio.to_thread.run_sync(exporter.run, tell, abandon_on_cancel=True)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(exporter.close)
