"""`peer service`: have the machine's service manager keep a peer going."""

from __future__ import annotations

import getpass
import json
import shlex
from pathlib import Path
from typing import Any

import click

from peer.commands.options import (
    coordinator_option,
    json_option,
    link_argument,
    named_run,
    run_of_link_option,
    run_option,
    state_dir_option,
)
from swarmpb.endpoints import JoinLink, parse_endpoint
from swarmpb.exits import Exit, UserError

system_option = click.option(
    "--system", is_flag=True, help="Of the system, from its start on; as root."
)


@click.group(epilog="Example: peer service install murmuration://HOST:7700/my-run/pin=…")
def service() -> None:
    """Have systemd (or launchd) start a peer by itself and keep it going.

    A service is stopped and looked at like any other: `systemctl --user stop murmuration-peer-RUN`.
    `peer status`, `pause`, `logs` and the rest find its peer by themselves.
    """


@service.command()
@link_argument
@run_of_link_option
@coordinator_option
@state_dir_option
@system_option
@click.option("--print", "only_print", is_flag=True, help="Show the file, and write nothing.")
def install(
    link: JoinLink | None,
    run_id: str | None,
    state_dir: Path | None,
    system: bool,
    only_print: bool,
    **options: Any,
) -> None:
    """Install a peer of a run as a service, and start it.

    Settings are those of `peer config`; a service of the system has its own, in
    /etc/murmuration/peer.toml, and its state in /var/lib/murmuration.

    \b
    Example: peer service install murmuration://127.0.0.1:7700/demo
    """
    from peer.service import installing
    from peer.service.description import SYSTEM_CONFIG, SYSTEM_STATE, Service

    if system and state_dir is not None:
        raise click.UsageError(f"a service of the system keeps its state in {SYSTEM_STATE}")
    manager = installing.Manager(system)
    if manager.apple and manager.system:
        raise UserError(
            Exit.SERVICE,
            "launchd would run it as root, which a peer never needs: leave --system away",
        )
    run_id = named_run(link, run_id, options)
    coordinator, state, config = _settings(run_id, state_dir, options)
    wanted = Service(
        link=JoinLink(parse_endpoint(coordinator), run_id, link.invite if link else ""),
        program=installing.program(),
        state_dir=SYSTEM_STATE if system else state,
        config=SYSTEM_CONFIG / "peer.toml" if system else config,
        secret=_secret(run_id, system, state) if link and link.invite else None,
        system=system,
    )
    if only_print:
        click.echo(manager.content(wanted).decode(), nl=False)
        return
    for path in installing.write(wanted, manager):
        click.echo(f"wrote {path}")
    _start(wanted.run_id, manager)


@service.command()
@run_option
@state_dir_option
@system_option
def uninstall(run_id: str | None, state_dir: Path | None, system: bool) -> None:
    """Stop a service, and remove what `install` wrote; the peer's state stays.

    \b
    Example: peer service uninstall --run demo
    """
    from peer.config import load_config
    from peer.service import installing

    manager = installing.Manager(system)
    folder = load_config({"state_dir": state_dir}).state_dir
    for path in uninstalled(_installed(manager, run_id), manager, folder):
        click.echo(f"removed {path}")


@service.command()
@system_option
@json_option
def status(system: bool, as_json: bool) -> None:
    """Show the services that are installed, and what their manager says of them.

    \b
    Example: peer service status --json
    """
    from peer.service import installing, looking

    manager = installing.Manager(system)
    found = looking.look(manager)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("no service is installed; `peer service install LINK` installs one")
    for it in found:
        click.echo(looking.describe(it))


def uninstalled(run_id: str, manager: Any, state_dir: Path) -> list[Path]:
    """Stop a run's service and remove what was written for it; what was there."""
    from peer.service import installing

    runs = manager.runs()
    if runs:
        installing.ask(manager.to_stop(run_id))
    removed = installing.remove(run_id, manager, [_secret(run_id, manager.system, state_dir)])
    if runs:
        installing.ask(manager.to_forget())
    return removed


def _secret(run_id: str, system: bool, state_dir: Path) -> Path:
    """Where the link is kept, if it has an invitation."""
    from peer.service.description import SYSTEM_CONFIG

    return SYSTEM_CONFIG / f"{run_id}.link" if system else state_dir / "runs" / run_id / "link"


def _installed(manager: Any, run_id: str | None) -> str:
    """The run whose service is meant."""
    runs = manager.installed()
    if run_id is None and len(runs) == 1:
        return str(next(iter(runs)))
    if run_id is None and runs:
        raise click.UsageError(f"several services are installed ({', '.join(runs)}): name --run")
    if run_id is None or run_id not in runs:
        what = f"of run {run_id} " if run_id else ""
        where = "" if manager.system else "; one of the system is found with --system"
        raise UserError(Exit.SERVICE, f"no service {what}is installed{where}")
    return run_id


def _settings(
    run_id: str, state_dir: Path | None, options: dict[str, Any]
) -> tuple[str, Path, Path]:
    """Where the coordinator, the state and the settings of the peer are."""
    from peer.config import config_file, settings_of, validated
    from peer.control import ask_status
    from peer.local_runs import run_folder
    from peer.runtime import running

    values, origin = settings_of({**options, "state_dir": state_dir})
    config = validated(values, origin)
    state = config.state_dir.absolute()
    folder = run_folder(state, run_id)
    coordinator = config.coordinator
    holder = running(folder)
    if holder is not None:
        if origin["coordinator"] == "default":
            coordinator = ask_status(folder).coordinator or coordinator
        click.echo(
            f"a peer of run {run_id} runs already (process {holder[0]}); the service takes over "
            "when it has ended",
            err=True,
        )
    return coordinator, state, config_file().absolute()


def _start(run_id: str, manager: Any) -> None:
    from peer.service import installing

    if manager.runs():
        installing.ask(manager.to_start(run_id))
        click.echo(f"the peer of run {run_id} runs as a service; `peer status` tells what it does")
    else:
        click.echo("no service manager answers here; where one does, type:")
        for command in manager.to_start(run_id):
            click.echo(f"  {shlex.join(command)}")
    user = getpass.getuser()
    if not manager.apple and not manager.system and not installing.lingers(user):
        click.echo(
            "it runs while you are logged in; `loginctl enable-linger` has it run from the "
            "machine's start on"
        )
