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
from coordinator.wire import signed_spec
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
    """The folder of kept models, one folder for each run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, run_id: str) -> Path:
        """Where a run's model is, or would be."""
        return self._folder / run_id

    def has(self, run_id: str) -> bool:
        """Whether it is here, whole."""
        return (self.place(run_id) / FACTS_FILE).is_file()

    def forget(self, run_id: str) -> None:
        """Remove it. `OSError` if the disk does not let go."""
        if self.place(run_id).exists():
            shutil.rmtree(self.place(run_id))


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
        self._tries: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}

    def wants(self, run_id: str) -> bool:
        """Whether the peers of a run that has ended shall stay for its model."""
        return self._tries.get(run_id, 0) < MAX_TRIES and not self._models.has(run_id)

    async def keep(self) -> None:
        """Watch for runs that end, until cancelled."""
        while True:
            for run in await self._ended():
                if not self._models.has(run.run_id) and self._is_due(run.run_id):
                    await self._fetch(run)
            await anyio.sleep(LOOK_SECONDS)

    def _is_due(self, run_id: str) -> bool:
        return anyio.current_time() >= self._retry_at.get(run_id, 0.0)

    async def _fetch(self, run: Run) -> None:
        run_id, place = run.run_id, self._models.place(run.run_id)
        self._tries[run_id] = self._tries.get(run_id, 0) + 1
        export = Export(run_id, signed_spec(run), self._initial_peers, place)
        try:
            await run_export(export, self._admit, log.info)
        except (UserError, RefusedError, OSError) as error:
            pause = RETRY_SECONDS * 2.0 ** min(self._tries[run_id] - 1, 6)
            self._retry_at[run_id] = anyio.current_time() + pause
            log.warning(
                "the model of run %s is not kept yet: %s; next try in %.0f s", run_id, error, pause
            )
        else:
            log.info("the model of run %s is kept in %s", run_id, export.folder)


async def run_export(export: Export, admit: Admit, tell: Callable[[str], None]) -> None:
    """An export in the background; cancelling ends it. Raises as `Exporter` does."""
    exporter = await anyio.to_thread.run_sync(Exporter, export, admit)
    try:
        await anyio.to_thread.run_sync(exporter.run, tell, abandon_on_cancel=True)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(exporter.close)
