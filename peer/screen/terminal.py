"""The user's terminal while a screen is shown on it: taken, drawn on, and always given back.

It is written to without waiting: a terminal that stands still (Ctrl-S, a slow line) must not hold
up the daemon. Only lines that changed are written.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

_TAKE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""Another screen, so that the user's own stays as it is; no cursor, no wrapping, all blank."""
_GIVE_BACK = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_ABANDON = "\x18"
"""Ends a control sequence of which only the beginning was written."""
_LAST_WRITE_SECONDS = 0.3
_FALLBACK_SIZE = (80, 24)
_SMALLEST_SIZE = (8, 2)
_CANNOT_DRAW = frozenset({"", "dumb", "unknown"})


class Terminal:
    """A terminal that this process reads from and draws on. `take` it, `give_back` it."""

    def __init__(self, output: int, keyboard: int | None) -> None:
        """File descriptors; keyboard: where this user types, if it is a terminal too."""
        self._given = output
        self._output = _without_waiting(output)
        self._keyboard = keyboard
        self._modes: list[object] | None = None
        self._shown: list[str] | None = None
        self._size = _FALLBACK_SIZE
        self._unwritten = b""
        self.taken = False

    @classmethod
    def of_user(cls, output: TextIO, keyboard: TextIO) -> Terminal | None:
        """That of these streams; None where no screen can be drawn."""
        if os.environ.get("TERM", "") in _CANNOT_DRAW or not output.isatty():
            return None
        return cls(output.fileno(), keyboard.fileno() if keyboard.isatty() else None)

    @property
    def is_ours(self) -> bool:
        """Whether this process is in the foreground: another one's screen is not drawn on."""
        try:
            return os.tcgetpgrp(self._given) == os.getpgrp()
        except OSError:
            return False  # closed, or not the terminal that controls this process

    @property
    def size(self) -> tuple[int, int]:
        """(columns, lines) now."""
        try:
            columns, lines = os.get_terminal_size(self._given)
        except OSError:
            return _FALLBACK_SIZE
        if not (columns and lines):
            return _FALLBACK_SIZE  # a serial line does not know
        return max(columns, _SMALLEST_SIZE[0]), max(lines, _SMALLEST_SIZE[1])

    def take(self) -> None:
        """Switch to a screen of our own, without cursor, without an echo of what is typed."""
        if self.taken:
            return
        self.taken = True
        self._shown = None
        if self._keyboard is not None:
            with suppress(termios.error):
                self._modes = termios.tcgetattr(self._keyboard)
                silent = list(self._modes)
                silent[3] = self._modes[3] & ~(termios.ECHO | termios.ICANON)  # type: ignore[operator]  # local modes are an int
                termios.tcsetattr(self._keyboard, termios.TCSANOW, silent)  # type: ignore[arg-type]  # as it came
        self._write(_TAKE.encode())

    def draw(self, lines: Sequence[str], size: tuple[int, int], encoding: str) -> None:
        """Show these, one below the other, control sequences of colours included.

        size: of the terminal that they were made for; another than before is drawn anew.
        Nothing is drawn while the terminal has not taken what came before.
        """
        self._write(b"")
        if self._unwritten or not self.taken:
            return
        anew = self._shown is None or size != self._size
        self._size = size
        shown = [] if anew else self._shown or []
        out = ["\x1b[2J"] if anew else []
        for number, line in enumerate(lines):
            if number >= len(shown) or shown[number] != line:
                out.append(f"\x1b[{number + 1};1H\x1b[K{line}")
        if len(lines) < len(shown):
            out.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._shown = list(lines)
        self._write("".join(out).encode(encoding, errors="replace"))

    def forget(self) -> None:
        """Draw all lines next time: somebody else may have written here."""
        self._shown = None

    def give_back(self) -> None:
        """The terminal is as it was; what was typed meanwhile is for nobody."""
        if not self.taken:
            return
        self.taken = False
        self._finish_writing()
        abandon = _ABANDON if self._unwritten else ""
        self._unwritten = b""
        self._write((abandon + _GIVE_BACK).encode())
        self._finish_writing()
        if self._modes is not None and self._keyboard is not None and self.is_ours:
            with suppress(termios.error):
                termios.tcflush(self._keyboard, termios.TCIFLUSH)
                termios.tcsetattr(self._keyboard, termios.TCSANOW, self._modes)  # type: ignore[arg-type]  # as it came
        self._modes = None

    def typed(self) -> str:
        """What was typed since the last call; empty: nobody types there any more."""
        if self._keyboard is None:
            return ""
        with suppress(OSError):
            return os.read(self._keyboard, 64).decode(errors="replace")
        return ""

    @property
    def keyboard(self) -> int | None:
        return self._keyboard

    def close(self) -> None:
        """Give it back, and forget it."""
        self.give_back()
        if self._output != self._given:
            os.close(self._output)
            self._output = self._given

    def _write(self, data: bytes) -> None:
        self._unwritten += data
        while self._unwritten:
            try:
                written = os.write(self._output, self._unwritten)
            except BlockingIOError:
                return
            except OSError:
                self._unwritten = b""  # the window was closed: nobody looks
                return
            self._unwritten = self._unwritten[written:]

    def _finish_writing(self) -> None:
        while self._unwritten:
            if not select.select([], [self._output], [], _LAST_WRITE_SECONDS)[1]:
                return
            self._write(b"")


def _without_waiting(output: int) -> int:
    """The same terminal, opened again: to set it so would set it for the user's shell, too."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(output), flags)
    except OSError:
        return output  # somebody else's terminal (su), or another container's: then with waiting


def encoding_of(stream: TextIO) -> str:
    """How a stream's letters become bytes."""
    return stream.encoding or sys.getdefaultencoding()
