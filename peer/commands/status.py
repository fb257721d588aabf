"""`peer status`: what the peer on this machine does."""

from __future__ import annotations

import json
from pathlib import Path

import click

from peer.commands.options import json_option, run_option, running_folder, state_dir_option


@click.command()
@run_option
@state_dir_option
@json_option
def status(run_id: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Ask the peer that runs on this machine what it does.

    \b
    Example: peer status --run demo --json
    """
    from peer.config import load_config
    from peer.control import ask_status
    from peer.status_text import describe, facts

    folder = running_folder(load_config({"state_dir": state_dir}).state_dir, run_id)
    reply = ask_status(folder)
    if as_json:
        click.echo(json.dumps(facts(reply), indent=2))
    else:
        click.echo(describe(reply))
