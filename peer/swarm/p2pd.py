"""The p2pd process, hivemind's libp2p daemon: started, asked, watched, and ended for certain."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from peer.swarm.hivemind_parts import (
    P2P,
    Multiaddr,
    P2PDaemonError,
    PeerID,
    p2pd_pb2,
    raise_if_failed,
    read_pbmsg_safe,
    write_pbmsg,
)
from peer.swarm.interface import Unreachable

# p2pd is no faster with more, and the processors are the trainer's
os.environ.setdefault("GOMAXPROCS", "1")

log = logging.getLogger(__name__)

STARTUP_SECONDS = 60  # p2pd's own default of 15 is too short on a slow machine
HEARTBEAT_SECONDS = 5.0
"""It is asked for a sign of life so often, and has as long to give it."""
MISSED_HEARTBEATS = 3
_TERMINATION_SECONDS = 1.0
_DIE_WITH_PARENT = (
    "import ctypes,os,signal,sys;"
    "ctypes.CDLL(None).prctl(1,signal.SIGKILL);"
    "os.getppid()==int(sys.argv[1]) and os.execv(sys.argv[2],sys.argv[2:])"
)
"""What the process is before it becomes p2pd: one that the kernel ends with its parent (1 is
PR_SET_PDEATHSIG), and that ends by itself if the parent was gone before that call."""


class PrivateP2P(P2P):  # type: ignore[misc]  # hivemind has no types
    """P2P with its sockets in a folder of ours instead of /tmp, and whose p2pd is quiet."""

    @classmethod
    def in_folder(cls, folder: Path) -> type[PrivateP2P]:
        return type("P2P", (cls,), {"_UNIX_SOCKET_PREFIX": f"/unix{folder}/"})

    @staticmethod
    def _make_process_args(*args: Any, **kwargs: Any) -> Any:
        # TLS only, which processors have instructions for: a fifth of p2pd's time
        command = P2P._make_process_args(*args, **kwargs, noise=False)
        if sys.platform != "linux":
            # it ends when its first connection to us does, or 30 s after its start without one
            return command
        launcher = (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()))
        return [*launcher, *command]

    @staticmethod
    def _log_p2pd_message(line: str) -> None:
        # it calls its own end an error, when a terminal's Ctrl-C reaches it too; whether it lives
        # is asked of it
        log.debug("p2pd: %s", line)


def peer_of(address: str) -> str:
    """The peer id at the end of a multiaddress."""
    return address.rpartition("/p2p/")[2]


class P2pd:
    """One running p2pd, as far as hivemind does not see to it.

    Its own calls leave their socket open when p2pd refuses or does not answer.
    """

    def __init__(self, p2p: P2P) -> None:
        self._child = p2p._child
        self._control = str(p2p.daemon_listen_maddr["unix"])

    @property
    def pid(self) -> int:
        return int(self._child.pid)

    async def open_stream(
        self, peer_id: str, protocol: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to another peer, to be closed by the caller. `P2PDaemonError`, `OSError`."""
        reader, writer = await asyncio.open_unix_connection(self._control)
        request = p2pd_pb2.StreamOpenRequest(
            peer=PeerID.from_base58(peer_id).to_bytes(), proto=[protocol]
        )
        try:
            await write_pbmsg(
                writer,
                p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_OPEN, streamOpen=request),
            )
            response = p2pd_pb2.Response()
            await read_pbmsg_safe(reader, response)
            raise_if_failed(response)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def connect(self, address: str, seconds: float) -> None:
        """Dial an address that ends with a peer id; nothing to do where a connection stands.

        Raises `Unreachable`.
        """
        peer_id = PeerID.from_base58(peer_of(address)).to_bytes()
        place = Multiaddr(address.rpartition("/p2p/")[0]).to_bytes()
        request = p2pd_pb2.ConnectRequest(peer=peer_id, addrs=[place])
        await self._ask(p2pd_pb2.Request(type=p2pd_pb2.Request.CONNECT, connect=request), seconds)

    async def disconnect(self, peer_id: str, seconds: float) -> None:
        """Give up connections to a peer, dead ones that still look alive. Raises `Unreachable`."""
        request = p2pd_pb2.DisconnectRequest(peer=PeerID.from_base58(peer_id).to_bytes())
        await self._ask(
            p2pd_pb2.Request(type=p2pd_pb2.Request.DISCONNECT, disconnect=request), seconds
        )

    async def wait_broken(self) -> str:
        """Wait until the process is gone, or has not answered for long; which."""
        ended: asyncio.Future[int] = asyncio.ensure_future(self._child.wait())
        missed = 0
        try:
            while missed < MISSED_HEARTBEATS:
                try:
                    with anyio.fail_after(HEARTBEAT_SECONDS):
                        status = await asyncio.shield(ended)
                except TimeoutError:
                    missed = 0 if await self._answers() else missed + 1
                else:
                    return f"p2pd ended with status {status}"
        finally:
            ended.cancel()
        return f"p2pd has not answered for {2 * MISSED_HEARTBEATS * HEARTBEAT_SECONDS:.0f} s"

    async def kill(self) -> None:
        """End the process, also one that stands still and heeds no other signal."""
        with anyio.move_on_after(_TERMINATION_SECONDS):
            await self._child.wait()
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        with suppress(FileNotFoundError):  # nearly always: only a killed one leaves its socket
            os.remove(self._control)  # noqa: PTH107  not worth a thread

    async def _answers(self) -> bool:
        try:
            await self._ask(p2pd_pb2.Request(type=p2pd_pb2.Request.IDENTIFY), HEARTBEAT_SECONDS)
        except Unreachable as error:
            log.debug("p2pd gives no sign of life: %s", error)
            return False
        return True

    async def _ask(self, request: Any, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                async with self._connection() as (reader, writer):
                    await write_pbmsg(writer, request)
                    response = p2pd_pb2.Response()
                    await read_pbmsg_safe(reader, response)
            raise_if_failed(response)
        except TimeoutError as error:
            raise Unreachable(f"p2pd did not answer for {seconds:.1f} s") from error
        except (P2PDaemonError, asyncio.IncompleteReadError, OSError) as error:
            raise Unreachable(str(error)) from error

    @asynccontextmanager
    async def _connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(self._control)
        try:
            yield reader, writer
        finally:
            writer.close()
