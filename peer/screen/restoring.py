"""The terminal is given back even by a process that does not end in the usual way.

Who ends or replaces this process at once (`os._exit`, `os.exec…`) calls `restore_terminal` before.
"""

from __future__ import annotations

from collections.abc import Callable

_restore: list[Callable[[], None]] = []
"""Of the screen that is open: a process has one terminal."""


def restore_at_end(restore: Callable[[], None]) -> None:
    """A screen is open; `restore` closes it."""
    _restore.append(restore)


def restored(restore: Callable[[], None]) -> None:
    """It is closed."""
    if restore in _restore:
        _restore.remove(restore)


def restore_terminal() -> None:
    """Give the terminal back, should a screen be open."""
    for restore in [*_restore]:
        restore()
