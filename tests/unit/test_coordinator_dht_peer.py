"""The coordinator's DHT peer: which swarms it has lost sight of, and how it meets them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from coordinator import dht_peer
from coordinator.dht_peer import Whereabouts, keep_in_touch

pytestmark = pytest.mark.anyio


class Dht:
    """Knows the peers in `records`, and meets those that are dialled."""

    def __init__(self, records: dict[str, set[str]]) -> None:
        self.records = records
        self.dialled: list[tuple[str, ...]] = []
        self.looks = 0
        self.failing = False

    async def lookup(self, kind: str) -> dict[str, bytes]:
        self.looks += 1
        if self.failing:
            self.failing = False
            raise RuntimeError("no answer")
        return dict.fromkeys(self.records.get(kind, ()), b"")

    async def reconnect(self, addresses: Sequence[str]) -> int:
        self.dialled.append(tuple(addresses))
        return 1


async def after_looks(dht: Any, where: Whereabouts, looks: int) -> list[tuple[str, ...]]:
    """Whom it has dialled after so many looks."""

    async def whereabouts() -> Whereabouts:
        if dht.looks >= looks:
            tasks.cancel_scope.cancel()
        return where

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_in_touch, dht, whereabouts)
    dialled: list[tuple[str, ...]] = dht.dialled
    return dialled


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_peer, "LOOK_SECONDS", 0.0)


async def test_who_reports_and_has_a_record_is_left_alone() -> None:
    dht = Dht({"record:demo": {"anna", "bert"}})
    assert await after_looks(dht, {"demo": {"anna": ("/a",)}}, looks=3) == []


async def test_of_those_that_are_not_found_one_is_met_at_a_time() -> None:
    dht = Dht({"record:demo": {"anna"}})
    where = {"demo": {"anna": ("/a",), "bert": ("/b", "/b2"), "cleo": ("/c",)}}
    dialled = await after_looks(dht, where, looks=20)
    assert len(dialled) >= 20
    assert set(dialled) == {("/b", "/b2"), ("/c",)}, "by chance, or an unreachable one stays first"


async def test_a_look_that_fails_is_said_and_not_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dht = Dht({})
    dht.failing = True
    assert await after_looks(dht, {"demo": {"anna": ("/a",)}}, looks=2) != []
    assert "no look at the swarm of run demo" in caplog.text
