"""Real coordinators and peers for tests: in folders of their own, and ended whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import grpc
import psutil

from coordinator.commands.client import AdminClient
from coordinator.registration import Publication, load_owner_key, publish
from peer.control import ask_status
from swarmpb.endpoints import JoinLink, parse_link
from swarmpb.exits import UserError
from swarmpb.spec import RunSpec
from swarmpb.v1 import control_pb2, coordinator_pb2, coordinator_pb2_grpc

COORDINATOR = Path(sys.executable).with_name("coordinator")
PEER = Path(sys.executable).with_name("peer")

JOIN_SECONDS = 90.0
"""From `peer join` to training, on two cores that have other work."""
SOON_SECONDS = 60.0
"""For what takes a moment; no claim hangs on it, and the machine may have much else to do."""
LEAVE_SECONDS = 10.0
"""A peer promises to leave in this time."""
DEATH_SECONDS = 5.0
"""The children of a killed process are gone in this time."""
_POLL_SECONDS = 0.1

_Found = TypeVar("_Found")


def eventually(
    look: Callable[[], _Found | None],
    seconds: float,
    what: str,
    told: Callable[[], str] = lambda: "",
) -> _Found:
    """What `look` finds, asked again and again where no event tells; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{told()}")
        time.sleep(_POLL_SECONDS)
    return found


def alive_after(seconds: float, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run then; returns as soon as none does.

    A process that has ended counts as gone, although whoever adopted it may be slow to notice.
    """
    deadline = time.monotonic() + seconds
    alive = list(processes)
    while (alive := [it for it in alive if _runs(it)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS / 4)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- folders ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Home:
    """A user's folders for coordinator and peers, apart from those of the machine."""

    path: Path
    started: list[subprocess.Popen[Any]] = field(default_factory=list, compare=False)
    """Peers, to be reaped in the end."""

    @property
    def state(self) -> Path:
        """The coordinator's."""
        return self.path / "state"

    @property
    def temporary(self) -> Path:
        return self.path / "t"

    @property
    def config(self) -> Path:
        return self.path / "config" / "murmuration"

    def environment(self) -> dict[str, str]:
        self.temporary.mkdir(exist_ok=True)
        return {
            **os.environ,
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_STATE_HOME": str(self.path / "user-state"),
            "COORDINATOR_STATE_DIR": str(self.state),
            "TMPDIR": str(self.temporary),
            "COLUMNS": "80",
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `coordinator` command, to its end."""
        return self._to_its_end(COORDINATOR, arguments)

    def peer(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A `peer` command, to its end."""
        return self._to_its_end(PEER, arguments, environment)

    def _to_its_end(
        self, command: Path, arguments: Sequence[str], environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            env=self.environment() | (environment or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """All that was started from here and is alive, orphans included."""
        return [it for it in psutil.process_iter() if self._belongs(it)]

    def _belongs(self, process: psutil.Process) -> bool:
        try:
            # children inherit it, whoever adopts them later
            ours = process.environ().get("TMPDIR") == str(self.temporary)
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False  # gone, or somebody else's

    def runtime_folders(self) -> list[Path]:
        """Private folders of running processes, and those that killed ones left."""
        return sorted(self.temporary.glob("murmuration-*"))

    def end_strays(self) -> list[str]:
        """Kill what is alive, each by its id; their command lines."""
        strays = self.processes()
        names = []
        for process in strays:
            try:
                names.append(" ".join(process.cmdline()))
                process.kill()
            except psutil.NoSuchProcess:
                continue
        alive_after(10, strays)
        return names


@contextmanager
def home_in(path: Path) -> Iterator[Home]:
    """A home that ends all its processes, and fails if there was one to end."""
    home = Home(path)
    try:
        yield home
        alive_after(DEATH_SECONDS, home.processes())
    finally:
        strays = home.end_strays()
        for process in home.started:
            process.wait()
    assert strays == []
    assert home.runtime_folders() == []
    assert [it for it in home.temporary.rglob("*") if not it.is_dir()] == []  # torch makes a folder


# ---- the coordinator -------------------------------------------------------------------


class Server:
    """A running `coordinator serve` that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.strip())
            if line.startswith("join with:"):
                return
        raise AssertionError(f"coordinator serve ended early: {process.communicate()}")

    @property
    def address(self) -> str:
        return self._told("grpc ")

    @property
    def link(self) -> JoinLink:
        """That of the run `demo`, or of none that there is."""
        return parse_link(self._told("join with: peer join ").replace("/RUN", ""))

    @property
    def initial_peer(self) -> str:
        return self._told("p2p ")

    def _told(self, what: str) -> str:
        return next(line for line in self.lines if line.startswith(what)).removeprefix(what)

    @property
    def p2p_port(self) -> str:
        return self.initial_peer.split("/")[4]

    @property
    def dashboard(self) -> str:
        """Its address, with a slash at the end."""
        return self._told("dashboard ")

    @property
    def http_port(self) -> str:
        return self.dashboard.rstrip("/").rpartition(":")[2]

    @property
    def same_ports(self) -> tuple[str, ...]:
        """Options for another one in the place of this."""
        return (
            *("--grpc-port", self.address.rpartition(":")[2]),
            *("--p2p-port", self.p2p_port),
            *("--http-port", self.http_port),
        )

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal the process; its exit code and what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors

    def kill(self) -> None:
        """Not even a goodbye; its children go with it."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.communicate()
        assert alive_after(10, children) == []

    def progress(self, run_id: str) -> coordinator_pb2.RunProgress:
        with stub_of(self.address) as stub:
            return stub.GetProgress(coordinator_pb2.GetRunRequest(run_id=run_id), timeout=10)


def start_server(home: Home, *arguments: str) -> Server:
    """A coordinator on ports of its own unless `arguments` name them; end it yourself."""
    options = ("--grpc-port", "--p2p-port", "--http-port")
    ports = [it for option in options if option not in arguments for it in (option, "0")]
    process = subprocess.Popen(
        # what it still writes is what somebody should look at
        [COORDINATOR, "serve", "--log-level", "warning", *ports, *arguments],
        env=home.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        return Server(process)
    except BaseException:
        process.kill()
        process.communicate()
        raise


@contextmanager
def serving(home: Home, *arguments: str) -> Iterator[Server]:
    server = start_server(home, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@contextmanager
def stub_of(address: str) -> Iterator[coordinator_pb2_grpc.CoordinatorStub]:
    with grpc.insecure_channel(address) as channel:
        yield coordinator_pb2_grpc.CoordinatorStub(channel)


def create_run(home: Home, address: str, spec: RunSpec, invite_only: bool | None = None) -> None:
    """Register a run as its owner does, without the seconds in which a command imports torch."""
    token = (home.state / "admin.token").read_text().strip()
    owner = load_owner_key(home.config / "owner.key")
    with AdminClient(address, token) as client:
        publish(client, spec, owner, Publication(invite_only=invite_only))


# ---- peers -----------------------------------------------------------------------------


class Lines:
    """What a process writes to one of its streams, as it comes."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def all(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def to_the_end(self) -> list[str]:
        """All of them, once the process has closed the stream."""
        self._reader.join(timeout=10)
        return self.all()

    def wait_for(self, pattern: str, seconds: float, after: int = 0) -> str:
        """The first line that holds `pattern` (a regular expression), from line `after` on."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._find(pattern, after), seconds)
            found = self._find(pattern, after)
            said = "\n".join(self._lines[-20:])
        assert found is not None, f"no line with {pattern!r} within {seconds:.0f} s:\n{said}"
        return found

    def _find(self, pattern: str, after: int) -> str | None:
        return next((it for it in self._lines[after:] if re.search(pattern, it)), None)


class PeerProcess:
    """A `peer join`, from its start to its end; `start` it again as often as you like."""

    manners: tuple[str, ...] = ("--niceness", "0")
    """Beside other tests, a nice one's start would take minutes."""

    def __init__(self, home: Home, name: str, coordinator: str, run_id: str) -> None:
        self.home = home
        self.name = name
        self.coordinator = coordinator
        self.run_id = run_id
        self.state_dir = home.path / name
        self.process: subprocess.Popen[str] | None = None
        self.out: Lines
        self.err: Lines

    @property
    def folder(self) -> Path:
        return self.state_dir / "runs" / self.run_id

    @property
    def arguments(self) -> tuple[str, ...]:
        return (
            *("join", "--run", self.run_id, "--coordinator", self.coordinator),
            *("--host", "127.0.0.1", "--threads", "1", "--device", "cpu"),
            *self.manners,
            *("--name", self.name, "--state-dir", str(self.state_dir)),
        )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *arguments: str, **environment: str) -> None:
        """Join; returns at once."""
        self.process = subprocess.Popen(
            [PEER, *self.arguments, *arguments],
            start_new_session=True,  # a process group of its own, as a shell gives it
            env=self.home.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.home.started.append(self.process)
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def restart(self) -> None:
        """Join again; returns when the daemon runs, its folders claimed."""
        self.start()
        self.out.wait_for("starting", JOIN_SECONDS)

    def status(self) -> control_pb2.StatusReply | None:
        """What it says of itself; None while it starts, stops or stands still."""
        try:
            return ask_status(self.folder)
        except UserError:
            return None

    def until(
        self, true: Callable[[control_pb2.StatusReply], bool], seconds: float, what: str
    ) -> control_pb2.StatusReply:
        """Its first status for which `true` holds."""

        def look() -> control_pb2.StatusReply | None:
            assert self.alive, f"{self.name} has ended:\n{self.told()}"
            status = self.status()
            return status if status is not None and true(status) else None

        return eventually(look, seconds, f"{self.name}: {what}", self.told)

    def until_it_merges(self, seconds: float = JOIN_SECONDS) -> control_pb2.StatusReply:
        """Wait until another round has merged its work."""
        self.out.wait_for("", seconds)  # its control socket is there
        before = self.status()
        merged = before.tokens if before is not None else 0
        return self.until(lambda it: it.tokens > merged, seconds, "a round with its work")

    def children(self) -> list[psutil.Process]:
        """Its trainer and its p2pd."""
        return psutil.Process(self.pid).children(recursive=True)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def leave(self, number: int = signal.SIGINT) -> int:
        """Ask it to leave; its exit code, if it keeps to its time and leaves nobody behind."""
        children = self.children()
        self.send(number)
        code = self.wait(LEAVE_SECONDS)
        assert alive_after(DEATH_SECONDS, children) == []
        return code

    def wait(self, seconds: float) -> int:
        """Its exit code once it has ended by itself."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} lives after {seconds:.0f} s\n{self.told()}"
            ) from None

    def kill(self) -> None:
        """SIGKILL for the daemon alone; its children notice by themselves."""
        children = self.children()
        self.send(signal.SIGKILL)
        self.wait(DEATH_SECONDS)
        alive = alive_after(DEATH_SECONDS, children)
        assert alive == [], f"outlived {self.name}: {alive}"

    def told(self) -> str:
        """Its last words, for a failed test."""
        return "\n".join([f"--- {self.name}", *self.out.all()[-12:], *self.err.all()[-20:]])


def rounds_go_on(
    peers: Sequence[PeerProcess], rounds: int = 3, seconds: float = JOIN_SECONDS
) -> dict[int, str]:
    """Wait until all of `peers` are `rounds` further; the digests of rounds seen on each of them.

    Fails if two of them show different digests of one round, or if there is no round in which
    all have been seen.
    """
    began: dict[str, int] = {}
    now: dict[str, int] = {}
    seen: dict[int, dict[str, str]] = {}

    def look() -> dict[int, str] | None:
        for peer in peers:
            assert peer.alive, f"{peer.name} has ended:\n{peer.told()}"
            status = peer.status()
            if status is not None and status.digest:
                began.setdefault(peer.name, status.round)
                now[peer.name] = status.round
                seen.setdefault(status.round, {})[peer.name] = status.digest.hex()
        by_all = {it: set(seen[it].values()) for it in seen if len(seen[it]) == len(peers)}
        assert all(len(digests) == 1 for digests in by_all.values()), seen
        done = len(now) == len(peers) and min(now.values()) >= max(began.values()) + rounds
        return {it: digests.pop() for it, digests in by_all.items()} if done else None

    def told() -> str:
        return "\n".join(peer.told() for peer in peers)

    return eventually(look, seconds, f"{rounds} rounds of {[it.name for it in peers]}", told)
