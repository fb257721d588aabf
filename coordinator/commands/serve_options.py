"""Options of `coordinator serve` for operators: where alarms go, and what the log looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from coordinator.config import WEBHOOK_SECRET_VARIABLE

_Command = TypeVar("_Command", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")


def _urls(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        return ()
    from coordinator.operators.webhooks import MOST_URLS, bad_url

    if len(values) > MOST_URLS:
        raise click.BadParameter(f"at most {MOST_URLS} addresses")
    for value in values:
        fault = bad_url(value)
        if fault is not None:
            raise click.BadParameter(f"{value!r} is no address for a webhook: {fault}")
    return tuple(dict.fromkeys(values))


def observing(command: _Command) -> _Command:
    """Options whose names are those of `ServeSettings`."""
    for option in reversed(
        (
            click.option(
                "--webhook",
                "webhooks",
                metavar="URL",
                multiple=True,
                callback=_urls,
                help="Send alarms there as signed POST requests: stalled, diverged, all peers"
                " gone, target reached. Repeatable.",
            ),
            click.option(
                "--webhook-secret-file",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help=f"What signs them.  [default: {WEBHOOK_SECRET_VARIABLE}, or a file in the"
                " state folder that is made when it is needed]",
            ),
            click.option(
                "--log-format",
                type=click.Choice(["plain", "json"]),
                default="plain",
                show_default=True,
                help="Lines for people, or a JSON object each.",
            ),
            click.option(
                "--log-level",
                type=click.Choice(LEVELS),
                default="info",
                show_default=True,
                help="debug also logs the addresses of machines.",
            ),
        )
    ):
        command = option(command)
    return command
