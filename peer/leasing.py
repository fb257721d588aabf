"""Keeps a trainer supplied with the chunks of the text that are this peer's to train."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.to_thread

from peer.averaging.coverage import (
    LEAST_AHEAD,
    MAX_AHEAD,
    MAX_DONE,
    Chunks,
    Coverage,
    chunks_of,
    decoded,
)
from peer.averaging.malformed import Malformed
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.lease_queue import MAX_LEASE, REMEMBERED

log = logging.getLogger(__name__)

LEAST_LEASED = 64
"""Inner steps that a trainer always has before it, if they are short."""


@dataclass(frozen=True)
class Trained:
    """What a trainer has done that is in no round yet."""

    trainer: Trainer
    since: int
    """Inner steps before these, since it started."""
    carried: tuple[int, ...] = ()
    """Chunks that a trainer before it had done."""

    def chunks(self, inner_steps: int) -> set[int]:
        """Those that are done after so many inner steps."""
        leases = self.trainer.leases
        return {*self.carried, *leases.chunks_between(self.since, inner_steps)}

    def cut(self, inner_steps: int) -> Chunks:
        """What a cut after so many inner steps says of its chunks."""
        done = sorted(self.chunks(inner_steps))[:MAX_DONE]
        most = min(MAX_AHEAD, max(LEAST_AHEAD, len(done)))
        ahead = self.trainer.leases.left(inner_steps)[:most]
        return Chunks(tuple(done), tuple(sorted(ahead)))


class Leasing:
    """Sends a trainer a new list whenever the state has moved or the old one runs short."""

    def __init__(
        self, own: str, coverage: Callable[[], bytes | None], trained: Callable[[], Trained | None]
    ) -> None:
        """coverage: of the present state, None without one; trained: by the present trainer."""
        self._own = own
        self._coverage = coverage
        self._trained = trained
        self._news = anyio.Event()

    def renew(self) -> None:
        """The state has moved on."""
        self._news.set()

    def has_progressed(self, trainer: Trainer) -> None:
        """The trainer has done an inner step."""
        if len(trainer.leases.left(trainer.totals.inner_steps)) < LEAST_LEASED // 2:
            self._news.set()

    async def keep(self, trainer: Trainer) -> None:
        """Until the trainer is gone, give it its chunks."""
        try:
            while True:
                self._news = anyio.Event()
                await self._give(trainer)
                await self._news.wait()
        except TrainerDied:
            return  # told by `wait_dead`

    async def _give(self, trainer: Trainer) -> None:
        coverage, trained = self._coverage(), self._trained()
        if coverage is None or trained is None or trained.trainer is not trainer:
            return
        done = trained.chunks(trainer.totals.inner_steps)
        chunks = await anyio.to_thread.run_sync(_next_chunks, coverage, self._own, done)
        await trainer.lease(chunks)


def _next_chunks(encoded: bytes, own: str, done: set[int]) -> list[int]:
    """What to train after `done`, which is in no round yet."""
    # the longer nothing was merged, the longer the list, so that it is seldom made
    needed = min(MAX_LEASE, max(LEAST_LEASED, 4 * len(done)))
    try:
        coverage = decoded(encoded)
    except Malformed as error:
        log.warning("which chunks are trained cannot be told: %s", error)
        coverage = Coverage()
    wanted = needed + min(len(done), REMEMBERED)
    return [it for it in chunks_of(coverage, own, wanted) if it not in done][:needed]
