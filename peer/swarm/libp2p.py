"""The real network: hivemind's asynchronous P2P and DHT layers in the caller's event loop.

Only the asynchronous layer is used; hivemind's processes, matchmaking and averager are not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from peer.swarm.clock import CLOCK
from peer.swarm.framing import FramedStream
from peer.swarm.gate import OPEN, Gate, GuardedStreams, Served
from peer.swarm.greeting import Greeter
from peer.swarm.hivemind_parts import (
    P2P,
    DHTNode,
    P2PDaemonError,
    StreamInfo,
)
from peer.swarm.interface import (
    Barred,
    Handler,
    Method,
    Refused,
    Stream,
    Unreachable,
    sealed_record,
    short,
)
from peer.swarm.p2pd import STARTUP_SECONDS, P2pd, PrivateP2P
from peer.swarm.records import SignedRecords
from peer.swarm.shaping import Shaper
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import swarm_pb2
from swarmpb.version import PROTOCOL_VERSION

log = logging.getLogger(__name__)

# hivemind's modules each keep `time.time` under this name: with it, all records would expire when
# somebody sets the machine's clock
for _name, _module in list(sys.modules.items()):
    if _name.partition(".")[0] == "hivemind" and "get_dht_time" in vars(_module):
        vars(_module)["get_dht_time"] = CLOCK.now

_DHT_CALL_SECONDS = 2.0
_REFUSAL_SECONDS = 5.0
_MEET_SECONDS = 10.0
"""Who opens a stream may take so long to show what lets it in."""
_CLOSE_SECONDS = 1.0
_STREAMS_PER_CALLER = 32
_READ_AHEAD = 1 << 20
"""Bytes that a stream takes in before they are asked for; asyncio's own 64 KiB wake it up often."""


class Libp2pNetwork:
    """A `Network` over p2pd, hivemind's libp2p daemon, which lives and dies with this process."""

    def __init__(
        self, p2p: P2P, dht: DHTNode, identity: PeerIdentity, gate: Gate, shaper: Shaper
    ) -> None:
        self._p2p = p2p
        self._p2pd = P2pd(p2p)
        self._dht = dht
        self._identity = identity
        self._streams = GuardedStreams(gate)
        self._streams_of: Counter[str] = Counter()
        self._greeter = Greeter(self._p2pd, dht, identity.peer_id)
        self._shaper = shaper
        self._tasks = [
            asyncio.create_task(it) for it in (self._greeter.watch_clock(), shaper.keep_granting())
        ]
        self._closed = False

    @classmethod
    async def start(
        cls,
        identity_path: Path,
        runtime_dir: Path,
        host: str,
        port: int,
        initial_peers: Sequence[str] = (),
        gate: Gate = OPEN,
        shaper: Shaper | None = None,
    ) -> Libp2pNetwork:
        """Join the network that `initial_peers` belong to, or begin one.

        identity_path: a file that `PeerIdentity.to_bytes` wrote; runtime_dir: private folder for
        p2pd's sockets; host: address to listen on; port: TCP port, 0 takes a free one; gate: who
        may open streams, and to whom; shaper: the rates that all streams together keep.

        Raises `UserError`: PORT_IN_USE, SWARM_UNREACHABLE (no initial peer answers), CLOCK_OFF.
        """
        identity = PeerIdentity.load(identity_path)
        _check_port(host, port)
        local = ipaddress.ip_address(host).is_loopback
        version = 6 if ":" in host else 4
        try:
            p2p = await PrivateP2P.in_folder(runtime_dir).create(
                identity_path=str(identity_path),
                initial_peers=list(initial_peers),
                host_maddrs=[f"/ip{version}/{host}/tcp/{port}"],
                auto_nat=not local,
                nat_port_map=not local,
                use_relay=not local,
                check_if_identity_free=False,  # the lock on the state folder sees to that
                startup_timeout=STARTUP_SECONDS,
            )
        except P2PDaemonError as error:
            raise _unreachable(initial_peers, str(error)) from error
        try:
            dht = await DHTNode.create(
                p2p=p2p,
                initial_peers=list(initial_peers),
                wait_timeout=_DHT_CALL_SECONDS,
                cache_refresh_before_expiry=0,
                record_validator=SignedRecords(),
            )
        except Exception as error:  # hivemind raises RuntimeError and its own ValidationError
            await p2p.shutdown()
            if "local time must be within" in str(error):
                raise UserError(
                    Exit.CLOCK_OFF,
                    "this machine's clock is more than 3 s off the swarm's; set it "
                    "(for example `timedatectl set-ntp true`) and join again",
                ) from error
            if not isinstance(error, RuntimeError) and type(error).__name__ != "ValidationError":
                raise
            raise _unreachable(initial_peers, str(error)) from error
        return cls(p2p, dht, identity, gate, shaper or Shaper())

    @property
    def peer_id(self) -> str:
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        own = f"/p2p/{self.peer_id}"
        return tuple(f"{address}{own}" for address in self._p2p._visible_maddrs)

    async def serve(self, handlers: Mapping[Method[Any, Any], Handler]) -> None:
        for method, handler in handlers.items():
            await self._p2p.add_binary_stream_handler(
                _wire_name(method), self._incoming(method, handler)
            )

    def _incoming(self, method: Method[Any, Any], handler: Handler) -> Any:
        async def serve_stream(
            info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            caller = info.peer_id.to_base58()
            _read_ahead(reader)
            place = (reader, writer, method, True, short(caller))
            framed = partial(FramedStream, *place, shaper=self._shaper)
            self._streams_of[caller] += 1
            try:
                if self._streams_of[caller] > _STREAMS_PER_CALLER:
                    raise Refused(f"more than {_STREAMS_PER_CALLER} streams at once")
                served = Served()
                with self._streams.opened(caller, method, served.end) as meet, served.going_on():
                    stream = framed(meet)
                    stream.remote = str(info.addr)
                    try:
                        await stream.meet(_MEET_SECONDS)
                        await stream.show(self._streams.credentials(), _MEET_SECONDS)
                        await handler(caller, stream)
                        await stream.finish(_REFUSAL_SECONDS)
                    finally:
                        stream.end()
            except Refused as refusal:
                await _try_refuse(framed(_nobody), str(refusal))
            except Unreachable as error:
                log.debug("%s: %s", method.name, error)
            except asyncio.CancelledError:
                # the loop ends; asyncio would print a traceback for each stream still open
                log.debug("%s was cut short", method.name)
            except Exception:
                # a bug of ours must not take the listener down; it is told to both sides
                level = logging.DEBUG if self._closed else logging.ERROR
                log.log(level, "%s from %s failed", method.name, short(caller), exc_info=True)
                await _try_refuse(framed(_nobody), "an internal error; the peer's log says more")
            finally:
                self._streams_of[caller] -= 1
                if not self._streams_of[caller]:
                    del self._streams_of[caller]
                writer.close()

        return serve_stream

    @asynccontextmanager
    async def open(
        self, peer_id: str, method: Method[Any, Any], seconds: float
    ) -> AsyncIterator[Stream]:
        writer: asyncio.StreamWriter | None = None

        def end(reason: Barred) -> None:
            log.debug("%s with %s is ended: %s", method.name, short(peer_id), reason)
            if writer is not None:
                writer.transport.abort()

        with self._streams.opened(peer_id, method, end) as meet:
            reader, writer = await self._dial(peer_id, method, seconds)
            place = (reader, writer, method, False, short(peer_id))
            stream = FramedStream(*place, meet, self._shaper)
            try:
                await stream.show(self._streams.credentials(), seconds)
                yield stream
            finally:
                stream.end()
                writer.close()

    async def _dial(
        self, peer_id: str, method: Method[Any, Any], seconds: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            with anyio.fail_after(seconds):
                reader, writer = await self._p2pd.open_stream(peer_id, _wire_name(method))
        except TimeoutError as error:
            raise Unreachable(f"{short(peer_id)} did not answer for {seconds:.1f} s") from error
        except (P2PDaemonError, asyncio.IncompleteReadError, OSError, ValueError) as error:
            # ValueError: what another peer named is no peer id
            raise Unreachable(f"{short(peer_id)} cannot be reached: {error}") from error
        _read_ahead(reader)
        return reader, writer

    async def publish(self, kind: str, payload: bytes, lifetime: float) -> None:
        record = sealed_record(self._identity, kind, payload)
        stored = await self._dht.store(
            kind, record, expiration_time=CLOCK.now() + lifetime, subkey=self.peer_id
        )
        if not stored:
            log.debug("no DHT peer took the %s record", kind)

    async def lookup(self, kind: str) -> dict[str, bytes]:
        found = await self._dht.get(kind, latest=True)
        if found is None or not isinstance(found.value, dict):
            return {}
        payloads = {}
        for peer_id, (value, _) in found.value.items():
            # the validator has checked the signature when the record came in
            payloads[peer_id] = swarm_pb2.Envelope.FromString(value).payload
        return payloads

    async def reconnect(self, addresses: Sequence[str]) -> int:
        return await self._greeter.greet_all(addresses)

    async def refresh(self) -> None:
        try:
            with anyio.fail_after(_DHT_CALL_SECONDS):
                await self._p2p.get_visible_maddrs(latest=True)
        except (TimeoutError, P2PDaemonError, asyncio.IncompleteReadError, OSError) as error:
            log.debug("p2pd does not say where it listens: %s", error)
        except ValueError:
            log.debug("p2pd has no addresses just now")

    def review(self) -> None:
        self._streams.review()

    async def wait_broken(self) -> str:
        return await self._p2pd.wait_broken()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        # a signal to the process group reaches p2pd too: hivemind then waits for ever for answers
        for part in (self._dht, self._p2p):
            with anyio.move_on_after(_CLOSE_SECONDS):
                await part.shutdown()
        with anyio.CancelScope(shield=True):
            await self._p2pd.kill()
        control = self._p2p._client.control
        for task in (control._read_task, control._write_task, self._p2p._listen_task):
            if task is not None and task.done() and not task.cancelled():
                task.exception()  # p2pd was killed; asyncio would print that nobody asked


async def _try_refuse(stream: FramedStream, reason: str) -> None:
    try:
        await stream.refuse(reason, _REFUSAL_SECONDS)
    except (Unreachable, OSError) as error:
        log.debug("a refusal found nobody: %s", error)


def _nobody(credentials: bytes) -> None:
    """For a stream that hears nothing more."""


def _read_ahead(reader: asyncio.StreamReader) -> None:
    reader._limit = _READ_AHEAD  # type: ignore[attr-defined]  # hivemind gives no way to set it


def _wire_name(method: Method[Any, Any]) -> str:
    return f"/murmuration/{PROTOCOL_VERSION}/{method.name}"


def _check_port(host: str, port: int) -> None:
    """p2pd's own message for a taken port is hard to tell from others: try it first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                Exit.PORT_IN_USE,
                f"cannot listen on {host} port {port}: {error.strerror}; choose another with "
                "--p2p-port (0 takes a free one)",
            ) from error


def _unreachable(initial_peers: Sequence[str], detail: str) -> UserError:
    asked = ", ".join(initial_peers) or "none"
    return UserError(
        Exit.SWARM_UNREACHABLE,
        f"no peer of the run could be reached ({asked}): {detail[:200]}; check the network and "
        "that the coordinator or another peer is up",
    )
