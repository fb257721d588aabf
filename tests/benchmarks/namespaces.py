"""Links of a chosen rate between network namespaces of this benchmark's own.

Each *site* is a namespace with one address; a bridge in a namespace of its own joins them, so the
host's network is not touched. Both ends of a site's link are shaped with `tbf` (there is no
`netem` everywhere), so a site sends and receives at its rate. Needs root and iproute2.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PREFIX = "murmuration"
_NAMES = Path("/var/run/netns")
_CLONE_NEWNET = 0x40000000
_NAME = re.compile(rf"{_PREFIX}-(\d+)-(?:hub|\d+)")
_BURST_BYTES = 32 * 1024
"""What may pass at once: ten milliseconds at 25 Mbit/s, little against any transfer."""
_QUEUE = "100ms"
"""Longest wait in a link's queue; long enough that several TCP streams fill the link."""
_SEGMENT_SECONDS = 1e-3
"""A sender's kernel hands its link about so much at once, as pacing does on real networks."""
_CONGESTION = "reno"
"""Every Linux has it; the host's own choice would make figures of two machines differ."""
_END_SECONDS = 10.0


class NoNamespacesError(SystemExit):
    """This machine or user cannot have network namespaces; one line says what is missing."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"no links can be shaped here: {missing}")


@dataclass(frozen=True)
class Site:
    """One namespace: a place on a network of sites."""

    name: str
    address: str

    def command(self, arguments: Sequence[str | os.PathLike[str]]) -> list[str]:
        """A command line that runs `arguments` at this site, as the same process."""
        return ["ip", "netns", "exec", self.name, *(os.fspath(it) for it in arguments)]

    def enter(self) -> None:
        """Move this process, which must have one thread, and all it starts to this site."""
        with (_NAMES / self.name).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")

    def bytes_sent(self) -> int:
        """By this site's interface so far, headers included; shaped or not."""
        return self._counted("TX")

    def bytes_received(self) -> int:
        """The same, of what came in."""
        return self._counted("RX")

    def _counted(self, direction: str) -> int:
        shown = _ip("-n", self.name, "-s", "-o", "link", "show", "dev", "eth0")
        found = re.search(rf"{direction}:[^\\]*\\\s*(\d+)", shown)
        if found is None:
            raise RuntimeError(f"no count of bytes in {shown!r}")
        return int(found[1])


class Sites:
    """Sites on one bridge. Made by `sites`."""

    def __init__(self, hub: str, places: Sequence[Site]) -> None:
        self.places = places
        self._hub = hub

    def __getitem__(self, index: int) -> Site:
        return self.places[index]

    def shape(self, index: int, megabits: float) -> None:
        """Let a site send and receive so many megabits a second, each way."""
        rate = f"{round(megabits * 1e6)}bit"
        burst = max(_BURST_BYTES, round(megabits * 1e6 / 8 / 250))
        limits = ("tbf", "rate", rate, "burst", str(burst), "latency", _QUEUE)
        segment = min(65536, max(3000, round(megabits * 1e6 / 8 * _SEGMENT_SECONDS)))
        _run("ip", "-n", self.places[index].name, "link", "set", "eth0",
             "gso_max_size", str(segment))  # fmt: skip
        # not `replace`: a packet in the old queue that is larger than the new burst blocks a link
        self.unshape(index)
        for place, device in ((self.places[index].name, "eth0"), (self._hub, f"site{index}")):
            _run("tc", "-n", place, "qdisc", "add", "dev", device, "root", *limits)

    def split(self, *sides: Sequence[int]) -> None:
        """From now on no packet passes between these sides; who is on none stays on the first."""
        for number, side in enumerate(sides):
            if number:
                _run("ip", "-n", self._hub, "link", "add", f"bridge{number}", "type", "bridge")
                _run("ip", "-n", self._hub, "link", "set", f"bridge{number}", "up")
                self._move(side, f"bridge{number}")

    def heal(self) -> None:
        """All sites on one bridge again."""
        self._move(range(len(self.places)), "bridge0")
        with suppress(subprocess.CalledProcessError):  # as many as there were sides
            for number in range(1, len(self.places)):
                _run("ip", "-n", self._hub, "link", "delete", f"bridge{number}")

    def _move(self, side: Iterable[int], bridge: str) -> None:
        for index in side:
            _run("ip", "-n", self._hub, "link", "set", f"site{index}", "master", bridge)

    def unshape(self, index: int) -> None:
        """Let a site send and receive as fast as the machine can."""
        for place, device in ((self.places[index].name, "eth0"), (self._hub, f"site{index}")):
            with suppress(subprocess.CalledProcessError):  # it was not shaped
                _run("tc", "-n", place, "qdisc", "del", "dev", device, "root")


@contextmanager
def sites(count: int) -> Iterator[Sites]:
    """So many sites, unshaped; in the end they and all that runs in them are gone.

    Raises `NoNamespacesError`. Removes what a killed benchmark has left, too.
    """
    require_namespaces()
    _remove_stale()
    own = f"{_PREFIX}-{os.getpid()}"
    hub = f"{own}-hub"
    places = [Site(f"{own}-{index}", f"10.77.0.{index + 1}") for index in range(count)]
    try:
        _add(hub)
        _run("ip", "-n", hub, "link", "add", "bridge0", "type", "bridge")
        _run("ip", "-n", hub, "link", "set", "bridge0", "up")
        for index, place in enumerate(places):
            _connect(place, hub, f"site{index}")
        yield Sites(hub, places)
    finally:
        for name in [*(place.name for place in places), hub]:
            remove(name)


def require_namespaces() -> None:
    """Raise `NoNamespacesError` where `sites` cannot work."""
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise NoNamespacesError(f"there is no `{program}` (install iproute2)")
    if os.geteuid() != 0:
        raise NoNamespacesError("network namespaces need root (run it as root, or with sudo)")
    name = f"{_PREFIX}-{os.getpid()}-0"
    try:
        _add(name)
        _run("tc", "-n", name, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit",
             "burst", "32k", "latency", "50ms")  # fmt: skip
    except subprocess.CalledProcessError as error:
        said = " ".join(str(error.stderr).split())
        raise NoNamespacesError(f"`{' '.join(error.cmd)}` said: {said}") from error
    finally:
        remove(name)


def remove(name: str) -> None:
    """End what runs in a namespace, each process by its id, and remove it."""
    if name not in _existing():
        return
    deadline = time.monotonic() + _END_SECONDS
    while (pids := _ip("netns", "pids", name).split()) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.02)
    _run("ip", "netns", "delete", name)


def _remove_stale() -> None:
    """What benchmarks left that were killed with SIGKILL."""
    for name in _existing():
        found = _NAME.fullmatch(name)
        if found and not _is_benchmark(int(found[1])):
            remove(name)


def _is_benchmark(pid: int) -> bool:
    try:
        words = psutil.Process(pid).cmdline()
        return any("benchmarks" in word or "pytest" in word for word in words)  # or a test
    except psutil.Error:
        return False  # gone, and its number may be another's by now


def _existing() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if line]


def _add(name: str) -> None:
    _run("ip", "netns", "add", name)
    _run("ip", "-n", name, "link", "set", "lo", "up")


def _connect(place: Site, hub: str, device: str) -> None:
    _add(place.name)
    _run("ip", "-n", hub, "link", "add", device, "type", "veth",
         "peer", "name", "eth0", "netns", place.name)  # fmt: skip
    _run("ip", "-n", hub, "link", "set", device, "master", "bridge0", "up")
    _run("ip", "-n", place.name, "address", "add", f"{place.address}/24", "dev", "eth0")
    _run("ip", "-n", place.name, "link", "set", "eth0", "up")
    choice = f"net.ipv4.tcp_congestion_control={_CONGESTION}"
    _run(*place.command(["sysctl", "-q", "-w", choice]))


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout
