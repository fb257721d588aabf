"""The processes of the demo: a coordinator and peers, started, watched and ended."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from coordinator.config import TOKEN_FILE
from coordinator.demo.child import Child
from coordinator.membership.admin_token import read_token
from coordinator.model_keeper import KeptModels
from peer.runtime import RuntimeFolder
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity

HOST = "127.0.0.1"
LEAVE_SECONDS = 10.0
"""A process that was asked to leave is killed after so long."""
REAP_SECONDS = 5.0
TICK_SECONDS = 0.1
RUN_ID = "demo"


class DemoFailed(Exception):
    """The demo cannot go on; `str(error)` is one line that says why."""


class DemoPeer:
    """One `peer join` of the demo."""

    def __init__(self, name: str, address: str, folders: Folders) -> None:
        self.name = name
        self.state = folders.state(name)
        self.excuse = ""
        """Why its exit code does not count: what the demo did to it."""
        self._peer_id = ""
        command = [
            *("peer", "join", "--run", RUN_ID, "--coordinator", address, "--name", name),
            *("--state-dir", str(self.state), "--threads", "1", "--host", HOST),
        ]
        self.child = Child(name, command, folders.log(name))

    @property
    def run_folder(self) -> Path:
        return self.state / "runs" / RUN_ID

    @property
    def peer_id(self) -> str:
        """Its libp2p peer id; empty until it has made its key. A killed peer's is still there."""
        if not self._peer_id:
            with contextlib.suppress(FileNotFoundError):
                self._peer_id = PeerIdentity.load(self.run_folder / "identity.key").peer_id
        return self._peer_id

    def kill(self) -> None:
        """SIGKILL for the daemon alone: what it had started must notice by itself."""
        self.excuse = "killed with SIGKILL"
        self.child.send(signal.SIGKILL)

    def dismiss(self) -> None:
        """Ask it to leave: the run was over before it was ready."""
        self.excuse = "came too late"
        self.child.send(signal.SIGTERM)


class Folders:
    """Where the demo puts what it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.model = folder / "model"
        self._states = folder / "state"
        self.logs.mkdir(parents=True)
        self._states.mkdir()

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def state(self, name: str) -> Path:
        return self._states / name

    def save_model(self, spec_hash: bytes) -> None:
        """Take the model that the coordinator kept, if it has."""
        kept = KeptModels(self.state("coordinator") / "models")
        if kept.has(RUN_ID, spec_hash):
            kept.place(RUN_ID, spec_hash).rename(self.model)

    def remove_states(self) -> None:
        """Identities, caches and checkpoints: of no use once their processes are gone."""
        shutil.rmtree(self._states)


class Swarm:
    """The coordinator and the peers of one demo. Stop it in the end, whatever happened."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.peers: list[DemoPeer] = []
        self.coordinator: Child | None = None

    def start_coordinator(self) -> None:
        """Start it; `address` tells when it listens."""
        command = [
            *("coordinator", "serve", "--host", HOST),
            *("--grpc-port", "0", "--p2p-port", "0", "--http-port", "0"),
            *("--state-dir", str(self.folders.state("coordinator"))),
            *("--database", ""),  # not the one that the environment may name
        ]
        self.coordinator = Child("coordinator", command, self.folders.log("coordinator"))

    def address(self) -> str | None:
        """HOST:PORT where the coordinator answers; None: not yet."""
        said = self.coordinator.lines() if self.coordinator else []
        if not any(line.startswith("join with:") for line in said):
            return None
        return next(line for line in said if line.startswith("grpc ")).removeprefix("grpc ")

    def admin_token(self) -> str:
        """That of the coordinator, once it listens."""
        return read_token(self.folders.state("coordinator") / TOKEN_FILE)

    def start_peer(self, address: str) -> DemoPeer:
        """Start the next one."""
        peer = DemoPeer(f"peer-{len(self.peers) + 1}", address, self.folders)
        self.peers.append(peer)
        return peer

    def check(self) -> None:
        """Raise `DemoFailed` if a process has ended that should not have."""
        coordinator = self.coordinator
        if coordinator is not None and coordinator.exit is not None:
            raise DemoFailed(_ended(coordinator))
        for peer in self.peers:
            if peer.child.exit and not peer.excuse:
                raise DemoFailed(_ended(peer.child))

    def running(self) -> list[DemoPeer]:
        """The peers that have not ended."""
        return [peer for peer in self.peers if peer.child.exit is None]

    def stop(self, at_once: Callable[[], bool]) -> None:
        """End everything and see that it is gone; with SIGKILL when `at_once` says so.

        `UserError` DEMO_FAILED names processes that do not even yield to SIGKILL.
        """
        # the coordinator last: it takes the leaving peers' reports
        _end([peer.child for peer in self.peers], at_once)
        _end([self.coordinator] if self.coordinator else [], at_once)
        for folder in [
            *(peer.run_folder for peer in self.peers),
            self.folders.state("coordinator"),
        ]:
            _remove_sockets(folder)


def _end(children: list[Child], at_once: Callable[[], bool]) -> None:
    for child in children:
        child.send(signal.SIGTERM)
    _wait_until_gone(children, LEAVE_SECONDS, at_once)
    for child in children:
        child.kill_all()
    left = _wait_until_gone(children, REAP_SECONDS, lambda: False)
    if left:
        names = ", ".join(f"{child.name} (process {child.pid})" for child in left)
        raise UserError(Exit.DEMO_FAILED, f"cannot end {names}; end them by hand")
    for child in children:
        child.close()


def _wait_until_gone(
    children: list[Child], seconds: float, at_once: Callable[[], bool]
) -> list[Child]:
    """Those that are still there after so long, or when `at_once` turns true."""
    deadline = time.monotonic() + seconds
    left = [child for child in children if not child.gone()]
    while left and time.monotonic() < deadline and not at_once():
        time.sleep(TICK_SECONDS)
        left = [child for child in left if not child.gone()]
    return left


def _remove_sockets(folder: Path) -> None:
    """A process that was killed left its private folder: whoever claims its lock removes it."""
    if (folder / "lock").exists():
        RuntimeFolder.claim(folder, "the demo").close()


def _ended(child: Child) -> str:
    status = child.exit or 0
    how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
    return f"{child.name} {how}: {child.last_words()}"
