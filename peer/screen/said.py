"""What is written to stderr while a screen is shown: kept, shown there, written out afterwards."""

from __future__ import annotations

import io
import logging
import sys
from collections import deque
from typing import TextIO

_KEPT = 200


class Said(io.TextIOBase):
    """Stands in for stderr. `begin` and `end` it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._unfinished = ""
        self._left_out = 0
        self._stderr: TextIO | None = None
        self._logs: list[logging.StreamHandler[TextIO]] = []

    def begin(self) -> None:
        """Take what would be written to the terminal; a stderr that is a file stays one."""
        if self._stderr is not None or not sys.stderr.isatty():
            return
        self._stderr = sys.stderr
        handlers = [it for it in logging.getLogger().handlers
                    if isinstance(it, logging.StreamHandler)]  # fmt: skip
        self._logs = [it for it in handlers if it.stream is sys.stderr]
        for handler in self._logs:
            handler.setStream(self)  # type: ignore[arg-type]  # all that it needs of a stream
        sys.stderr = self

    def end(self) -> None:
        """Write out what was said, on the real stderr, which is used again."""
        stderr, self._stderr = self._stderr, None
        if stderr is None:
            return
        sys.stderr = stderr
        for handler in self._logs:
            handler.setStream(stderr)
        lines = self.lines()
        if self._left_out:
            lines = (f"({self._left_out} earlier lines were left out)", *lines)
        self._lines.clear()
        self._unfinished, self._left_out = "", 0
        if lines:
            stderr.write("\n".join(lines) + "\n")
            stderr.flush()

    def lines(self) -> tuple[str, ...]:
        """What was said since the screen was opened, the newest last."""
        return (*self._lines, self._unfinished) if self._unfinished.strip() else (*self._lines,)

    def write(self, text: str) -> int:
        *whole, self._unfinished = (self._unfinished + text).split("\n")
        for line in whole:
            if line.strip():
                self._left_out += len(self._lines) == _KEPT
                self._lines.append(line)
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False
