"""The trainer's end of the socket pair to the daemon. Imports nothing slow: it is opened first."""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import traceback
from typing import NoReturn

from peer.training.messages import (
    MAX_LINE_BYTES,
    Allow,
    Failed,
    Message,
    Progress,
    decode,
    encode,
)

_FAREWELL_SECONDS = 5.0


class DaemonLink:
    """Commands in the order they came; answers. When the daemon is gone, so is this process."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._commands: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._exit_status = 0
        first = self._line()
        self.spec_bytes = first.removesuffix(b"\n")
        """The first line: the run spec's canonical bytes."""
        allow = decode(self._line())
        if not isinstance(allow, Allow):
            raise ValueError(f"the second line must tell what is allowed, not {allow}")
        self.allow = allow
        """The second: what holds at the start."""
        self._receiver = threading.Thread(target=self._receive, name="daemon-link", daemon=True)
        self._receiver.start()

    def pending(self, wait: float | None) -> list[Message]:
        """The commands that came since the last call.

        Without any, waits for one: so many seconds, or for ever (None).
        """
        try:
            commands = [self._commands.get(timeout=wait)] if wait != 0 else []
        except queue.Empty:
            return []
        while not self._commands.empty():
            commands.append(self._commands.get_nowait())
        return commands

    def offer(self, progress: Progress) -> None:
        """Tell the daemon, or leave it out while it does not read: later totals follow."""
        if select.select([], [self._socket], [], 0)[1]:
            self.send(progress)

    def send(self, message: Message) -> None:
        """Tell the daemon; from any thread."""
        try:
            with self._sending:
                self._socket.sendall(encode(message))
        except ConnectionError:
            os._exit(self._exit_status)

    def end(self, failure: Failed, status: int) -> NoReturn:
        """Tell why, and exit once the daemon has read it.

        Exiting earlier could fail a write of the daemon's, which would then lose what it has
        not yet read.
        """
        self._exit_status = status
        self.send(failure)
        self._socket.shutdown(socket.SHUT_WR)
        self._receiver.join(_FAREWELL_SECONDS)  # it exits when the daemon closes its end
        os._exit(status)

    def _receive(self) -> None:
        try:
            while True:
                self._commands.put(decode(self._line()))
        except ValueError:
            # deaf to its daemon, a trainer must not go on
            traceback.print_exc()
            os._exit(1)

    def _line(self) -> bytes:
        # the daemon is gone: at once, even in the middle of a long inner step
        try:
            line = self._lines.readline(MAX_LINE_BYTES + 1)
        except ConnectionError:
            os._exit(self._exit_status)
        if not line.endswith(b"\n"):
            os._exit(self._exit_status)
        return line
