"""A process that this one starts, watches and ends: its own session, a log file, a lifeline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

_TAIL_BYTES = 8192


class Child:
    """`python -m MODULE ARGUMENTS…`, started at once.

    It has its own session, so that a terminal's Ctrl-C reaches only its starter, and it ends when
    its starter does (`coordinator.demo.lifeline`).
    """

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        """name: for people; command: module and arguments; log: takes everything it writes."""
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "coordinator.demo.lifeline", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # `-m` would find modules of ours in the caller's folder before the installed ones
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit(self) -> int | None:
        """The exit status, negative for a signal's number; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Signal the process itself; nothing if it has ended."""
        self._process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL for the process and all that it started."""
        for process in self._session():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it ended by itself meanwhile

    def gone(self) -> bool:
        """Whether neither the process nor anything that it started is alive."""
        return self.exit is not None and not self._session()

    def lines(self) -> list[str]:
        """The last complete lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()

    def last_words(self) -> str:
        """The last line that it wrote, without what a terminal would obey."""
        lines = [line for line in self.lines() if line.strip()]
        words = lines[-1] if lines else "it wrote nothing"
        return "".join(letter if letter.isprintable() else " " for letter in words).strip()

    def close(self) -> None:
        """Let go of the lifeline of an ended process."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _session(self) -> list[psutil.Process]:
        """What is alive in its session: not the dead that nobody has reaped yet."""
        return [process for process in psutil.process_iter() if _in_session(process, self.pid)]


def _in_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    except PermissionError:
        return False  # another user's: none of ours
