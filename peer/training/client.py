"""The daemon's side of a trainer process: start it, talk to it, learn of its death.

Imports no torch. Every call ends: with the trainer's answer, or with `TrainerDied`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peer.training import death, messages
from peer.training.death import TrainerDeath, TrainerDied
from peer.training.lease_queue import LeaseQueue
from peer.training.machine_memory import memory_kills
from peer.training.memory import FlatVector, SharedVectors, create_memory
from peer.training.messages import (
    Allow,
    CutDone,
    Evaluated,
    Exported,
    Failed,
    Leased,
    Loaded,
    Message,
    MicroBatch,
    Notice,
    Progress,
    Ready,
    Resumed,
    Shifted,
    SnapshotTaken,
    SnapshotWritten,
    Taken,
    UsedElsewhere,
)
from peer.training.options import TrainerOptions, TrainerStart
from peer.training.spawning import spawn

Answer = TypeVar(
    "Answer",
    Ready, Loaded, Leased, CutDone, Shifted, SnapshotTaken, SnapshotWritten, Resumed, Taken,
    Evaluated, Exported,
)  # fmt: skip
Result = TypeVar("Result")

_STOP_SECONDS = 3.0


class NotResumed(Exception):
    """A snapshot could not be used; the trainer holds what it held."""


class Trainer:
    """One trainer process. Made by `Trainer.start`; `stop` it in the end, dead or alive.

    A vector handed to a method is copied to the shared inbox in its turn: leave it unchanged
    until the method returns. A cancelled call gives up its answer, not the exchange.
    """

    totals = Progress(inner_steps=0, tokens=0, loss_sum=0.0)
    """Latest totals since the trainer started."""
    pass_chunks = 0  # in one pass through the text; 0 until `ready`
    accelerator = ""  # its name; empty also until `ready`
    micro_batch = 0  # sequences that it computes at once; 0 until it is known

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        memory: int,
        on_event: Callable[[Progress | Notice | MicroBatch], None],
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader, self._writer = link
        self._memory = memory
        self._on_event = on_event
        self.leases = LeaseQueue()
        """Mirrors the trainer's."""
        self._vectors: SharedVectors | None = None
        self._answers: dict[type[Message], asyncio.Future[Any]] = {}
        self._asked: dict[type[Message], float] = {}
        self._inbox = asyncio.Lock()
        self._outbox = asyncio.Lock()
        self._slow = asyncio.Lock()
        self._leasing = asyncio.Lock()
        self._snapshots = asyncio.Lock()
        self._written: asyncio.Future[SnapshotWritten] | None = None
        self._cuts = 0
        self._failure: Failed | None = None
        self._memory_kills = memory_kills()
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready = self._expect(Ready)
        self._dead: asyncio.Task[TrainerDeath] = asyncio.create_task(self._live())

    @classmethod
    async def start(
        cls,
        spec_bytes: bytes,
        options: TrainerOptions,
        on_event: Callable[[Progress | Notice | MicroBatch], None] = lambda event: None,
    ) -> Trainer:
        """Start a trainer of the canonical spec; `on_event` is called in the event loop.

        `OSError` if the process cannot be started.
        """
        memory = create_memory()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                start = TrainerStart(memory, theirs.fileno(), options.cache_folder, options.device)
                process = await spawn(start, options.allow.threads)
                ours.setblocking(False)
                link = await asyncio.open_connection(sock=ours, limit=messages.MAX_LINE_BYTES)
            except BaseException:
                ours.close()
                os.close(memory)
                raise
        link[1].write(spec_bytes + b"\n" + messages.encode(options.allow))
        return cls(process, link, memory, on_event)

    @property
    def vectors(self) -> SharedVectors:
        """The shared memory; `RuntimeError` before `ready`."""
        if self._vectors is None:
            raise RuntimeError("the trainer is not ready")
        return self._vectors

    @property
    def silent_seconds(self) -> float:
        """For how long it owes an answer that comes between two micro-batches."""
        return time.monotonic() - min(self._asked.values()) if self._asked else 0.0

    async def ready(self) -> Ready:
        """Wait until the model stands; its first parameters lie in `vectors.outbox`."""
        return await asyncio.shield(self._ready)

    async def train(self, on: bool) -> None:
        """Do inner steps from now on, or hold still."""
        self._send(messages.Train(on))

    async def schedule(self, stop_tokens: int, cooldown_tokens: int) -> None:
        """Have the rate fall towards another end than the spec's; 0: as the spec says."""
        self._send(messages.Schedule(stop_tokens, cooldown_tokens))

    def bound(self, told: Allow | UsedElsewhere) -> None:
        """Tell it what it may use, or what others have used of that; `TrainerDied`."""
        self._send(told)

    async def lease(self, chunks: Sequence[int]) -> int:
        """Replace what it has not begun; the inner steps that had begun when it took effect.

        `ValueError` if this is no lease, see `LeaseQueue.given`.
        """
        return await self._finish(self._lease(chunks))

    async def load(self, vector: FlatVector, run_tokens: int, base: str) -> None:
        """Take `vector`, shape (n,), as parameters and forget the inner optimizer's state.

        They are the global state with the digest `base` (hex), which has `run_tokens`.
        """
        await self._finish(self._through_inbox(vector, messages.Load(run_tokens, base), Loaded))

    async def cut(self) -> CutDone:
        """Copy the parameters to `vectors.outbox`, where they stay until the next cut."""
        return await self._finish(self._cut())

    async def shift(self, vector: FlatVector, run_tokens: int, base: str) -> None:
        """Add `vector`, shape (n,), to the parameters, which then sit on the state `base`."""
        await self._finish(self._through_inbox(vector, messages.Shift(run_tokens, base), Shifted))

    async def snapshot(self, folder: Path) -> SnapshotTaken:
        """Copy parameters and inner optimizer, which are then written to `folder`.

        One at a time: waits until the one before is written.
        """
        return await self._finish(self._snapshot(folder))

    async def snapshot_written(self) -> SnapshotWritten:
        """Wait until the last snapshot is a file, `local_state.LOCAL_FILE`; `OSError` if not."""
        if self._written is None:
            raise RuntimeError("there was no snapshot")
        written = await asyncio.shield(self._written)
        if written.error:
            raise OSError(written.error)
        return written

    async def resume(self, path: Path, base: str, run_tokens: int) -> None:
        """Go on from a snapshot's file that sits on the state `base`; `NotResumed` says why not."""
        resume = messages.Resume(str(path), base, run_tokens)
        error = (await self._finish(self._ask(resume, Resumed))).error
        if error:
            raise NotResumed(error)

    async def evaluate(self, vector: FlatVector) -> float:
        """Loss on held-out text, nats per token, with `vector`, shape (n,), as parameters.

        Training, cuts and shifts go on meanwhile.
        """
        return (await self._finish(self._slowly(vector, messages.Evaluate(), Evaluated))).loss

    async def export(self, vector: FlatVector, folder: Path) -> None:
        """Write `vector`, shape (n,), as a model for `from_pretrained`; `OSError` says why not."""
        export = messages.Export(str(folder))
        error = (await self._finish(self._slowly(vector, export, Exported))).error
        if error:
            raise OSError(error)

    async def wait_dead(self) -> TrainerDeath:
        """Wait until the process is gone, for whatever reason."""
        return await asyncio.shield(self._dead)

    async def stop(self) -> TrainerDeath:
        """End the process, within seconds whatever it does, and free what was held for it."""
        self._stopping = True
        if self._process.returncode is None:
            death.send_signal(self._process.terminate)
            if not (await asyncio.wait([self._dead], timeout=_STOP_SECONDS))[0]:
                death.send_signal(self._process.kill)
        return await self.wait_dead()

    # ---- exchanges ---------------------------------------------------------------------

    async def _slowly(self, vector: FlatVector, command: Message, answer: type[Answer]) -> Answer:
        # one at a time, so that an answer belongs to its command; the inbox is free meanwhile
        async with self._slow:
            done = self._expect(answer)
            await self._through_inbox(vector, command, Taken)
            return await done

    async def _through_inbox(
        self, vector: FlatVector, command: Message, answer: type[Answer]
    ) -> Answer:
        async with self._inbox:
            self.vectors.inbox[:] = vector
            return await self._ask(command, answer)

    async def _cut(self) -> CutDone:
        async with self._outbox:
            self._cuts += 1
            return await self._ask(messages.Cut(self._cuts), CutDone)

    async def _lease(self, chunks: Sequence[int]) -> int:
        async with self._leasing:
            self.leases.given(chunks)
            return (await self._ask(messages.Lease(list(chunks)), Leased)).inner_steps

    async def _snapshot(self, folder: Path) -> SnapshotTaken:
        async with self._snapshots:
            if self._written is not None:
                await asyncio.wait([self._written])
            self._written = self._expect(SnapshotWritten)
            return await self._ask(messages.Snapshot(str(folder)), SnapshotTaken)

    async def _ask(self, command: Message, answer: type[Answer]) -> Answer:
        done = self._expect(answer)
        self._asked[answer] = time.monotonic()
        done.add_done_callback(lambda _: self._asked.pop(answer, None))
        self._send(command)
        return await done

    async def _finish(self, exchange: Coroutine[Any, Any, Result]) -> Result:
        """Await an exchange that survives its caller: the inbox stays locked until the answer."""
        task = asyncio.create_task(exchange)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_mark_seen)
        return await asyncio.shield(task)

    def _expect(self, answer: type[Answer]) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_mark_seen)
        self._answers[answer] = future
        return future

    def _send(self, command: Message) -> None:
        if self._dead.done():
            raise TrainerDied(self._dead.result())
        self._writer.write(messages.encode(command))

    # ---- the process's life ------------------------------------------------------------

    async def _live(self) -> TrainerDeath:
        """Read until the process is gone, then end all that waits for it."""
        errors = asyncio.create_task(death.last_words(self._process.stderr))
        broken = await self._read_messages()
        self._writer.close()
        if broken:
            death.send_signal(self._process.kill)
        status = await self._process.wait()
        os.close(self._memory)
        kills = memory_kills()
        starved = None if kills is None else kills != self._memory_kills
        end = death.explain(status, self._failure, broken or await errors, self._stopping, starved)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(TrainerDied(end))
        return end

    async def _read_messages(self) -> str:
        """Take messages until the trainer closes its end; empty, or what was wrong with one."""
        try:
            while line := await self._reader.readline():
                self._take(messages.decode(line))
        except ConnectionError:
            return ""  # it died with lines of ours unread
        except ValueError as error:
            return f"the trainer sent nonsense: {error}"
        return ""

    def _take(self, message: Message) -> None:
        if isinstance(message, Progress):
            self.totals = message
        if isinstance(message, MicroBatch):
            self.micro_batch = message.sequences
        if isinstance(message, (Progress, Notice, MicroBatch)):
            # not from within: a fault of the callback must not end this task
            asyncio.get_running_loop().call_soon(self._on_event, message)
            return
        if isinstance(message, Failed):
            self._failure = message
            return
        if isinstance(message, Ready):
            self._vectors = SharedVectors(self._memory, message.parameters)
            self.pass_chunks, self.accelerator = message.pass_chunks, message.accelerator
        future = self._answers.pop(type(message), None)
        if future is None:
            raise ValueError(f"an answer nobody asked for: {message}")
        if isinstance(message, Leased):
            self.leases.took_effect(message.inner_steps)  # here, before any later answer is read
        future.set_result(message)


def _mark_seen(future: asyncio.Future[Any]) -> None:
    """Its error may have nobody left to await it; `wait_dead` tells of it too."""
    if not future.cancelled():
        future.exception()
