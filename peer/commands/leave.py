"""`peer leave`: stop now."""

from __future__ import annotations

import time
from pathlib import Path

import click

from peer.commands.options import run_option, state_dir_option, state_folder
from swarmpb.exits import Exit, UserError

GONE_SECONDS = 15.0
"""A peer that was asked to leave is gone within ten seconds."""


@click.command()
@run_option
@state_dir_option
def leave(run_id: str | None, state_dir: Path | None) -> None:
    """Leave the run now, as Ctrl-C does, and wait until the peer is gone.

    \b
    Example: peer leave --run demo
    """
    from peer import control
    from peer.runtime import running

    folder = state_folder(state_dir, run_id)
    click.echo(control.leave(folder))
    deadline = time.monotonic() + GONE_SECONDS
    while running(folder) is not None:
        if time.monotonic() > deadline:
            raise UserError(
                Exit.REFUSED,
                f"the peer is still there after {GONE_SECONDS:.0f} s; `peer logs` says why",
            )
        time.sleep(0.05)
    click.echo("gone")
