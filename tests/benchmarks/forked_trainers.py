"""Trainers of real models, forked from a process that has imported what is slow, and paced.

`begin` forks that process while the daemon has one thread yet, and puts its forks in the place of
`python -m peer.training.process`. An inner step lasts a fixed time, so that eight trainers on two
cores train as eight machines would; each is written down with its beginning and its end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from peer.training import client, data, messages, process, session
from peer.training.options import TrainerStart
from tests.benchmarks.churn_launchers import PACE, STEPS
from tests.benchmarks.nursery import die_with_parent

__all__ = ["begin"]

_TEXT = data.standard_library()
_ORDER_BYTES = 1 << 16


def begin() -> None:
    """From now on this daemon's trainers are forks. Call it before its second thread."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _fork_for(theirs)
    theirs.close()
    vars(client)["spawn"] = _Forks(ours).spawn


# ---- in the process that forks -----------------------------------------------------------


def _fork_for(line: socket.socket) -> NoReturn:
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the daemon's end is its end
    while True:
        order, descriptors, _, _ = socket.recv_fds(line, _ORDER_BYTES, 3)
        if not order:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            line.close()
            _train(json.loads(order), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        line.sendall(f"{pid}\n".encode())


def _train(arguments: dict[str, Any], memory: int, link: int, errors: int) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent()
        os.dup2(errors, 2)
        start = TrainerStart.from_argv(arguments["argv"])
        sys.argv = ["trainer", *replace(start, memory=memory, socket=link).to_argv()]
        vars(data)["standard_library"] = lambda: _TEXT
        vars(session)["Session"] = PacedSession
        process.main()
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class PacedSession(session.Session):
    """Its inner steps take their time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        gc.freeze()
        self._least_seconds = float(os.environ[PACE])
        self._steps = Path(os.environ[STEPS]).open("a", buffering=1)  # noqa: SIM115  for good
        self._step_began = 0.0

    def advance(self) -> messages.Progress | None:
        self._step_began = self._step_began or time.time()
        progress = super().advance()
        if progress is not None:
            left = self._step_began + self._least_seconds - time.time()
            if left > 0:
                time.sleep(left)
            self._steps.write(f"[{self._step_began:.4f}, {time.time():.4f}]\n")
            self._step_began = 0.0
        return progress


# ---- in the daemon -----------------------------------------------------------------------


class _Forks:
    def __init__(self, line: socket.socket) -> None:
        self._line = line

    async def spawn(self, start: TrainerStart, threads: int) -> _Fork:
        """What `peer.training.client` calls for a new process."""
        listen, errors = os.pipe()
        order = json.dumps({"argv": start.to_argv()}).encode()
        try:
            socket.send_fds(self._line, [order], [start.memory, start.socket, errors])
        finally:
            os.close(errors)
        pid = int(self._line.recv(_ORDER_BYTES))  # a fork takes milliseconds
        reader = asyncio.StreamReader()
        pipe = os.fdopen(listen, "rb")
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        return _Fork(pid, reader)


class _Fork:
    """What `client` uses of an `asyncio.subprocess.Process`; how it ended is not known here."""

    def __init__(self, pid: int, stderr: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._told = 0
        self._ended = asyncio.Event()
        self._handle = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._handle, self._end)

    async def wait(self) -> int:
        await self._ended.wait()
        return self.returncode or 0

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        self._told = number
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self.returncode = -self._told
        self._ended.set()
