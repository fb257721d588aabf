"""Forks benchmark processes from one that has imported what is slow to import.

Eight peers on two cores would import for longer than they average. `processes.py` starts this
module with a socket as standard input; each message there is an order, and a fork that it asks
for comes with its standard streams and shared memory. End of file ends all that was forked.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ORDERS, REPLIES, LOG, SHARED = range(4)
"""File descriptors of a forked process."""
_PR_SET_PDEATHSIG = 1
_ORDER_BYTES = 1 << 16


class Orders:
    """A forked process's side of the conversation: JSON lines in, JSON lines out."""

    def __init__(self) -> None:
        self._orders = os.fdopen(os.dup(ORDERS), encoding="utf-8")
        self._replies = os.fdopen(os.dup(REPLIES), "w", encoding="utf-8")
        os.dup2(LOG, REPLIES)  # whatever else prints must not disturb

    def hear(self) -> dict[str, Any]:
        """The next order; `SystemExit` when there will be none."""
        line = self._orders.readline()
        if not line:
            raise SystemExit(0)
        order: dict[str, Any] = json.loads(line)
        return order

    def reply(self, **values: Any) -> None:
        self._replies.write(json.dumps(values) + "\n")
        self._replies.flush()


def die_with_parent() -> None:
    """From here on the kernel kills this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    modules = {name: importlib.import_module(name) for name in sys.argv[1:]}
    gc.freeze()  # collections in a fork need not copy these pages
    forked: set[int] = set()
    with socket.socket(fileno=0) as line:
        try:
            while True:
                data, descriptors, _, _ = socket.recv_fds(line, _ORDER_BYTES, SHARED + 1)
                if not data:
                    return
                order = json.loads(data)
                if "end" in order:
                    _end(order["end"])
                    forked.discard(order["end"])
                    line.sendall(b"ended\n")
                    continue
                run = getattr(modules[order["module"]], order["function"])
                pid = os.fork()
                if pid == 0:
                    line.detach()
                    _become(run, descriptors)
                forked.add(pid)
                for descriptor in descriptors:
                    os.close(descriptor)
                line.sendall(f"{pid}\n".encode())
        finally:
            for pid in forked:
                _end(pid)


def _become(run: Any, descriptors: list[int]) -> NoReturn:
    """Run `run(orders)` as a process of its own session, and end."""
    status = 1
    try:
        os.setsid()
        die_with_parent()
        # should memory run out, this is what it is to be taken from
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        os.register_at_fork(after_in_child=die_with_parent)  # hivemind forks
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(len(descriptors), max(descriptors) + 1)
        run(Orders())
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _end(pid: int) -> None:
    """Kill a fork with all of its own; it is ours to reap, so its id is not another's yet."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
