"""Getting onto the network for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from peer import connecting
from peer.connecting import JOIN_TRIES, Connector
from peer.notices import Notices
from peer.swarm.interface import Network
from swarmpb.exits import Exit, UserError

pytestmark = pytest.mark.anyio

NETWORK = cast(Network, SimpleNamespace(addresses=()))


class Trying(Connector):
    """Fails with `failures`, one after the other, then joins."""

    def __init__(self, *failures: Exit) -> None:
        super().__init__(Path("identity"), Path("runtime"), "127.0.0.1", 0)
        self.failures = list(failures)
        self.tries = 0

    async def _start(self, port: int, initial_peers: Sequence[str]) -> Network:
        self.tries += 1
        if self.failures:
            raise UserError(self.failures.pop(0), "no")
        return NETWORK


async def test_who_does_not_answer_at_once_is_asked_again() -> None:
    connector = Trying(*[Exit.SWARM_UNREACHABLE] * (JOIN_TRIES - 1))
    assert await connector.join(["/a"]) is NETWORK
    assert connector.tries == JOIN_TRIES


async def test_after_some_tries_nobody_is_there() -> None:
    connector = Trying(*[Exit.SWARM_UNREACHABLE] * 9)
    with pytest.raises(UserError):
        await connector.join(["/a"])
    assert connector.tries == JOIN_TRIES


async def test_who_comes_back_from_a_rest_has_all_the_time_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connecting, "RETRY_SECONDS", 0.0)
    notices = Notices()
    connector = Trying(*[Exit.SWARM_UNREACHABLE] * 9)
    assert await connector.join_after_rest(["/a"], notices) is NETWORK
    assert any("the swarm is there again" in it for it in notices.current())
    with pytest.raises(UserError):
        await Trying(Exit.PORT_IN_USE).join_after_rest(["/a"], notices)


async def test_what_the_user_must_mend_is_told_at_once() -> None:
    connector = Trying(Exit.PORT_IN_USE)
    with pytest.raises(UserError):
        await connector.join(["/a"])
    assert connector.tries == 1
