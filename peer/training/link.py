"""The trainer's end of the socket pair to the daemon. Imports nothing slow: it is opened first."""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import traceback

from peer.training.messages import MAX_LINE_BYTES, Message, Progress, decode, encode


class DaemonLink:
    """Commands in the order they came; answers. When the daemon is gone, so is this process."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._commands: queue.SimpleQueue[Message] = queue.SimpleQueue()
        first = self._line()
        self.spec_bytes = first.removesuffix(b"\n")
        """The first line: the run spec's canonical bytes."""
        threading.Thread(target=self._receive, name="daemon-link", daemon=True).start()

    def pending(self, wait: bool) -> list[Message]:
        """The commands that came since the last call; with `wait`, at least one."""
        commands = [self._commands.get()] if wait else []
        while not self._commands.empty():
            commands.append(self._commands.get_nowait())
        return commands

    def send(self, message: Message) -> None:
        """Tell the daemon; progress is left out while it does not read, as totals follow."""
        if isinstance(message, Progress) and not select.select([], [self._socket], [], 0)[1]:
            return
        self._socket.sendall(encode(message))

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
            os._exit(0)
        if not line.endswith(b"\n"):
            os._exit(0)
        return line
