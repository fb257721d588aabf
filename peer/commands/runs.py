"""`peer runs`: the runs that this machine knows."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from peer.commands.options import json_option, state_dir_option
from swarmpb.exits import Exit, UserError


@click.command()
@state_dir_option
@json_option
def runs(state_dir: Path | None, as_json: bool) -> None:
    """Show every run that was joined here: what its peer does, its work, and the disk it takes.

    \b
    Example: peer runs --json
    """
    from peer.config import load_config
    from peer.known_runs import describe, known_runs

    folder = load_config({"state_dir": state_dir}).state_dir
    now = time.time()
    try:
        found = known_runs(folder, now)
    except OSError as error:
        raise UserError(Exit.STATE_FOLDER, f"cannot read {folder}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps([run.facts() for run in found], indent=2))
    elif found:
        click.echo(describe(found, now))
    else:
        click.echo(f"no run was joined on {folder}; join one with `peer join LINK`")
