"""`peer pause`: give the machine back for a while."""

from __future__ import annotations

from pathlib import Path

import click

from peer.commands.options import run_option, state_dir_option, state_folder
from peer.commands.times import seconds as seconds_of


@click.command()
@run_option
@state_dir_option
@click.option(
    "--for",
    "seconds",
    metavar="TIME",
    callback=seconds_of,
    help="How long, as 2h; else until resumed.",
)
def pause(run_id: str | None, state_dir: Path | None, seconds: float) -> None:
    """Give memory and accelerator back within 3 seconds, and keep the place in the run.

    What was trained is in a checkpoint; the peer waits as a small process, also after a restart of
    the machine, and goes on by itself when the time is over.

    \b
    Example: peer pause --for 2h
    """
    from peer import control

    click.echo(control.pause(state_folder(state_dir, run_id), seconds))
