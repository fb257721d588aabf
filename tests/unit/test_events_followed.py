"""`coordinator events`: all that happened, once, over a coordinator's absence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.commands.client import AdminClient
from coordinator.commands.events import _line, _object, told_events
from coordinator.domain import EventKind, UnknownRunError
from coordinator.happenings.happening import Happening
from coordinator.membership.authority import Authority
from coordinator.registration import sign
from coordinator.rpc.desk import Desk
from coordinator.rpc.event_stream import PAGE, events
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.exits import Exit, UserError
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import admin_pb2

Request = admin_pb2.ListEventsRequest


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """A coordinator with the runs `demo` and `internet`, at which nothing has happened yet."""
    owner = SigningKey.load_or_create(folder / "owner.key")
    with closing(Store.open(folder / "c.sqlite")) as store, ThreadPoolExecutor(1) as worker:
        service = CoordinatorService(store, now=lambda: 1000.0)
        for name in ("demo", "internet"):
            service.register(sign(preset(name), owner))
        authority = Authority(owner, store.membership, lambda: 1000.0)
        yield Desk(service, authority, worker, ())


def happen(at: Desk, *texts: str, run_id: str = "demo") -> None:
    for text in texts:
        at.service.events.record(run_id, Happening(EventKind.JOINED, text))


async def texts(told: AsyncIterator[admin_pb2.RunEvent]) -> list[str]:
    return [event.text async for event in told]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(), ["a", "b", "c", "d"]),
        (Request(run_id="demo"), ["a", "c", "d"]),
        (Request(after=2), ["c", "d"]),
        (Request(newest=2), ["c", "d"]),
        (Request(run_id="demo", newest=2), ["c", "d"]),
        (Request(newest=1, after=2), ["d"]),
        (Request(newest=100, after=3), ["d"]),
        (Request(after=4), []),
        (Request(after=1000), ["a", "b", "c", "d"]),
    ],
    ids=lambda it: str(it).replace("\n", " ") or "all",
)
def test_what_is_asked_for_is_told(tmp_path: Path, request_: Request, expected: list[str]) -> None:
    with desk(tmp_path) as at:
        happen(at, "a")
        happen(at, "b", run_id="internet")
        happen(at, "c", "d")
        assert asyncio.run(texts(events(at, request_))) == expected


def test_more_than_a_page(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        many = [str(number) for number in range(PAGE + 3)]
        with at.service._store.together():
            happen(at, *many)
        assert asyncio.run(texts(events(at, Request()))) == many


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with desk(tmp_path) as at, pytest.raises(UnknownRunError):
        asyncio.run(texts(events(at, Request(run_id="nope"))))


def on_desk(folder: Path, play: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    with desk(folder) as at:
        asyncio.run(asyncio.wait_for(play(at), 20))


def test_who_follows_hears_what_comes_and_lets_go(tmp_path: Path) -> None:
    async def play(at: Desk) -> None:
        happen(at, "before")
        told = events(at, Request(follow=True))
        assert (await anext(told)).text == "before"
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(at.worker, happen, at, "while it was read")
        assert (await anext(told)).text == "while it was read"
        waiting = asyncio.ensure_future(anext(told))
        await asyncio.sleep(0)
        await loop.run_in_executor(at.worker, happen, at, "then", "at last")
        assert [(await waiting).text, (await anext(told)).text] == ["then", "at last"]
        await cast(Any, told).aclose()
        assert not at.service.events._listeners

    on_desk(tmp_path, play)


# ---- the command's side ----------------------------------------------------------------


class Coordinators:
    """One life of a coordinator after the other: numbers that are told, and how each life ends."""

    def __init__(self, *lives: list[int] | UserError) -> None:
        self.lives = list(lives)
        self.asked: list[int] = []
        self.slept: list[float] = []

    def __enter__(self) -> Coordinators:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self) -> AdminClient:
        return cast(AdminClient, self)

    def events(self, request: Request) -> Iterator[admin_pb2.RunEvent]:
        self.asked.append(request.after)
        if not self.lives:
            raise KeyboardInterrupt
        life = self.lives.pop(0)
        if isinstance(life, UserError):
            raise life
        for number in life:
            yield admin_pb2.RunEvent(number=number, text=str(number))
        raise UserError(Exit.COORDINATOR_UNREACHABLE, "it was killed")


AWAY = UserError(Exit.COORDINATOR_UNREACHABLE, "nobody answers")


def test_a_coordinator_that_returns_is_asked_for_the_rest_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    them = Coordinators([1, 2], AWAY, AWAY, [3])
    told: list[int] = []
    numbers = (
        event.number
        for event in told_events(them.connect, Request(newest=5, follow=True), them.slept.append)
    )
    with pytest.raises(KeyboardInterrupt):
        told.extend(numbers)
    assert told == [1, 2, 3]
    assert them.asked == [0, 2, 2, 2, 3]
    assert them.slept == [1.0, 2.0, 4.0, 1.0]
    assert capsys.readouterr().err.count("it is away") == 2


@pytest.mark.parametrize(
    ("lives", "follow"),
    [
        ([AWAY], True),
        ([[1]], False),
        ([[1], UserError(Exit.NO_TOKEN, "the token was changed")], True),
    ],
)
def test_what_is_said_instead_of_waiting(lives: list[Any], follow: bool) -> None:
    them = Coordinators(*lives)
    with pytest.raises(UserError):
        list(told_events(them.connect, Request(follow=follow), them.slept.append))


def test_a_line_for_a_person_and_one_for_a_program() -> None:
    event = admin_pb2.RunEvent(
        number=7,
        at_ms=1_700_000_000_000,
        run_id="demo",
        kind="banned",
        text="anna\n\x1b[2J",
        round=0,
    )
    assert "\n" not in _line(event)
    assert "\x1b" not in _line(event)
    assert _line(event).endswith("  demo  banned             anna  [2J")
    assert json.loads(_object(event)) == {
        "number": 7,
        "at": "2023-11-14T22:13:20.000Z",
        "run_id": "demo",
        "kind": "banned",
        "peer_id": "",
        "round": None,
        "text": "anna\n\x1b[2J",
    }
