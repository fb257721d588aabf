"""`coordinator events`: what happened to runs, and what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.commands.options import administering, as_json, ask, asked, token_file
from swarmpb.endpoints import Endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import admin_pb2

if TYPE_CHECKING:
    from coordinator.commands.client import AdminClient

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0
"""Seconds between two tries to find a coordinator again."""


@click.command(epilog="Example: coordinator events --run my-run --newest 20 --follow")
@click.option("--run", "run_id", metavar="ID", default="", help="Of this run only.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--newest",
    type=click.IntRange(1, 10_000),
    help="Only so many of the newest.  [default: all that are kept]",
)
@as_json
@ask
@token_file
def events(
    run_id: str,
    follow: bool,
    newest: int | None,
    as_json: bool,
    told: Endpoint | None,
    token_file: Path | None,
) -> None:
    """Show what happened to runs, the oldest first; with --json an object on each line.

    While it follows, it waits for a coordinator that is away, and shows nothing twice.
    """
    where = asked(told)
    request = admin_pb2.ListEventsRequest(run_id=run_id, newest=newest or 0, follow=follow)
    show = _object if as_json else _line
    try:
        for event in told_events(lambda: administering(where, token_file), request):
            click.echo(show(event))
    except KeyboardInterrupt:
        if not follow:
            raise


def told_events(
    connect: Callable[[], AdminClient],
    request: admin_pb2.ListEventsRequest,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[admin_pb2.RunEvent]:
    """All events that a request asks for; one that follows outlives its coordinator.

    Raises `UserError` if the coordinator refuses, or does not answer at the first time.
    """
    found, pause = False, FIRST_PAUSE
    while True:
        try:
            with connect() as coordinator:
                for event in coordinator.events(request):
                    found, pause = True, FIRST_PAUSE
                    request.after, request.newest = event.number, 0
                    yield event
                if not request.follow:
                    return
                found = True  # it has ended the call because it stops
        except UserError as error:
            if not (found and request.follow and error.code == Exit.COORDINATOR_UNREACHABLE):
                raise
        if pause == FIRST_PAUSE:
            click.echo("coordinator: it is away; waiting until it is back", err=True)
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _line(event: admin_pb2.RunEvent) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000).astimezone()
    text = "".join(letter if letter.isprintable() else " " for letter in event.text)
    return f"{at:%Y-%m-%d %H:%M:%S}  {event.run_id}  {event.kind:<17}  {text}"


def _object(event: admin_pb2.RunEvent) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, timezone.utc)
    return json.dumps(
        {
            "number": event.number,
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "run_id": event.run_id,
            "kind": event.kind,
            "peer_id": event.peer_id,
            "round": event.round or None,
            "text": event.text,
        }
    )
