"""`peer join`: take part in a run."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from peer.commands.limits import by_key, limit_options
from peer.commands.options import (
    coordinator_option,
    link_argument,
    named_run,
    prepare,
    run_of_link_option,
    state_dir_option,
)
from swarmpb.endpoints import JoinLink
from swarmpb.exits import Exit, UserError


@click.command()
@link_argument
@run_of_link_option
@coordinator_option
@state_dir_option
@click.option("--name", help="Pseudonym on the dashboard.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to train.")
@click.option("--host", help="Address to listen on for other peers.")
@click.option("--p2p-port", type=int, help="Port to listen on for other peers; 0: a free one.")
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the model to this folder when the run reaches its target.",
)
@limit_options
@click.pass_obj
def join(
    debug: bool,
    /,
    link: JoinLink | None,
    run_id: str | None,
    export: Path | None,
    **options: Any,
) -> None:
    """Take part in a run until it ends or you press Ctrl-C.

    LINK is what the run's owner gave you; it says where the coordinator is, how to know that it is
    the right one, and for a run by invitation why you are let in. @FILE names a file that holds
    it, as the secrets of containers do: an invitation then stays out of the list of processes.

    Settings come from the options, then PEER_COORDINATOR and PEER_STATE_DIR, then the file
    peer.toml in the configuration folder, then defaults.

    \b
    Example: peer join murmuration://127.0.0.1:7700/demo
    Example: peer join --run demo --coordinator 127.0.0.1:7700
    """
    from peer.config import load_config

    run_id = named_run(link, run_id, options)
    config = load_config(by_key(options))
    prepare(debug)
    import anyio

    from peer.joining import JoinRequest, join

    invite = link.invite if link else ""
    request = JoinRequest(run_id, config, export.absolute() if export else None, invite)
    stop = anyio.run(partial(join, request), backend_options={"use_uvloop": True})
    if stop.code:
        raise UserError(Exit(stop.code), stop.reason)
    click.echo(f"stopped: {stop.reason}")
    end_at_once()


def end_at_once() -> None:
    """Leave the process without taking the interpreter down: for torch that takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all that was started and claimed has been ended and released
