"""Reading a run's log while it is written and its parts change their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from peer.run_log import NAME, OLDER_PARTS


def parts(folder: Path) -> list[Path]:
    """The log's files that are there, the oldest first."""
    names = [f"{NAME}.{number}" for number in range(OLDER_PARTS, 0, -1)] + [NAME]
    return [it for it in (folder / name for name in names) if it.is_file() and not it.is_symlink()]


class LogReader:
    """First the last lines, then whatever is written after them, each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO | None = None
        self._half = ""
        """Of a line whose end is not written yet."""

    def last(self, count: int) -> list[str]:
        """The last `count` lines; `new` goes on after them. `OSError` if unreadable."""
        lines: list[str] = []
        for path in parts(self._folder):
            self._open(path)
            lines += self._read()
        return lines[-count:] if count else []

    def new(self) -> list[str]:
        """Lines that were written since the last call. `OSError` if unreadable."""
        lines = self._read() if self._file is not None else []
        for path in self._newer():
            lines += self._read()  # what came in between, to the part that is read until now
            self._open(path)
            lines += self._read()
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _newer(self) -> list[Path]:
        """The parts that came after the one that is open."""
        found = parts(self._folder)
        if self._file is None:
            return found
        current = os.fstat(self._file.fileno())
        for index, path in enumerate(found):
            try:
                if os.path.samestat(path.stat(), current):
                    return found[index + 1 :]
            except FileNotFoundError:
                continue  # it has another name by now: next time
        return found  # so much was written that it is gone

    def _open(self, path: Path) -> None:
        try:
            file = path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return  # renamed since: the next look finds it
        self.close()
        self._half = ""
        self._file = file

    def _read(self) -> list[str]:
        return list(self._whole_lines(self._file)) if self._file is not None else []

    def _whole_lines(self, file: TextIO) -> Iterator[str]:
        for piece in file:
            self._half += piece
            if self._half.endswith("\n"):
                yield self._half.rstrip("\n")
                self._half = ""
