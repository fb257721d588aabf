"""What many ask alike is computed once: JSON answers that are kept for a moment.

A dashboard's question costs the service's one thread a few milliseconds, and two hundred open
dashboards ask the same things. So an answer is kept for `FRESH_SECONDS`, whoever asks for it while
it is being computed waits for that computation, and its bytes, its compressed bytes and its entity
tag are made once for all.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

FRESH_SECONDS = 1.5
MOST_KEPT = 512
MOST_BYTES = 16 << 20
MOST_UNDER_WAY = 64
"""Computations that wait for the service's thread; more are refused, for reports go first."""
WORTH_COMPRESSING = 1024
COMPRESSION = 5


class BusyError(Exception):
    """Too many different questions wait already. `str(error)` is a line for who asks."""


@dataclass(frozen=True)
class Answer:
    """One answer's bytes, ready for any number of clients."""

    body: bytes
    compressed: bytes | None
    """With gzip, if that is worth it."""
    etag: str
    made_at: float
    """On the event loop's clock."""

    @property
    def size(self) -> int:
        return len(self.body) + len(self.compressed or b"")


class Answers:
    """Computes answers in the service's thread or beside it, and keeps them as bytes."""

    def __init__(self, worker: Executor, beside: Executor) -> None:
        """`worker` is the one thread of the service; `beside`, one thread too, works beside it."""
        self._worker = worker
        self._beside = beside
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}

    async def get(
        self,
        question: Hashable,
        compute: Callable[[], Any],
        form: TypeAdapter[Any],
        apart: bool = False,
    ) -> Answer:
        """The answer to `question`: `compute()`, or what it was a moment ago, as `form` in JSON.

        `apart`: it is computed beside the service, for it asks nothing of it. Raises what
        `compute` raises, which is not kept, or `BusyError`.
        """
        loop = asyncio.get_running_loop()
        kept = self._kept.get(question)
        if kept is not None and loop.time() - kept.made_at < FRESH_SECONDS:
            return kept
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise BusyError("this coordinator has much to answer; ask again in a few seconds")
            task = loop.create_task(self._answer(question, compute, form, apart))
            self._under_way[question] = task
            task.add_done_callback(lambda done: self._finished(question, done))
        # whoever goes away does not take the computation from the others who wait for it
        return await asyncio.shield(task)

    async def _answer(
        self, question: Hashable, compute: Callable[[], Any], form: TypeAdapter[Any], apart: bool
    ) -> Answer:
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._beside if apart else self._worker, compute)
        made_at = loop.time()
        answer = await loop.run_in_executor(self._beside, rendered, value, form, made_at)
        self._keep(question, answer)
        return answer

    def _finished(self, question: Hashable, done: asyncio.Task[Answer]) -> None:
        del self._under_way[question]
        if not done.cancelled():
            done.exception()  # seen: those who waited for it may all be gone

    def _keep(self, question: Hashable, answer: Answer) -> None:
        before = self._kept.pop(question, None)
        self._bytes += answer.size - (before.size if before else 0)
        self._kept[question] = answer
        while len(self._kept) > MOST_KEPT or self._bytes > MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size


def rendered(value: Any, form: TypeAdapter[Any], made_at: float) -> Answer:
    """`value` as JSON of `form`; what is not finite becomes null."""
    return packed(form.dump_json(value), made_at)


def packed(body: bytes, made_at: float = 0.0) -> Answer:
    """Bytes with their entity tag, compressed if they are many."""
    compressed = (
        gzip.compress(body, COMPRESSION, mtime=0) if len(body) > WORTH_COMPRESSING else None
    )
    etag = hashlib.blake2b(body, digest_size=9).hexdigest()
    return Answer(body, compressed, f'"{etag}"', made_at)
