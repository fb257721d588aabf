"""What operators see of a coordinator: put together here, for `coordinator.server`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from coordinator.beside import beside
from coordinator.domain import Event
from coordinator.operators.logs import tell_events
from coordinator.operators.metering import CallMeter, TakeMeter
from coordinator.operators.metrics import Metrics, figures
from coordinator.operators.webhooks import Delivered, Endpoint, Persistence, Webhooks, new_client
from coordinator.reports.intake_queue import IntakeQueue
from coordinator.service import CoordinatorService


class Observatory:
    """The meters of one coordinator, and what watches it."""

    def __init__(
        self, service: CoordinatorService, worker: Executor, now: Callable[[], float]
    ) -> None:
        """`worker` is the service's one thread; `now` tells unix seconds."""
        self.metrics = Metrics()
        self.calls = CallMeter(self.metrics)
        self._takes = TakeMeter(service.take_reports, self.metrics)
        self.reports = IntakeQueue(self._takes, worker)
        self._service = service
        self._worker = worker
        self._now = now
        self.metrics.read_runs(self)
        self.metrics.gauge(
            "murmuration_reports_waiting",
            "Reports that wait to be written.",
            lambda: self.reports.waiting,
        )
        service.events.listen(self.metrics.happened)
        service.events.listen(tell_events)

    def measure_files(self, database: Path) -> None:
        """Tell how much room a SQLite file and its journal take."""
        names = (database, *(database.with_name(database.name + it) for it in ("-wal", "-shm")))
        self.metrics.gauge(
            "murmuration_database_bytes",
            "Of the database's files; not told of PostgreSQL, which tells it itself.",
            lambda: sum(path.stat().st_size for path in names if path.exists()),
        )

    def is_storing(self) -> bool:
        """Whether the store takes what is written to it, as far as was tried."""
        return self._takes.storing and self._service.events.is_kept

    def run_figures(self) -> Iterator[tuple[str, Mapping[str, float | None]]]:
        """By run, its figures by the names in `metrics.RUN_FIGURES`; in the service's thread."""
        for run in self._service.runs():
            ledger, standing = self._service.ledger(run.run_id), self._service.orders(run.run_id)
            target = (standing.stop_tokens if standing else 0) or run.target_tokens
            stands = self._service.events.stands(run.run_id)
            facts = ledger.headline(self._now())
            yield run.run_id, figures(facts, target, len(ledger.peers), stands)

    @asynccontextmanager
    async def delivering(self, webhooks: Webhooks | None) -> AsyncIterator[None]:
        """Deliver alarms until the end of the block."""
        async with AsyncExitStack() as held:
            if webhooks is not None:
                await self._deliver(held, webhooks)
            yield

    def _count_delivery(self, result: str) -> None:
        self.metrics.webhooks.labels(result).inc()

    async def _deliver(self, held: AsyncExitStack, webhooks: Webhooks) -> None:
        loop, events = asyncio.get_running_loop(), self._service.events
        client = await held.enter_async_context(new_client())
        delivered = Delivered(webhooks.memory)

        async def after(number: int) -> list[Event]:
            return await loop.run_in_executor(self._worker, events.after, number)

        newest = await loop.run_in_executor(self._worker, partial(events.newest, limit=1))
        number = newest[0].number if newest else 0
        for url in webhooks.urls:
            endpoint = Endpoint(url, webhooks.secret, delivered, after, self._now)
            endpoint.count = self._count_delivery
            held.callback(events.listen(partial(_wake, loop, endpoint)))
            deliver = partial(endpoint.deliver, client, number, Persistence())
            await held.enter_async_context(beside(deliver))


def _wake(loop: asyncio.AbstractEventLoop, endpoint: Endpoint, _: Sequence[Event]) -> None:
    loop.call_soon_threadsafe(endpoint.wake)
