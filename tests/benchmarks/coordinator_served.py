"""The coordinator under load: a real process on one processor, looked at while it works."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from urllib.parse import urlsplit

import psutil

from tests.e2e.processes import COORDINATOR, Home, Server

DATABASE = "coordinator.sqlite"
_KEPT = """
    SELECT peer_id, sequence, taken_row, (SELECT count(*) FROM words WHERE words.peer = peers.id)
    FROM peers JOIN peer_states ON peer_states.peer = peers.id WHERE run_id = ?
"""


@dataclass(frozen=True)
class Look:
    """The coordinator at one moment."""

    at: float
    """Seconds of the monotonic clock, which all processes share."""
    resident: int
    """Bytes of the coordinator's process,"""
    unique: int
    """those of them that nobody shares with it,"""
    p2pd: int
    """resident bytes of its libp2p daemon,"""
    others: int
    """and of what else it has started for a while."""
    cpu_seconds: float
    """Both, since they started."""
    waited_seconds: float
    """In which a thread of the coordinator could have run, and another process, or another thread
    of its own, had the processor."""
    descriptors: int
    database: int
    """Bytes of the database's file,"""
    journal: int
    """and of its write-ahead log."""


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started inside runs on this one processor, and so does all that it starts."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Served:
    """A `coordinator serve` that can be killed, and comes back where it was."""

    def __init__(self, home: Home, core: int | None, *arguments: str) -> None:
        """core: the processor that it gets; None: any."""
        self._home = home
        self._core = core
        self._arguments = arguments
        self._ports: tuple[str, ...] = ("--grpc-port", "0", "--p2p-port", "0", "--http-port", "0")
        self._starts = 0
        self.server = self._started()
        self._ports = self.server.same_ports

    @property
    def database(self) -> Path:
        return self._home.state / DATABASE

    @property
    def dashboard(self) -> tuple[str, int]:
        """Host and port of its pages."""
        url = urlsplit(self.server.dashboard)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    def kill(self) -> None:
        """SIGKILL."""
        self.server.kill()

    def come_back(self) -> None:
        self.server = self._started()

    def stop(self) -> None:
        """As Ctrl-C does; it must end cleanly."""
        code, _ = self.server.stop()
        assert code == 0, self.told()

    def copy_database(self, folder: Path) -> Path:
        """What is on disk, journal and all, while nobody has it open."""
        folder.mkdir(parents=True)
        for suffix in ("", "-wal"):
            copyfile(f"{self.database}{suffix}", folder / f"{DATABASE}{suffix}")
        return folder / DATABASE

    def look(self) -> Look:
        """How it is now."""
        process = psutil.Process(self.server.process.pid)
        memory = process.memory_full_info()
        daemons, others = [], 0
        for child in process.children(recursive=True):
            try:
                if child.name() == "p2pd":
                    daemons.append(child)
                else:
                    others += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # it has just ended
        times = [it.cpu_times() for it in (process, *daemons)]
        return Look(
            at=time.monotonic(),
            resident=memory.rss,
            unique=memory.uss,
            p2pd=sum(it.memory_info().rss for it in daemons),
            others=others,
            cpu_seconds=sum(it.user + it.system for it in times),
            waited_seconds=_waited(process.pid),
            descriptors=process.num_fds(),
            database=_size(self.database),
            journal=_size(self.database.with_name(f"{DATABASE}-wal")),
        )

    def told(self) -> str:
        """What it said on standard error, all lives together."""
        logs = sorted(self._home.path.glob("coordinator-*.log"))
        return "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    def _started(self) -> Server:
        self._starts += 1
        # to a file: nobody reads a pipe for so long
        log = self._home.path / f"coordinator-{self._starts}.log"
        with on_core(self._core), log.open("w") as errors:
            process = subprocess.Popen(
                [COORDINATOR, "serve", *self._ports, *self._arguments],
                env=self._home.environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            return Server(process)
        except BaseException:
            process.kill()
            process.communicate()
            raise


def kept(database: Path, run_id: str) -> dict[str, tuple[int, int, int]]:
    """By peer: its last sequence and taken row, and of how many attempts it has told."""
    connection = sqlite3.connect(database)
    try:
        return {
            name: (sequence, row, told)
            for name, sequence, row, told in connection.execute(_KEPT, (run_id,))
        }
    finally:
        connection.close()


def _waited(pid: int) -> float:
    """Linux tells nanoseconds run, nanoseconds waited, and time slices, by thread."""
    waited = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            waited += int((thread / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return waited / 1e9


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
