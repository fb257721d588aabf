"""`peer logs`: what the peers of a run on this machine did, and why."""

from __future__ import annotations

import time
from pathlib import Path

import click

from peer.commands.options import known_folder, run_option, state_dir_option
from swarmpb.exits import Exit, UserError

_LOOK_SECONDS = 0.25


@click.command()
@run_option
@state_dir_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option(
    "-n", "--lines", "count", default=20, show_default=True, type=click.IntRange(0),
    help="So many of the last lines.",
)  # fmt: skip
def logs(run_id: str | None, state_dir: Path | None, follow: bool, count: int) -> None:
    """Show a run's log on this machine, also when no peer runs.

    \b
    Example: peer logs -f --run demo
    """
    from peer.config import load_config
    from peer.log_reading import LogReader, parts
    from peer.run_log import NAME

    folder = known_folder(load_config({"state_dir": state_dir}).state_dir, run_id)
    if not follow and not parts(folder):
        raise UserError(Exit.NOT_RUNNING, f"there is no {folder / NAME} yet: a peer writes it")
    reader = LogReader(folder)
    try:
        lines = reader.last(count)
        while True:
            for line in lines:
                click.echo("".join(it if it.isprintable() else "?" for it in line))
            if not follow:
                return
            time.sleep(_LOOK_SECONDS)
            lines = reader.new()
    except OSError as error:
        raise UserError(
            Exit.STATE_FOLDER, f"cannot read {folder / NAME}: {error.strerror}"
        ) from error
    finally:
        reader.close()
