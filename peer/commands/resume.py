"""`peer resume`: end a pause."""

from __future__ import annotations

from pathlib import Path

import click

from peer.commands.options import run_option, state_dir_option, state_folder


@click.command()
@run_option
@state_dir_option
def resume(run_id: str | None, state_dir: Path | None) -> None:
    """End a pause.

    \b
    Example: peer resume
    """
    from peer import control

    click.echo(control.resume(state_folder(state_dir, run_id)))
