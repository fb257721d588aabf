"""The `coordinator` command. What a command needs is imported when it runs, not before."""

from __future__ import annotations

import ipaddress
import re
import traceback
from pathlib import Path
from typing import Any

import click

from coordinator import config
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


def _ip_address(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Names are refused: they would hide which interface is meant."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is no IP address, such as 127.0.0.1 or 0.0.0.0"
        ) from error


def _public_keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[bytes, ...]:
    for value in values:
        if not re.fullmatch("[0-9a-fA-F]{64}", value):
            raise click.BadParameter(
                f"{value!r} is no owner's public key, 64 hexadecimal digits as `coordinator run"
                " show` prints them"
            )
    return tuple(bytes.fromhex(value) for value in values)


def _in_a_folder(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Said at the start: minutes later it would be too late."""
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}")
    return value


PORT = click.IntRange(0, 65535)

ask = click.option(
    "--coordinator",
    "address",
    metavar="HOST:PORT",
    default=config.DEFAULT_ADDRESS,
    show_default=True,
    help="Which coordinator to ask.",
)
token_file = click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The coordinator's admin token.  [default: {config.TOKEN_VARIABLE}, or that of this"
    " machine's coordinator]",
)
database_option = click.option(
    "--database",
    metavar="URL",
    envvar=config.DATABASE_VARIABLE,
    show_envvar=True,
    help="A PostgreSQL database, such as postgresql://user:password@host/name.  [default: a SQLite"
    " file in the state folder]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group(cls=PlainErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(SOFTWARE_VERSION, prog_name="coordinator")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(debug: bool) -> None:  # `PlainErrors` reads it
    """Publish training runs, and show how far they are."""


@main.command(
    epilog="Example: coordinator serve --demo, then on any machine that reaches it: "
    "peer join --run demo --coordinator 127.0.0.1:7700"
)
@click.option("--demo", is_flag=True, help="Register the embedded run `demo`.")
@click.option(
    "--host",
    metavar="ADDRESS",
    callback=_ip_address,
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
    "--restore-owner",
    "restore_owners",
    metavar="HEX",
    multiple=True,
    callback=_public_keys,
    help="Let peers restore this owner's runs here, should this coordinator have lost them, as"
    " they may those of this machine's own key; `coordinator run show` names a run's owner."
    " Repeatable.",
)
def serve(
    demo: bool,
    host: str,
    grpc_port: int,
    p2p_port: int,
    http_port: int,
    state_dir: Path | None,
    database: str | None,
    restore_owners: tuple[bytes, ...],
) -> None:
    """Serve runs until Ctrl-C."""
    _print_now("starting: a few seconds")
    from coordinator import server

    settings = config.ServeSettings(
        state_dir=state_dir or config.default_state_dir(),
        owner_key=config.owner_key_path(),
        host=host,
        grpc_port=grpc_port,
        p2p_port=p2p_port,
        http_port=http_port,
        demo=demo,
        restore_owners=restore_owners,
        database_url=database,
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
    callback=_in_a_folder,
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


@main.group()
def run() -> None:
    """Create runs and look at them."""


@run.command(epilog="Example: coordinator run create my-run.toml")
@click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--draft", is_flag=True, help="Nobody may join before `coordinator run resume`.")
@click.option(
    "--invite-only/--open-to-all",
    default=None,
    help="Who may join: those with an invitation, or everybody.  [default: everybody; a run that"
    " is registered already stays as it is]",
)
@ask
@token_file
def create(
    spec: Path, draft: bool, invite_only: bool | None, address: str, token_file: Path | None
) -> None:
    """Sign the run in the file SPEC and register it.

    `coordinator run preset` prints a documented file to begin with. The same file again changes
    nothing but the right of this coordinator to speak for the run, should it have lost that.
    """
    from coordinator import registration
    from coordinator.admin_token import find
    from coordinator.client import AdminClient

    wanted = registration.Publication(draft, invite_only)
    token = find(token_file, config.state_dir())
    with spec.open("rb") as file, AdminClient(address, token) as coordinator:
        info = registration.create_run(
            file, str(spec), coordinator, config.owner_key_path(), wanted
        )
    click.echo(f"run {info.run_id} is registered, spec {info.spec.hash.hex()}")
    click.echo(f"its owner is {info.spec.owner_key.hex()}")
    click.echo(f"join with: peer join --run {info.run_id} --coordinator {address}")


@run.command(epilog="Example: coordinator run preset demo > my-run.toml")
@click.argument("name")
def preset(name: str) -> None:
    """Print the documented spec of an embedded run, to edit and create."""
    from swarmpb.spec import PRESETS, preset_text

    if name not in PRESETS:
        raise click.BadParameter(f"{name!r} is none of: {', '.join(PRESETS)}", param_hint="NAME")
    click.echo(preset_text(name), nl=False)


@run.command("list", epilog="Example: coordinator run list")
@ask
@as_json
def list_runs(address: str, as_json: bool) -> None:
    """Show all runs."""
    from coordinator import display
    from coordinator.client import CoordinatorClient

    with CoordinatorClient(address) as coordinator:
        runs = coordinator.runs()
    if as_json:
        display.print_json([display.plain(summary) for summary in runs])
    else:
        display.print_runs(runs)


@run.command(epilog="Example: coordinator run show demo")
@click.argument("run_id", metavar="ID")
@ask
@as_json
def show(run_id: str, address: str, as_json: bool) -> None:
    """Show one run: progress, how to reach it, and its peers."""
    from coordinator import display
    from coordinator.client import CoordinatorClient

    with CoordinatorClient(address) as coordinator:
        info, progress = coordinator.run(run_id), coordinator.progress(run_id)
    if as_json:
        display.print_json({"info": display.plain(info), "progress": display.plain(progress)})
    else:
        display.print_run(info, progress)


@run.command(epilog="Example: coordinator run export my-run ./model")
@click.argument("run_id", metavar="ID")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@ask
@token_file
@as_json
def export(run_id: str, folder: Path, address: str, token_file: Path | None, as_json: bool) -> None:
    """Write a run's newest model to FOLDER, for `from_pretrained`.

    It is fetched from the run's peers, as most of them hold it, and checked by its digest; the
    model of a run that has ended is what its coordinator kept. The admin token is needed only for
    a run by invitation.
    """
    from coordinator import display, run_export
    from coordinator.admin_token import find
    from coordinator.client import AdminClient, CoordinatorClient
    from coordinator.model_keeper import KeptModels
    from swarmpb.v1 import membership_pb2, swarm_pb2

    with CoordinatorClient(address) as coordinator:
        info = coordinator.run(run_id)

    def admit(envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        if not run_export.takes_members_only(info):
            return membership_pb2.Admission(orders=info.orders)
        with AdminClient(address, find(token_file, config.state_dir())) as owner:
            return owner.admit_guest(envelope)

    kept = KeptModels(config.state_dir() / "models")
    with display.progress_line(quiet=as_json) as tell:
        facts = run_export.export_run(info, kept, folder, admit, tell)
    if as_json:
        display.print_json({**facts, "folder": str(folder)})
    else:
        display.print_export(facts, folder)
