"""What a user asks of a peer that takes part."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from peer.departure import Departure
from peer.join_request import JoinRequest
from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.resting.lookout import Lookout
from peer.resting.observing import Observing
from peer.resting.pause_file import load_pause
from peer.resting.rest import Pause, Rest
from peer.steering import LivePeer
from tests.unit.seeing import Seen


class Leaving:
    """Takes its time."""

    def __init__(self) -> None:
        self.rests: list[Rest] = []

    def rest(self, rest: Rest) -> None:
        self.rests.append(rest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "runs" / "demo"
    found.mkdir(parents=True)
    return found


def live_peer(folder: Path, leaving: Leaving) -> LivePeer:
    limits = LimitsInForce(Limits())
    lookout = Lookout(folder, limits, Observing(Seen().senses()))
    request = cast(JoinRequest, None)  # only told of in its status
    return LivePeer(request, limits, cast(Departure, leaving), lookout)


def test_a_pause_is_kept_before_the_peer_leaves_for_it(folder: Path) -> None:
    leaving = Leaving()
    live_peer(folder, leaving).pause(0.0)
    assert load_pause(folder) == Pause(None)
    assert [it.urgent for it in leaving.rests] == [True]


def test_who_resumes_while_it_is_still_leaving_finds_no_pause_when_it_has_begun_anew(
    folder: Path,
) -> None:
    peer = live_peer(folder, Leaving())
    assert peer.resume() == "it is not paused"
    peer.pause(3600.0)
    assert peer.resume().startswith("resuming")
    assert load_pause(folder) is None
    assert peer.resume() == "it is not paused"
