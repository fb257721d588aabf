"""The `peer` command. Everything slow is imported by the command that needs it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import click

from swarmpb.endpoints import JoinLink, LinkError, parse_link
from swarmpb.exits import Exit, UserError
from swarmpb.version import SOFTWARE_VERSION


def _run_name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refused before it becomes the name of a folder."""
    if value is not None and not _RUN_NAME.fullmatch(value):
        raise UserError(
            Exit.UNKNOWN_RUN,
            f"no run can be named {value!r}: names are of lower-case letters, digits and hyphens; "
            "`coordinator run list` shows those there are",
        )
    return value


def _join_link(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> JoinLink | None:
    try:
        return None if value is None else parse_link(value)
    except LinkError as error:
        raise click.BadParameter(str(error)) from error


_RUN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # as in `swarmpb.spec`
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where this machine's files of its runs are kept.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(SOFTWARE_VERSION, prog_name="peer")
@click.option("--debug", is_flag=True, help="Log everything; show where an error comes from.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Lend this machine to a training run, or look at what it does.

    \b
    Example: peer join murmuration://127.0.0.1:7700/demo
    """
    context.obj = debug


@cli.command()
@click.argument("link", metavar="[LINK]", required=False, callback=_join_link)
@click.option(
    "--run", "run_id", metavar="ID", callback=_run_name, help="The run's name, without a link."
)
@click.option("--coordinator", metavar="HOST:PORT", help="The run's coordinator, without a link.")
@_STATE_DIR
@click.option("--name", help="Pseudonym on the dashboard.")
@click.option("--threads", type=int, help="Processor threads for training.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to train.")
@click.option("--host", help="Address to listen on for other peers.")
@click.option("--p2p-port", type=int, help="Port to listen on for other peers; 0: a free one.")
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the model to this folder when the run reaches its target.",
)
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
    the right one, and for a run by invitation why you are let in.

    Settings come from the options, then PEER_COORDINATOR and PEER_STATE_DIR, then the file
    peer.toml in the configuration folder, then defaults.

    \b
    Example: peer join murmuration://127.0.0.1:7700/demo
    Example: peer join --run demo --coordinator 127.0.0.1:7700
    """
    from peer.config import load_config

    run_id = _named_run(link, run_id, options)
    config = load_config(options)
    _prepare(debug)
    import anyio

    from peer.joining import JoinRequest, join

    invite = link.invite if link else ""
    request = JoinRequest(run_id, config, export.absolute() if export else None, invite)
    stop = anyio.run(partial(join, request), backend_options={"use_uvloop": True})
    if stop.code:
        raise UserError(Exit(stop.code), stop.reason)
    click.echo(f"stopped: {stop.reason}")
    _end_at_once()


def _named_run(link: JoinLink | None, run_id: str | None, options: dict[str, Any]) -> str:
    """Which run to join; what a link says of its coordinator goes into `options`."""
    if link is None:
        if run_id is None:
            raise click.UsageError("name a run with its join LINK, or with --run")
        return run_id
    if run_id or options.get("coordinator"):
        raise click.UsageError(
            "a join LINK names run and coordinator: leave --run and --coordinator away"
        )
    if not link.run_id:
        raise click.UsageError("this link names no run; ask its owner for the join link of a run")
    options["coordinator"] = str(link.endpoint)
    return link.run_id


def _end_at_once() -> None:
    """Leave the process without taking the interpreter down: for torch that takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all that was started and claimed has been ended and released


@cli.command()
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    callback=_run_name,
    help="The run's name; needed if there are several.",
)
@_STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(run_id: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Ask the peer that runs on this machine what it does.

    \b
    Example: peer status --run demo --json
    """
    from peer.config import load_config
    from peer.control import ask_status
    from peer.status_text import describe, facts

    folder = _running_folder(load_config({"state_dir": state_dir}).state_dir, run_id)
    reply = ask_status(folder)
    if as_json:
        click.echo(json.dumps(facts(reply), indent=2))
    else:
        click.echo(describe(reply))


@cli.command()
@click.argument("link", metavar="[LINK]", required=False, callback=_join_link)
@click.option(
    "--run", "run_id", metavar="ID", callback=_run_name, help="The run's name, without a link."
)
@click.option("--coordinator", metavar="HOST:PORT", help="The run's coordinator, without a link.")
@_STATE_DIR
@click.option(
    "--rounds", default=20, show_default=True, type=click.IntRange(1), help="So many at most."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
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

    run_id = _named_run(link, run_id, options)
    config = load_config(options)
    _prepare(debug)
    import anyio

    from peer.credited import describe, facts
    from peer.joining import receipts_here

    found = anyio.run(receipts_here, config, run_id, rounds)
    click.echo(json.dumps(facts(found), indent=2) if as_json else describe(found))


def _running_folder(state_dir: Path, run_id: str | None) -> Path:
    from peer.joining import run_folder
    from peer.runtime import running

    if run_id is not None:
        return run_folder(state_dir, run_id)
    folders = sorted(path.parent for path in state_dir.glob("runs/*/lock"))
    active = [folder for folder in folders if running(folder)]
    if len(active) > 1:
        names = ", ".join(folder.name for folder in active)
        raise UserError(Exit.NOT_RUNNING, f"several peers run here ({names}): name one with --run")
    return active[0] if active else run_folder(state_dir, "…")


def _prepare(debug: bool) -> None:
    """Set up logging and the libraries' own noise, before they are imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors come to us as exceptions
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Entry point: one clear line and an exit code for what the user can mend."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_early)
    try:
        code = cli(standalone_mode=False)
    except UserError as error:
        _show_trace()
        click.echo(f"peer: {error}", err=True)
        code = error.code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except Exception as error:
        _show_trace()
        click.echo(
            f"peer: this is a bug of ours ({type(error).__name__}: {error}); run again with "
            "`peer --debug …` to see where, and tell us",
            err=True,
        )
        code = 1
    sys.exit(int(code or 0))


def _end_early(_number: int, _frame: object) -> None:
    """Until the daemon handles signals: a `KeyboardInterrupt` gets lost in libraries' imports."""
    os._exit(Exit.INTERRUPTED)


def _show_trace() -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
