"""`peer receipts`: what this machine was credited with."""

from __future__ import annotations

import json
from typing import Any

import click

from peer.commands.options import (
    coordinator_option,
    json_option,
    link_argument,
    named_run,
    prepare,
    run_of_link_option,
    state_dir_option,
)
from swarmpb.endpoints import JoinLink


@click.command()
@link_argument
@run_of_link_option
@coordinator_option
@state_dir_option
@click.option(
    "--rounds", default=20, show_default=True, type=click.IntRange(1), help="So many at most."
)
@json_option
@click.pass_obj
def receipts(
    debug: bool,
    /,
    link: JoinLink | None,
    run_id: str | None,
    rounds: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what this machine was credited with in its last rounds.

    The coordinator tells it; that it speaks for the run's owner is checked here.

    \b
    Example: peer receipts --run demo --coordinator 127.0.0.1:7700
    """
    from peer.config import load_config

    run_id = named_run(link, run_id, options)
    config = load_config(options)
    prepare(debug)
    import anyio

    from peer.credited import describe, facts
    from peer.joining import receipts_here

    found = anyio.run(receipts_here, config, run_id, rounds)
    click.echo(json.dumps(facts(found), indent=2) if as_json else describe(found))
