"""What the kernel says that connections have carried, for connections of this very process."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from peer.limits.sockets import Carried, SocketMeter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")

SIZE = 5_000_000


@pytest.fixture(params=["127.0.0.1", "::1"])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        listener = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {request.param}")
    with closing(listener), closing(socket.create_connection(listener.getsockname()[:2])) as near:
        far, _ = listener.accept()
        with closing(far):
            yield near, far


def carry(near: socket.socket, far: socket.socket, size: int) -> None:
    def drain() -> None:
        left = size
        while left:
            left -= len(far.recv(min(left, 1 << 16)))

    reader = threading.Thread(target=drain)
    reader.start()
    near.sendall(bytes(size))
    reader.join()


def test_what_connections_carry_is_counted_with_their_headers(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    meter = SocketMeter()
    before = meter.look([os.getpid()])
    carry(*connection, SIZE)
    more = meter.look([os.getpid()]) - before
    # both ends are here; loopback's segments are large, so that headers are few
    assert SIZE < more.sent < 1.05 * SIZE
    assert SIZE < more.received < 1.05 * SIZE


def test_other_processes_connections_are_not_counted(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    meter = SocketMeter()
    carry(*connection, SIZE)
    assert meter.look([]) == Carried()
    assert meter.look([2**22 + 1]) == Carried(), "a process that is gone has none"


def test_a_connection_that_closes_leaves_its_sum(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    meter = SocketMeter()
    carry(*connection, SIZE)
    before = meter.look([os.getpid()])
    for end in connection:
        end.close()
    after = meter.look([os.getpid()])
    assert before.sent <= after.sent < before.sent + 1000
