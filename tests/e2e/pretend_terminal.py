"""A terminal without a window: a process writes to it, and a test reads what a user would see."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

_SWITCH = re.compile(rb"(\x1b\[\?1049[hl])")
_TO_ANOTHER, _TO_THE_FIRST = b"\x1b[?1049h", b"\x1b[?1049l"
_CONTROL_IT = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""What a terminal's window does before it starts a shell."""


class PretendTerminal:
    """A pseudo-terminal. Leaving it as a context closes the window."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._ours, self._theirs = os.openpty()
        self._size = (columns, rows)
        self._first = self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._ended = False
        self.written = b""
        """All that came, control sequences included."""
        self.resize(columns, rows)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self, command: Sequence[str | os.PathLike[str]], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Run a command in the foreground of this terminal; end it yourself."""
        return subprocess.Popen(
            [sys.executable, "-c", _CONTROL_IT, *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=dict(environment),
        )

    def press(self, letters: str) -> None:
        """As a user does; "\\x03" is Ctrl-C."""
        os.write(self._ours, letters.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As a user does with the mouse; the process in the foreground is told."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with self._changed:
            self._size = (columns, rows)
            for screen in {id(it): it for it in (self._first, self._screen)}.values():
                screen.resize(rows, columns)

    @property
    def modes(self) -> list[object]:
        """Of the line: whether it echoes, and so on."""
        return list(termios.tcgetattr(self._theirs))

    def lines(self) -> list[str]:
        """What is to be seen."""
        with self._changed:
            return [line.rstrip() for line in self._screen.display]

    @property
    def shows_another_screen(self) -> bool:
        """Whether a program has taken the terminal and has not given it back."""
        return self._screen is not self._first

    @property
    def cursor_is_visible(self) -> bool:
        return not self._screen.cursor.hidden

    def wait_for(self, pattern: str, seconds: float) -> list[str]:
        """The lines to be seen when `pattern` (a regular expression) matches in them."""
        return self.wait_until(
            lambda: re.search(pattern, "\n".join(self.lines()), re.MULTILINE) is not None,
            seconds,
            repr(pattern),
        )

    def wait_until(self, true: Callable[[], bool], seconds: float, what: str) -> list[str]:
        """The lines to be seen when `true` holds, looked at whenever something was written."""
        with self._changed:
            found = self._changed.wait_for(lambda: true() or self._ended, seconds) and true()
            seen = self.lines()
        text = "\n".join(seen)
        assert found, f"{what} was not to be seen within {seconds:.0f} s:\n{text}"
        return seen

    def __enter__(self) -> PretendTerminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._theirs)
        self._reader.join(timeout=10)  # the last process that has it open is gone
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                data = b""
            with self._changed:
                self._ended = not data
                self.written += data
                self._feed(data)
                self._changed.notify_all()
            if not data:
                return

    def _feed(self, data: bytes) -> None:
        for piece in _SWITCH.split(data):
            if piece == _TO_ANOTHER:
                self._screen = pyte.Screen(*self._size)
            elif piece == _TO_THE_FIRST:
                self._screen = self._first
            else:
                self._stream.feed(piece)
                continue
            self._stream = pyte.ByteStream(self._screen)
