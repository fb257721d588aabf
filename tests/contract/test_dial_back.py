"""Dialling back over real libp2p: what is found at a port, and what the program there sees."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest

from peer import reach_watch
from peer.notices import Notices
from peer.reach_watch import ReachWatch
from peer.swarm import dial_back
from peer.swarm.dial_back import GREETING, DialBack, Found, ask
from peer.swarm.libp2p import Libp2pNetwork
from peer.swarm.reach import DIRECT, OUTGOING_ONLY, ports_of
from swarmpb.signing import PeerIdentity

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def networks() -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork, Libp2pNetwork]]:
    """One that asks, and two that dial back."""
    async with AsyncExitStack() as held:
        known: tuple[str, ...] = ()
        started = []
        for _ in range(3):
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="mt-")))
            (folder / "id").write_bytes(PeerIdentity.generate().to_bytes())
            network = await Libp2pNetwork.start(folder / "id", folder, HERE, 0, known)
            held.push_async_callback(network.close)
            known += network.addresses
            started.append(network)
        asker, one, other = reversed(started)
        for witness in (one, other):
            await witness.serve(DialBack().handlers())
        yield asker, one, other


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """The port of a program that is not libp2p."""
    server = await asyncio.start_server(serve, HERE, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_libp2p_that_answers_is_found_by_its_first_words(
    networks: tuple[Libp2pNetwork, ...],
) -> None:
    asker, one, _ = networks
    (port,) = ports_of(asker.addresses)
    word = await ask(asker, one.peer_id, port)
    assert word is not None
    assert (word.found, word.address, word.port) == (Found.LIBP2P, HERE, port)


async def test_a_port_where_nobody_listens_is_found_closed(
    networks: tuple[Libp2pNetwork, ...],
) -> None:
    asker, one, _ = networks
    async with listening(_silent) as port:
        pass
    word = await ask(asker, one.peer_id, port)
    assert word is not None
    assert word.found == Found.NOT_OPEN


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _lies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING.replace(b"1.0.0", b"9.9.9"))
    await reader.read()
    writer.close()


async def _trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not reader.at_eof() and reader.exception() is None:
        writer.write(b"\x13")
        await anyio.sleep(0.05)
    writer.close()


async def _floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while not reader.at_eof():
            writer.write(bytes(1 << 16))
            await writer.drain()
    except ConnectionError:
        pass  # the dialler has hung up
    writer.close()


@pytest.mark.parametrize("serve", [_silent, _hangs_up, _lies, _trickles, _floods])
async def test_another_program_at_the_port_gets_nothing_sent_and_the_dialler_away_in_time(
    networks: tuple[Libp2pNetwork, ...], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_back, "DIAL_SECONDS", 0.5)
    asker, one, _ = networks
    gone = anyio.Event()
    sent = bytearray()

    async def overhear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        setattr(reader, "feed_data", sent.extend)  # noqa: B010  all that comes
        try:
            await serve(reader, writer)
        finally:
            gone.set()

    async with listening(overhear) as port:
        word = await ask(asker, one.peer_id, port)
        with anyio.fail_after(5):
            await gone.wait()
    assert word is not None
    assert word.found == Found.SOMETHING_ELSE
    assert sent == b""


async def test_a_peer_finds_out_that_others_reach_it_and_when_it_moves_that_they_do_not(
    networks: tuple[Libp2pNetwork, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach_watch, "LOOK_SECONDS", 0.02)
    asker, one, other = networks
    (port,) = ports_of(asker.addresses)
    notices = Notices()
    watch = ReachWatch([*one.addresses, *other.addresses], notices)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.watch, asker, Random(1))
        await _until(lambda: watch.reach.kind == DIRECT)
        assert watch.reach.reason == f"dialled by 2 peers on this machine, at port {port}"
        assert notices.current() == []

        async with listening(_silent) as closed:
            pass
        moved = (f"/ip4/{HERE}/tcp/{closed}/p2p/{asker.peer_id}",)
        monkeypatch.setattr(Libp2pNetwork, "addresses", moved)
        await _until(lambda: watch.reach.kind == OUTGOING_ONLY)
        assert watch.reach.client_mode
        (told,) = notices.current()
        assert f"port {closed} refuses connections; tried by 2 peers on this machine" in told
        assert "set p2p_port" in told
        tasks.cancel_scope.cancel()


async def _until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not true():  # noqa: ASYNC110  what is waited for has no event
            await anyio.sleep(0.02)
