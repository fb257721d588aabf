"""Processes of a benchmark: started, talked to in JSON lines, measured, and ended for certain.

They are forked by `nursery.py`, each with a session of its own. Whatever ends the benchmark,
SIGKILL included, ends them: the nursery sees its socket close.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HATCH_SECONDS = 120.0
"""The nursery imports torch and hivemind first, on a machine that may have other work."""
_END_SECONDS = 10.0
_LOG_TAIL = 2000
_READ_BYTES = 1 << 16


class ProcessDied(RuntimeError):
    """A process of the benchmark ended or fell silent; ends with what it logged last."""


@dataclass(frozen=True)
class Usage:
    """What processes have used so far; the difference of two is what they used between."""

    cpu_seconds: float
    p2pd_seconds: float
    """Of that, p2pd's."""
    p2pd_written: int
    """Bytes that p2pd wrote, to the network and to its own peer."""

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.cpu_seconds - before.cpu_seconds,
            self.p2pd_seconds - before.p2pd_seconds,
            self.p2pd_written - before.p2pd_written,
        )


class BenchmarkProcess:
    """One process; its session is all that it started."""

    def __init__(self, name: str, pid: int, orders: int, replies: int, log: Path) -> None:
        self.name = name
        self.pid = pid
        self._orders = orders
        self._replies = replies
        self._log = log
        self._unread = b""

    def tell(self, **order: Any) -> None:
        """Send one order."""
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._died("is gone") from error

    def hear(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next reply; `ProcessDied` if none comes in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._replies], [], [], left)[0]:
                raise self._died(f"was silent for {seconds:.0f} s")
            data = os.read(self._replies, _READ_BYTES)
            if not data:
                raise self._died("ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """Nothing more to say to it."""
        os.close(self._orders)
        os.close(self._replies)

    def told(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]

    def _died(self, how: str) -> ProcessDied:
        return ProcessDied(f"{self.name} {how}; its log ends:\n{self.told()}")


class Nursery:
    """Starts processes; use `nursery`."""

    def __init__(self, line: socket.socket, folder: Path) -> None:
        self.folder = folder
        self._line = line
        self._started = 0

    @contextmanager
    def processes(
        self, count: int, module: str, function: str, shared: int
    ) -> Iterator[list[BenchmarkProcess]]:
        """`count` processes that run `module.function(orders)`; all are ended on exit.

        shared: a file descriptor that each gets as `nursery.SHARED`.
        """
        started: list[BenchmarkProcess] = []
        try:
            for _ in range(count):
                started.append(self._start(module, function, shared))
            yield started
        finally:
            for process in started:
                process.close()
                self._ask({"end": process.pid}, [], _END_SECONDS)

    def _start(self, module: str, function: str, shared: int) -> BenchmarkProcess:
        self._started += 1
        name = f"{function}-{self._started}"
        log = self.folder / f"{name}.log"
        orders, say = os.pipe()
        listen, replies = os.pipe()
        with log.open("wb") as errors:
            order = {"module": _full(module), "function": function}
            told = self._ask(order, [orders, replies, errors.fileno(), shared], HATCH_SECONDS)
        os.close(orders)
        os.close(replies)
        return BenchmarkProcess(name, int(told), say, listen, log)

    def _ask(self, order: dict[str, Any], descriptors: list[int], seconds: float) -> str:
        self._line.settimeout(seconds)
        socket.send_fds(self._line, [json.dumps(order).encode()], descriptors)
        told = self._line.recv(_READ_BYTES)
        if not told:
            raise ProcessDied("the nursery ended")
        return told.decode()


@contextmanager
def nursery(folder: Path, *modules: str) -> Iterator[Nursery]:
    """Processes of these modules, of this package if not said, with logs in `folder`."""
    ours, theirs = socket.socketpair()
    names = [_full(module) for module in modules]
    command = [sys.executable, "-m", f"{__package__}.nursery", *names]
    with ours, theirs, (folder / "nursery.log").open("wb") as log:
        # one thread a process: more would fight for the cores that other peers need
        child = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
            start_new_session=True,
        )
        try:
            theirs.close()
            yield Nursery(ours, folder)
        finally:
            ours.close()
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _full(module: str) -> str:
    return module if "." in module else f"{__package__}.{module}"


def usage_of(processes: Iterable[BenchmarkProcess]) -> Usage:
    """What these processes, and all that they started, have used so far."""
    sessions = {process.pid for process in processes}
    cpu = p2pd = 0.0
    written = 0
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) not in sessions:
                continue
            times = process.cpu_times()
            # children that have ended count too, as far as they were waited for
            seconds = times.user + times.system + times.children_user + times.children_system
            cpu += seconds
            if process.name() == "p2pd":
                p2pd += seconds
                written += process.io_counters().write_chars
        except (ProcessLookupError, psutil.Error):
            continue  # it has just ended
    return Usage(cpu, p2pd, written)
