"""`peer status`: what the peer on this machine does."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from peer.commands.options import json_option, run_option, running_folder, state_dir_option
from swarmpb.exits import UserError


@click.command()
@run_option
@state_dir_option
@json_option
@click.option("--watch", is_flag=True, help="Show it as `peer join` does, until q or Ctrl-C.")
@click.option(
    "--quiet",
    is_flag=True,
    help="Only an exit code: 0, or 21 without a peer.",
)
def status(
    run_id: str | None, state_dir: Path | None, as_json: bool, watch: bool, quiet: bool
) -> int | None:
    """Ask the peer that runs or rests on this machine what it does.

    --quiet is for health checks: it says nothing, and its exit code is 0 or 21. The names in the
    JSON document are those of StatusReply in swarmpb/v1/control.proto; they stay.

    \b
    Example: peer status --run demo --json
    Example: peer status --watch
    """
    if as_json + watch + quiet > 1:
        raise click.UsageError("choose one of --json, --watch and --quiet")
    from peer.control import ask_status

    try:
        folder = running_folder(_state_dir(state_dir), run_id)
        if watch:
            _watch(folder)
            return None
        reply = ask_status(folder)
    except UserError as error:
        if quiet:
            return int(error.code)
        raise
    if quiet:
        return 0
    from peer.status_text import describe, facts

    click.echo(json.dumps(facts(reply), indent=2) if as_json else describe(reply, time.time()))
    return None


def _state_dir(named: Path | None) -> Path:
    """Where this machine keeps its runs; the settings are read only if they have to tell."""
    if named is not None:
        return named
    if in_environment := os.environ.get("PEER_STATE_DIR"):
        return Path(in_environment).expanduser()
    from peer.config import load_config

    return load_config({}).state_dir


def _watch(folder: Path) -> None:
    import anyio

    from peer.screen.watch import watch

    anyio.run(watch, folder)
