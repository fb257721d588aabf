"""What a user allows of the network, as a peer's daemon keeps it: claims, counts, what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path

import anyio
import pytest

from peer.averaging.links import SLOWEST, Link
from peer.limits import traffic as module
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.limits.sockets import SocketMeter
from peer.limits.traffic import Traffic
from peer.limits.usage import add_usage, used_this_month
from peer.notices import Notices
from swarmpb.v1 import control_pb2

pytestmark = pytest.mark.anyio

MB = 1_000_000


def today() -> date:
    return datetime.now().date()


def limited(folder: Path, **limits: float) -> tuple[LimitsInForce, Traffic]:
    in_force = LimitsInForce(Limits.model_validate(limits))
    return in_force, Traffic(in_force, folder, "run", Notices())


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    """Both ends of a TCP connection, in this very process."""
    ends: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    ends = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *pair: ends.set_result(pair), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    reader, other = await ends
    try:
        yield writer, reader
    finally:
        for end in (writer, other):
            end.close()
            await end.wait_closed()
        server.close()
        await server.wait_closed()


async def test_without_limits_nothing_is_held_and_nothing_claimed(tmp_path: Path) -> None:
    in_force, traffic = limited(tmp_path)
    assert traffic.allowance().of(Link(123, 456)) == Link(123, 456)
    assert not traffic.shaper.upload.limited
    await traffic.look()
    assert not in_force.acting()


async def test_what_a_peer_claims_follows_its_limits_at_once(tmp_path: Path) -> None:
    in_force, traffic = limited(tmp_path, upload=8e6, download=16e6)
    first = traffic.allowance().of(Link())
    assert 0.85 * MB < first.upload < MB, "less than the limit: TLS and headers are within it"
    assert 1.7 * MB < first.download < 2 * MB
    in_force.change(Limits(upload=800_000.0))
    assert traffic.shaper.upload.rate == 100_000
    assert 85_000 < traffic.allowance().of(Link()).upload < 100_000
    assert traffic.allowance().of(Link()).download == 0, "not known: there is no limit any more"


async def test_what_connections_carry_beside_streams_comes_out_of_what_streams_get(
    tmp_path: Path,
) -> None:
    _, traffic = limited(tmp_path, upload=8e6)
    await traffic.look()
    assert traffic.shaper.upload._bucket.wait(anyio.current_time()) == 0
    async with connection() as (writer, reader):
        writer.write(bytes(MB))
        await reader.readexactly(MB)
        await traffic.look()
    # a megabyte at a megabyte a second, less what may pass at once
    assert 0.6 < traffic.shaper.upload._bucket.wait(anyio.current_time()) < 1.0


async def test_what_was_carried_is_noted_with_other_runs_of_the_month(tmp_path: Path) -> None:
    add_usage(tmp_path, "another run", today(), 3 * MB, 4 * MB)
    _, traffic = limited(tmp_path, data_per_month=1000.0 * MB)
    async with connection() as (writer, reader), anyio.create_task_group() as tasks:
        tasks.start_soon(traffic.keep)
        await anyio.sleep(0.05)
        writer.write(bytes(MB))
        await reader.readexactly(MB)
        tasks.cancel_scope.cancel()
    # both ends are in this process; the rest are headers
    assert 9 * MB < used_this_month(tmp_path, today()) < 9.2 * MB
    reply = control_pb2.StatusReply()
    traffic.describe(reply)
    assert reply.month_bytes == used_this_month(tmp_path, today())
    assert reply.month_budget_bytes == 1000 * MB


async def test_the_rest_of_a_months_data_bounds_the_link_and_is_told(tmp_path: Path) -> None:
    add_usage(tmp_path, "run", today(), 30 * MB, 20 * MB)
    in_force, traffic = limited(tmp_path, data_per_month=100.0 * MB)
    await traffic._note_usage()
    claimed = traffic.allowance().of(Link(50 * MB, 50 * MB))
    assert SLOWEST <= claimed.upload == claimed.download < 50 * MB / 60
    traffic.sends_with("int4")
    await traffic.look()
    assert in_force.acting() == {
        "data_per_month": "50 MB of 100 MB used this month; its work is sent with int4"
    }
    in_force.change(Limits())
    await traffic.look()
    assert not in_force.acting()


async def test_runs_at_once_share_what_is_left_of_the_month(tmp_path: Path) -> None:
    _, traffic = limited(tmp_path, data_per_month=1000.0 * MB)
    alone = traffic.allowance().data
    for run in ("run", "another", "a third"):
        add_usage(tmp_path, run, today(), 10, 10)
    await traffic._note_usage()
    assert traffic.allowance().data == pytest.approx(alone / 3, rel=0.01)


async def test_a_limit_that_holds_somebody_back_is_told_and_then_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force, traffic = limited(tmp_path, upload=800_000.0)
    await traffic.look()
    assert not in_force.acting()
    for _ in range(3):
        await traffic.shaper.upload.turn(15_000)
    await traffic.look()
    assert in_force.acting() == {"upload": "held at 800 kbit/s"}
    monkeypatch.setattr(module, "RATE_SECONDS", 0.0)
    await traffic.look()
    assert not in_force.acting()


async def test_where_sockets_are_not_counted_the_estimate_is_above_the_streams_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(SocketMeter, "__init__", none)
    _, traffic = limited(tmp_path)
    await traffic.look()
    traffic.shaper.upload.count(MB)
    await traffic.look()
    carried = traffic._history[-1][1]
    assert MB < carried.sent < 1.2 * MB
    assert carried.received < 0.2 * MB


async def test_a_disk_that_takes_nothing_is_told_and_costs_no_count(tmp_path: Path) -> None:
    notices = Notices()
    folder = tmp_path / "state"
    folder.write_text("in the way")
    traffic = Traffic(LimitsInForce(Limits()), folder, "run", notices)
    async with connection() as (writer, reader):
        writer.write(bytes(MB))
        await reader.readexactly(MB)
        await traffic.look()
    await traffic._note_usage()
    assert any("cannot note how much data was used" in it for it in notices.current())
    folder.unlink()
    await traffic._note_usage()
    assert MB < traffic.month_bytes / 2 < 1.1 * MB, "it is noted when the disk takes it again"


async def test_the_rates_told_are_those_of_the_last_seconds(tmp_path: Path) -> None:
    _, traffic = limited(tmp_path)
    await traffic.look()
    async with connection() as (writer, reader):
        began = anyio.current_time()
        writer.write(bytes(MB))
        await reader.readexactly(MB)
        await anyio.sleep(0.2)
        await traffic.look()
        seconds = anyio.current_time() - began
    sent, received = traffic.rates
    assert sent == pytest.approx(8 * MB / seconds, rel=0.2)
    assert received == pytest.approx(8 * MB / seconds, rel=0.2)
