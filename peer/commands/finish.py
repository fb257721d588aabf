"""`peer finish`: stop after a round."""

from __future__ import annotations

from pathlib import Path

import click

from peer.commands.options import run_option, state_dir_option, state_folder
from peer.commands.times import seconds_until


@click.command()
@run_option
@state_dir_option
@click.option(
    "--by",
    "seconds",
    metavar="TIME",
    callback=seconds_until,
    help="Go on as long as a round ends by then: 18:00, or 90s from now.",
)
def finish(run_id: str | None, state_dir: Path | None, seconds: float) -> None:
    """Complete the current round, hand the work over, then stop.

    \b
    Example: peer finish --by 18:00
    """
    from peer import control

    click.echo(control.finish(state_folder(state_dir, run_id), seconds))
