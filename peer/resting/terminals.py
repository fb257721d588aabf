"""When somebody last typed into a terminal of this machine: at its console, or over ssh."""

from __future__ import annotations

import stat
from pathlib import Path

MOST_TERMINALS = 1000


def idle_seconds(wall: float, root: Path = Path("/")) -> float | None:
    """Since the last key that a terminal read; None where there are none. wall: unix seconds.

    The kernel notes that time to eight seconds.
    """
    last = None
    for pattern in ("dev/pts/[0-9]*", "dev/tty[0-9]*"):
        for path in sorted(root.glob(pattern))[:MOST_TERMINALS]:
            try:
                found = path.stat()
            except OSError:
                continue  # just closed
            if stat.S_ISCHR(found.st_mode) or root != Path("/"):
                last = max(found.st_atime, last or 0.0)
    return None if last is None else max(0.0, wall - last)
