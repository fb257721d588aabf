"""Damaged files are moved out of the way, never deleted: somebody may want to mend them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def set_aside(path: Path, companions: Sequence[str] = ()) -> Path:
    """Rename `path` to the first free `<name>.damaged-<number>` beside it, and return that.

    `companions` are suffixes of files that belong to it and move along if they exist.
    """
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in companions:
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return path.rename(target)
