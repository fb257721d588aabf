"""How long a peer takes to go: for its user at once, for its hours after the round under way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import anyio
import pytest

from peer import departure as departure_module
from peer.daemon import Daemon
from peer.departure import Departure
from peer.events import Stop
from peer.resting.rest import Rest
from peer.runtime import RuntimeFolder

pytestmark = pytest.mark.anyio

HOURS = Rest("outside the hours you allow")
GAME = Rest("steam is running", urgent=True)


class Peer:
    """A daemon in a round that does not end, in a process whose end is only noted.

    Time passes when somebody waits for it, and at once.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.story: list[tuple[float, str]] = []
        self.finishes = False
        self.meanwhile: Callable[[Departure], None] | None = None
        """What somebody does while the peer waits for the first time."""
        monkeypatch.setattr(anyio, "sleep", self._wait)
        monkeypatch.setattr(departure_module, "begin_anew", lambda _: self._told("begins anew"))
        monkeypatch.setattr(os, "_exit", lambda _: self._told("exits"))

    async def departs(self, how: Callable[[Departure], None]) -> list[tuple[float, str]]:
        async with anyio.create_task_group() as tasks:
            self._departure = Departure(cast(RuntimeFolder, self), tasks)
            self._departure.daemon = cast(Daemon, self)
            how(self._departure)
        return self.story

    async def _wait(self, seconds: float) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile(self._departure)
        self.now += seconds

    def _told(self, what: str) -> None:
        self.story.append((self.now, what))

    # ---- the daemon, and its folder ----------------------------------------------------

    def rest(self, rest: Rest) -> None:
        self._told(f"rests: {rest.reason}")

    def leave(self) -> None:
        self._told("leaves")

    def stop_now(self, stop: Stop) -> Stop:
        self._told(f"breaks the round off: {stop.reason}")
        return replace(stop, rest=stop.rest and not self.finishes)

    def close(self) -> None:
        self._told("gives its folder back")


async def test_where_somebody_wants_the_machine_it_is_theirs_within_three_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = await Peer(monkeypatch).departs(lambda it: it.rest(GAME))
    assert [what for _, what in story] == [
        "rests: steam is running",
        "breaks the round off: steam is running",
        "begins anew",
    ]
    assert story[-1][0] <= 3.0


async def test_for_its_hours_a_peer_sees_a_long_round_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = await Peer(monkeypatch).departs(lambda it: it.rest(HOURS))
    assert story[1] == (60.0, "breaks the round off: outside the hours you allow")
    assert story[-1][1] == "begins anew"


async def test_a_game_that_starts_while_it_waits_for_the_round_counts_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer(monkeypatch)
    peer.meanwhile = lambda it: it.rest(GAME)
    story = await peer.departs(lambda it: it.rest(HOURS))
    assert [what for _, what in story[:2]] == [
        "rests: outside the hours you allow",
        "rests: steam is running",
    ]


async def test_who_is_told_to_leave_while_it_goes_to_rest_does_not_begin_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer(monkeypatch)
    peer.meanwhile = lambda it: it.leave()
    told = [what for _, what in await peer.departs(lambda it: it.rest(GAME))]
    assert "leaves" in told
    assert "exits" in told
    assert "begins anew" not in told


async def test_who_was_to_finish_anyway_ends_where_it_would_have_rested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer(monkeypatch)
    peer.finishes = True
    told = [what for _, what in await peer.departs(lambda it: it.rest(HOURS))]
    assert told[-1] == "exits"
    assert "begins anew" not in told


async def test_a_signal_counts_also_while_a_peer_says_goodbye_for_a_rest() -> None:
    async with anyio.create_task_group() as tasks:
        departure = Departure(cast(RuntimeFolder, None), tasks)
        departure.stop = Stop(0, "outside the hours you allow", rest=True)  # so its daemon ended
        assert departure.ended().rest
        departure.leave()
    assert departure.ended() == Stop(0, "asked to leave")
