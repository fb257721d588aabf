"""Log lines: an object each for machines, one line each for people, and no forgeries."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from coordinator.config import LogFormat
from coordinator.domain import Event, EventKind
from coordinator.operators import logs

FORGED = 'anna\ncoordinator: all is well\r\n{"event": "all is well"}\x1b[2J'


@contextmanager
def logging_to(form: LogFormat, level: str = "info") -> Iterator[io.StringIO]:
    """Log as a coordinator does, and then again as before."""
    root = logging.getLogger()
    names = (*logs.LOUD, *logs.OWN, "hivemind")
    before = (root.handlers[:], root.level, [logging.getLogger(name).level for name in names])
    stream = io.StringIO()
    logs.begin(form, level, stream)
    try:
        yield stream
    finally:
        root.handlers[:], number, levels = before
        root.setLevel(number)
        for name, old in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(old)


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_an_object_that_says_what_it_is_about() -> None:
    with logging_to("json") as stream:
        logging.getLogger("uvicorn.error").error("theirs")
        logs.tell_events([Event(1, 0.0, "demo", EventKind.JOINED, "anna joined", "QmAnna")])
        with structlog.contextvars.bound_contextvars(run="demo", peer="QmBen"):
            logging.getLogger("coordinator.service").warning("%d rows", 3)
    theirs, joined, bound = objects(stream)
    assert (theirs["logger"], theirs["level"], theirs["event"]) == (
        "uvicorn.error",
        "error",
        "theirs",
    )
    assert (joined["run"], joined["peer"], joined["event"]) == ("demo", "QmAnna", "anna joined")
    assert (bound["run"], bound["peer"], bound["event"]) == ("demo", "QmBen", "3 rows")
    assert all(line["time"].endswith("Z") for line in (theirs, joined, bound))
    assert "round" not in joined


def test_an_exception_stays_in_its_line() -> None:
    with logging_to("json") as stream:
        try:
            raise ValueError(FORGED)
        except ValueError:
            logging.getLogger("coordinator").exception("a bug of ours")
    (line,) = objects(stream)
    assert line["event"] == "a bug of ours"
    assert "ValueError: anna" in line["exception"]


@given(st.text())
def test_no_name_begins_a_line_of_its_own(name: str) -> None:
    for form in ("json", "plain"):
        with logging_to(form) as stream:
            logging.getLogger("coordinator").warning("peer %s is refused", name + FORGED)
        # a terminal and `splitlines` break lines at more than "\n"
        assert len(stream.getvalue().splitlines()) == 1
        assert "\x1b" not in stream.getvalue()


def test_a_person_reads_a_line_and_an_indented_trace() -> None:
    with logging_to("plain") as stream:
        logging.getLogger("coordinator").info("run is registered", extra={"run": "demo"})
        try:
            raise ValueError(FORGED)
        except ValueError:
            logging.getLogger("coordinator").exception("a bug of ours")
    first, second, *trace = stream.getvalue().splitlines()
    assert first == "coordinator: run is registered [run=demo]"
    assert second == "coordinator: error: a bug of ours"
    assert trace
    assert all(line.startswith("    ") for line in trace)


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
def test_addresses_of_volunteers_are_for_debugging_only(level: str, shown: bool) -> None:
    with logging_to("json", level) as stream:
        log = logging.getLogger("coordinator")
        log.warning("cannot dial %s", "/ip4/203.0.113.7/tcp/4001/p2p/QmAnna")
        try:
            raise ConnectionError("203.0.113.7:4001 has gone")
        except ConnectionError:
            log.exception("lost")
    assert ("203.0.113.7" in stream.getvalue()) == shown


def test_what_is_below_the_level_is_not_written() -> None:
    with logging_to("plain", "warning") as stream:
        logs.tell_events([Event(1, 0.0, "demo", EventKind.JOINED, "anna joined", "QmAnna")])
        logging.getLogger("httpx").info("POST http://host/hook?token=secret")
    assert stream.getvalue() == ""


def test_what_other_packages_chat_about_is_not_written() -> None:
    with logging_to("plain") as stream:
        logging.getLogger("alembic.runtime.migration").info("Will assume transactional DDL.")
    assert stream.getvalue() == ""
