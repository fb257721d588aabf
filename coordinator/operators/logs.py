"""Log lines for people or for machines: `--log-format plain` or `json`, on stderr.

Plain is the default, terminal or not: a person reads the journal of a service as well, and what a
line looks like should not change because somebody redirects it. With `json` each line is one
object: `time` (UTC), `level`, `event` (the words), `logger`, and `run`, `peer` and `round` where
there are some. Whoever logs through `logging` (uvicorn, grpc, hivemind, we) passes through here.

What peers write may be in a line: it can neither begin a new one nor drive a terminal. Addresses
of machines are taken out, except when everything is logged (`debug`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from coordinator.config import LogFormat
from coordinator.domain import Event
from swarmpb.redaction import redacted

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

CONTEXT = ("run", "peer", "round")
"""What a line may be about: given with `extra=`, or bound as context."""
LOUD = ("uvicorn.access", "httpx", "httpcore", "asyncio")
"""They log secrets, addresses, or what nobody needs, below WARNING."""
OWN = ("coordinator", "peer", "swarmpb")
"""Of other packages only warnings are of interest, unless everything is logged."""

log = logging.getLogger(__name__)


def begin(form: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Let everything that is logged in this process go to `stream`, from `level` on."""
    number = LEVELS[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=CONTEXT),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    hide: list[Processor] = [_without_addresses] if number > logging.DEBUG else []
    render: Processor = structlog.processors.JSONRenderer() if form == "json" else _plain
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *hide,
            render,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))
    for name in OWN:
        logging.getLogger(name).setLevel(number)
    for name in LOUD:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    own = logging.getLogger("hivemind")  # it writes to stderr by itself, in colours
    own.handlers.clear()
    own.propagate = True
    own.setLevel(max(number, logging.WARNING))


def tell_events(events: Sequence[Event]) -> None:
    """Log what happened to runs; a listener of the event log."""
    for event in events:
        about = {"run": event.run_id, "peer": event.peer_id or None, "round": event.round}
        known = {key: value for key, value in about.items() if value is not None}
        log.info("%s", event.text, extra=known)


def _without_addresses(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    for key in ("event", "exception"):
        if key in line:
            line[key] = redacted(str(line[key]))
    return line


def _plain(_: WrappedLogger, __: str, line: EventDict) -> str:
    """One line for a person; what an exception adds is indented, so that it begins no line."""
    words = printable(str(line["event"]))
    level = line["level"]
    mark = "" if level in ("info", "warning") else f"{level}: "
    about = "".join(f" {key}={printable(str(line[key]))}" for key in CONTEXT if key in line)
    traced = str(line.get("exception", ""))
    traces = "".join(f"\n    {printable(it)}" for it in traced.splitlines())
    return f"coordinator: {mark}{words}{f' [{about.strip()}]' if about else ''}{traces}"


def printable(text: str) -> str:
    """`text` on one line, without what drives a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
