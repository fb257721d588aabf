"""Where a run's downloaded text lies. Without torch: a peer that only looks needs none."""

from __future__ import annotations

import hashlib
from pathlib import Path

from swarmpb.spec import Download


def text_path(downloads: tuple[Download, ...], cache: Path) -> Path:
    """The one file of all that a run's spec names, in the run's cache folder."""
    names = "".join(download.sha256 for download in downloads)
    return cache / f"{hashlib.sha256(names.encode()).hexdigest()}.text"
