"""The `coordinator` command. What a command needs is imported when it runs, not before."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import click

from coordinator import config
from coordinator.commands.backup import backup, restore
from coordinator.commands.events import events
from coordinator.commands.health import health
from coordinator.commands.options import (
    PORT,
    database_option,
    endpoint,
    in_a_folder,
    ip_address,
    public_keys,
)
from coordinator.commands.people import invite, peers
from coordinator.commands.runs import run
from coordinator.commands.serve_options import observing
from swarmpb.endpoints import Endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.version import SOFTWARE_VERSION


class PlainErrors(click.Group):
    """A group whose errors are one line each, with the exit code that belongs to them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except UserError as error:
            _tell(ctx, str(error))
            ctx.exit(error.code)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except Exception as error:
            hint = "" if ctx.params["debug"] else "; `coordinator --debug …` shows where"
            _tell(ctx, f"a bug of ours: {type(error).__name__}: {error}{hint}")
            ctx.exit(1)


def _tell(ctx: click.Context, message: str) -> None:
    if ctx.params["debug"]:
        traceback.print_exc()
    click.echo(f"coordinator: {' '.join(message.split())}", err=True)


@click.group(cls=PlainErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(SOFTWARE_VERSION, prog_name="coordinator")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(debug: bool) -> None:  # `PlainErrors` reads it
    """Publish training runs, and show how far they are."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors come to us as exceptions


@main.command(
    epilog="Example: coordinator serve --demo, then on any machine that reaches it: "
    "peer join murmuration://127.0.0.1:7700/demo"
)
@click.option("--demo", is_flag=True, help="Register the embedded run `demo`.")
@click.option(
    "--host",
    metavar="ADDRESS",
    callback=ip_address,
    default=config.DEFAULT_HOST,
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--grpc-port",
    type=PORT,
    default=config.DEFAULT_GRPC_PORT,
    show_default=True,
    help="TCP port for peers and owners; 0 takes a free one.",
)
@click.option(
    "--p2p-port",
    type=PORT,
    default=config.DEFAULT_P2P_PORT,
    show_default=True,
    help="TCP port of the swarm's first peer; 0 takes a free one.",
)
@click.option(
    "--http-port",
    type=PORT,
    default=config.DEFAULT_HTTP_PORT,
    show_default=True,
    help="TCP port of the dashboard; 0 takes a free one.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar=config.STATE_DIR_VARIABLE,
    show_envvar=True,
    help="Where runs and reports are kept.  [default: in the user's state folder]",
)
@database_option
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own certificate chain, PEM.  [default: one that is made at the first start, and"
    " used for anything but loopback]",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Its key, PEM.",
)
@click.option(
    "--advertise",
    metavar="HOST:PORT",
    callback=endpoint,
    help="What join links name.  [default: an address of this machine]",
)
@click.option(
    "--restore-owner",
    "restore_owners",
    metavar="HEX",
    multiple=True,
    callback=public_keys,
    help="Let peers restore this owner's runs here, should this coordinator have lost them, as"
    " they may those of this machine's own key; `coordinator run show` names a run's owner."
    " Repeatable.",
)
@observing
def serve(
    demo: bool,
    host: str,
    grpc_port: int,
    p2p_port: int,
    http_port: int,
    state_dir: Path | None,
    database: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    advertise: Endpoint | None,
    restore_owners: tuple[bytes, ...],
    **operating: Any,
) -> None:
    """Serve runs until Ctrl-C."""
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    _print_now("starting: a few seconds")
    # processes that it starts later would run gRPC's handlers after the fork, and die of them
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from coordinator import server

    settings = config.ServeSettings(
        state_dir=state_dir or config.default_state_dir(),
        owner_key=config.owner_key_path(),
        host=host,
        grpc_port=grpc_port,
        p2p_port=p2p_port,
        http_port=http_port,
        demo=demo,
        tls=config.TlsFiles(tls_cert, tls_key) if tls_cert and tls_key else None,
        advertise=advertise,
        restore_owners=restore_owners,
        database_url=database,
        **operating,
    )
    server.serve(settings, announce=_print_now)


def _print_now(line: str) -> None:
    print(line, flush=True)  # read by scripts while we go on


@main.command(epilog="Example: coordinator demo --peers 3 --summary demo.json")
@click.option(
    "--peers",
    type=click.IntRange(2, 16),
    default=3,
    show_default=True,
    help="Peers at the start; one more joins late, and one is killed half-way.",
)
@click.option(
    "--tokens",
    type=click.IntRange(config.DEMO_SHORTEST_TOKENS, 10**12),
    help="Where the run ends.  [default: that of the run `demo`]",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    callback=in_a_folder,
    help="Write the facts as JSON to this file.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for logs and the model.  [default: in the user's cache folder]",
)
def demo(peers: int, tokens: int | None, summary: Path | None, folder: Path | None) -> None:
    """Train one real model with a swarm on this machine, in a few minutes.

    Starts a coordinator and peers as processes that find each other over libp2p; one is killed
    half-way, one joins late. Nothing of it is left running, Ctrl-C included.
    """
    from rich.console import Console

    from coordinator.demo.run import DemoRequest, run_demo

    run_demo(DemoRequest(peers, tokens, summary, folder), Console())


main.add_command(run)
main.add_command(events)
main.add_command(backup)
main.add_command(restore)
main.add_command(invite)
main.add_command(peers)
main.add_command(health)
