"""What a peer's user is told: once, and shown while it lasts."""

from __future__ import annotations

import pytest

from peer import notices
from peer.notices import Notices


def test_a_trouble_is_said_once_shown_while_it_lasts_and_its_end_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Notices()
    for tries in (1, 2, 3):
        told.trouble("disk", f"no space, tried {tries} times")
    assert caplog.messages == ["no space, tried 1 times"]
    assert told.current() == ["no space, tried 3 times"]
    for _ in range(2):
        told.over("disk", "written again")
    assert caplog.messages[1:] == ["written again"]
    assert told.current() == ["written again"]


def test_what_happened_long_ago_is_not_shown_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("peer.notices.time.monotonic", lambda: now)
    told = Notices()
    told.trouble("disk", "no space")
    told.tell("this machine stood still for 61 s")
    now += notices.EVENT_SECONDS
    assert told.current() == ["no space"]
