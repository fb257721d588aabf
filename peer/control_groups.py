"""What the control groups (version 2) that hold this process allow, a container's among them."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/")


def control_groups(root: Path = _ROOT) -> list[Path]:
    """Their folders, innermost first; none where there are no such groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []  # not Linux
    mount = root / "sys/fs/cgroup"
    group = next((line[len("0::/") :] for line in lines if line.startswith("0::/")), None)
    if group is None:
        return []
    folders = [mount / group, *(mount / group).parents]
    return [folder for folder in folders if folder.is_relative_to(mount)]


def processors_allowed(root: Path = _ROOT) -> float | None:
    """How many processors' time they allow, `docker run --cpus`; None: all there are."""
    allowed = [_processors_in(folder) for folder in control_groups(root)]
    return min((it for it in allowed if it is not None), default=None)


def _processors_in(group: Path) -> float | None:
    """Of a file that says how many microseconds may be taken of how many, or "max" of how many."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period) if quota != "max" else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # the root group has no such file
