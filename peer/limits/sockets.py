"""What this machine's TCP connections have carried, as Linux counts it for each socket.

`sock_diag(7)` tells anybody the counters of all sockets; `/proc` says which are whose. Headers of
IP and TCP are counted by segment, link layers are not. A connection that closes between two looks
takes what it carried since the last one with it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

_SOCK_DIAG = 4  # netlink's number of it
_BY_FAMILY = 20
_REQUEST_DUMP = 0x1 | 0x300
_DONE, _ERROR = 3, 2
_ALL_STATES = 0xFFFFFFFF & ~(1 << 10)  # but listening ones
_INFO = 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE_BYTES = 72
_COOKIE, _INODE = slice(44, 52), slice(68, 72)
_RECEIVED, _SEGMENTS, _SENT = 128, 136, 200
"""Places in `tcp_info`; the last is there from Linux 4.19 on."""
_HEADERS = {socket.AF_INET: 20 + 32, socket.AF_INET6: 40 + 32}
"""Bytes of IP's and of TCP's with timestamps."""
_SECONDS = 2.0


@dataclass(frozen=True)
class Carried:
    """Bytes, headers included."""

    sent: int = 0
    received: int = 0

    def __add__(self, other: Carried) -> Carried:
        return Carried(self.sent + other.sent, self.received + other.received)

    def __sub__(self, other: Carried) -> Carried:
        return Carried(self.sent - other.sent, self.received - other.received)


class SocketMeter:
    """Counts what all connections of some processes carry, from one look to the next."""

    def __init__(self) -> None:
        """`OSError` where the kernel does not tell."""
        self.total = Carried()
        self._known: dict[bytes, Carried] = {}
        """By cookie, which no two sockets share."""
        if sys.platform != "linux":
            raise OSError("only Linux counts the bytes of each socket")
        list(_sockets())

    def look(self, pids: Iterable[int]) -> Carried:
        """The total by now, with the connections of these processes. Takes a millisecond or so."""
        own = {inode for pid in pids for inode in _inodes(pid)}
        seen = {}
        for cookie, inode, carried in _sockets():
            if inode in own or cookie in self._known:  # one that is closing has no inode any more
                seen[cookie] = carried
                self.total += carried - self._known.get(cookie, Carried())
        self._known = seen
        return self.total


def _inodes(pid: int) -> Iterator[int]:
    """Of the sockets that a process has open; none if it is gone or another user's."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208  pathlib's takes five times as long
            with suppress(OSError):
                target = os.readlink(f"{folder}/{name}")  # noqa: PTH115  as above
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def _sockets() -> Iterator[tuple[bytes, int, Carried]]:
    """Cookie, inode and bytes of each TCP connection of this network namespace."""
    for family in _HEADERS:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
            link.settimeout(_SECONDS)
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), _ALL_STATES)
            size = _HEADER.size + len(request)
            link.send(_HEADER.pack(size, _BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
            yield from _answers(link, _HEADERS[family])


def _answers(link: socket.socket, headers: int) -> Iterator[tuple[bytes, int, Carried]]:
    while True:
        data = link.recv(1 << 18)
        at = 0
        while at + _HEADER.size <= len(data):
            size, kind = _HEADER.unpack_from(data, at)[:2]
            if kind == _DONE:
                return
            if kind == _ERROR or size < _HEADER.size:
                raise OSError("the kernel does not tell what its sockets carry")
            message = data[at + _HEADER.size : at + size]
            if (carried := _carried(message, headers)) is not None:
                yield message[_COOKIE], int.from_bytes(message[_INODE], sys.byteorder), carried
            at += (size + 3) & ~3


def _carried(message: bytes, headers: int) -> Carried | None:
    """By `tcp_info`; None if a socket has none."""
    at = _MESSAGE_BYTES
    while at + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < _ATTRIBUTE.size:
            return None
        if kind == _INFO:
            info = message[at + _ATTRIBUTE.size : at + size]
            if len(info) < _SENT + 8:
                raise OSError("this kernel is too old to count what sockets send")
            (received,) = struct.unpack_from("=Q", info, _RECEIVED)
            out, into = struct.unpack_from("=II", info, _SEGMENTS)
            (sent,) = struct.unpack_from("=Q", info, _SENT)
            return Carried(sent + headers * out, received + headers * into)
        at += (size + 3) & ~3
    return None
