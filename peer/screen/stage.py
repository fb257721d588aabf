"""A screen on the user's terminal: it is closed again, whatever happens meanwhile."""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console

from peer.screen.frame import Scene, frame
from peer.screen.restoring import restore_at_end, restored
from peer.screen.said import Said
from peer.screen.terminal import Terminal, encoding_of
from swarmpb.v1 import control_pb2

_CANNOT_SHOW_BRAILLE = frozenset({"linux", "vt100", "vt220", "ansi"})
"""Terminals whose letters are few, whatever the encoding is."""


class Stage:
    """Draws scenes. A process has one at a time; `open` and `close` it, as often as you like."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._said = Said()
        self._encoding = encoding_of(sys.stdout)
        unicode = self._encoding.lower().replace("-", "").startswith("utf")
        self._ascii_only = not unicode or os.environ.get("TERM") in _CANNOT_SHOW_BRAILLE
        # it makes letters of styles, nothing more; NO_COLOR is heard
        self._console = Console(
            force_terminal=True, color_system="standard", width=10_000, highlight=False,
            legacy_windows=False, file=sys.stdout,
        )  # fmt: skip

    @classmethod
    def of_user(cls) -> Stage | None:
        """On the terminal of this process; None where none can be drawn on."""
        terminal = Terminal.of_user(sys.stdout, sys.stdin)
        return cls(terminal) if terminal is not None else None

    @property
    def can_open(self) -> bool:
        """Whether this process has the terminal: one in the background has not."""
        return self._terminal.is_ours

    @property
    def is_open(self) -> bool:
        return self._terminal.taken

    @property
    def keyboard(self) -> int | None:
        return self._terminal.keyboard

    def typed(self) -> str:
        return self._terminal.typed()

    def open(self) -> None:
        """Take the terminal."""
        if not self.is_open:
            sys.stdout.flush()
            self._said.begin()
            self._terminal.take()
            restore_at_end(self.close)

    def draw(self, status: control_pb2.StatusReply, keys: tuple[str, ...], trouble: str) -> None:
        """Show this moment."""
        columns, rows = size = self._terminal.size
        scene = Scene(status, keys, self._said.lines(), trouble)
        lines = frame(scene, columns, rows, time.time(), self._ascii_only)
        with self._console.capture() as drawn:
            for line in lines:
                self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
        self._terminal.draw(drawn.get().splitlines(), size, self._encoding)

    def redraw(self) -> None:
        """All of it next time: the size is another, or somebody else has written here."""
        self._terminal.forget()

    def close(self) -> None:
        """Give the terminal back, and say what was said meanwhile."""
        restored(self.close)
        self._terminal.give_back()
        self._said.end()

    def done(self) -> None:
        """Close it for good."""
        self.close()
        self._terminal.close()
