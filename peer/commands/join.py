"""`peer join`: take part in a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peer.commands.limits import by_key, limit_options
from peer.commands.options import (
    coordinator_option,
    device_option,
    host_option,
    link_argument,
    named_run,
    p2p_port_option,
    prepare,
    run_of_link_option,
    state_dir_option,
)
from peer.ending import end_at_once, end_early_on_signals
from swarmpb.endpoints import JoinLink
from swarmpb.exits import Exit, UserError

if TYPE_CHECKING:
    from peer.join_request import JoinRequest


@click.command()
@link_argument
@run_of_link_option
@coordinator_option
@state_dir_option
@click.option("--name", help="Pseudonym on the dashboard.")
@device_option
@host_option
@p2p_port_option
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the model to this folder when the run reaches its target.",
)
@click.option("--detach", is_flag=True, help="In the background; `peer status --watch` shows it.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Join nothing: say whether this machine would help, as `peer doctor` does.",
)
@limit_options
@click.pass_obj
def join(
    debug: bool,
    /,
    link: JoinLink | None,
    run_id: str | None,
    export: Path | None,
    detach: bool,
    dry_run: bool,
    **options: Any,
) -> int:
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
    from peer.join_request import JoinRequest

    run_id = named_run(link, run_id, options)
    settings = by_key(options)
    config = load_config(settings)
    prepare(debug)
    invite = link.invite if link else ""
    if dry_run:
        from peer.commands.doctor import examine
        from peer.doctor.looking import Question
        from peer.local_runs import run_folder

        return examine(Question(config, run_id, run_folder(config.state_dir, run_id), invite))
    where = export.absolute() if export else None
    request = JoinRequest(run_id, config, where, invite, settings)
    if detach:
        _start_detached(request)
        return 0
    stop = _take_part(request)
    from peer.screen.plain import one_line

    click.echo(f"stopped: {one_line(stop)}")  # the run's owner may have given the reason
    end_at_once()
    return 0


def _start_detached(request: JoinRequest) -> None:
    from peer.commands.detaching import start_detached
    from peer.run_log import NAME

    pid = start_detached(request.folder)
    click.echo(
        f"peer of run {request.run_id} in the background, process {pid}; its log is "
        f"{request.folder / NAME}"
    )
    click.echo("peer status --watch shows it, peer leave ends it")


def _take_part(request: JoinRequest) -> str:
    """Take part until the end, resting when it has to; why it ended. Raises `UserError`."""
    import anyio

    from peer.anew import begin_anew, reap_predecessors
    from peer.limits.in_force import LimitsInForce
    from peer.resting.lookout import Lookout
    from peer.resting.waiting import wait_until_allowed
    from peer.run_log import kept_log
    from peer.runtime import RuntimeFolder

    runtime = RuntimeFolder.claim_or_take_over(request.folder, f"a peer of run {request.run_id}")
    end_early_on_signals(runtime.close)
    reap_predecessors()
    limits = LimitsInForce(request.config.limits)
    lookout = Lookout(request.folder, limits)
    uvloop = {"use_uvloop": True}
    try:
        with kept_log(request.folder):
            waiting = partial(wait_until_allowed, request, runtime, limits, lookout)
            left = anyio.run(waiting, backend_options=uvloop)
            if left:
                return left
            end_early_on_signals(runtime.close)
            from peer.joining import join

            joining = partial(join, request, runtime, limits, lookout)
            stop = anyio.run(joining, backend_options=uvloop)
        if stop.rest:
            begin_anew(runtime)
    finally:
        runtime.close()
    if stop.code:
        raise UserError(Exit(stop.code), stop.reason)
    return stop.reason
