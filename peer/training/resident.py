"""How much memory a process takes that nobody else could use meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_FORGET_PEAK = "5"


@dataclass(frozen=True)
class Resident:
    """Bytes. Mapped files are left out: the system takes their pages back when it needs them."""

    private: int = 0
    """The most since `forget_peak`, or since the process began."""
    shared: int = 0
    """Anonymous memory that several processes map; each of them counts it."""


def resident(pid: int, proc: Path = _PROC) -> Resident:
    """What a process takes; nothing, if there is none."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return _without_details(pid)
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in map(_parts, lines) if "kB" in rest}
    others = sizes.get("RssFile", 0) + sizes.get("RssShmem", 0)
    # the peak is told of all kinds together; files and what is shared hardly change
    peak = sizes.get("VmHWM", 0) - others
    return Resident(max(peak, sizes.get("RssAnon", 0)), sizes.get("RssShmem", 0))


def forget_peak(pid: int, proc: Path = _PROC) -> None:
    """Have the most be counted from now on, where the system can."""
    try:
        (proc / str(pid) / "clear_refs").write_text(_FORGET_PEAK)
    except OSError:
        return  # it is gone, or not on Linux: then the most is that since its start


def together(processes: list[Resident]) -> int:
    """Bytes of several processes that share the same memory."""
    return sum(it.private for it in processes) + max((it.shared for it in processes), default=0)


def _parts(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(":")
    return name, rest


def _without_details(pid: int) -> Resident:
    try:
        return Resident(int(psutil.Process(pid).memory_info().rss))
    except psutil.Error:
        return Resident()
