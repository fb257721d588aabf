"""Times as options of a command, in seconds from now."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from peer.limits.units import parse_seconds


def seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float:
    """A time such as 2h; 0 if none is given."""
    if value is None:
        return 0.0
    try:
        found = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found <= 0:
        raise click.BadParameter("expected a time of a second or more")
    return found


def seconds_until(context: click.Context, option: click.Parameter, value: str | None) -> float:
    """Until a time of day, today or tomorrow, or a time from now; 0 if none is given."""
    if value is None:
        return 0.0
    try:
        at = datetime.strptime(value.strip(), "%H:%M")
    except ValueError:
        return seconds(context, option, value.strip().removeprefix("+"))
    now = datetime.now()
    then = now.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()
